"""The machine as the doctor sees it: a few files, programs, and a process that tries things."""

from __future__ import annotations

import errno
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TRIAL_TIMEOUT = 10.0
"""Seconds for all attempts, which take a tenth; on a machine under load an ``unshare`` alone was seen to take five."""
VERSION_TIMEOUT = 1.0
"""Seconds for all programs together to say their version."""
OUTPUT_LIMIT = 4096
UNANSWERED = "unanswered"

_RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from scenarios.doctor.trial import main; main()"
_VERSION = re.compile(r"(?<![A-Za-z0-9.])v?(\d+(?:\.\d+)+(?:p\d+)?)")


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one thing went: "yes", "limited", "no", "untried" because there was no namespace for it, or UNANSWERED;
    what was seen or why not; error number, which what was never started has, too; step that failed."""

    state: str
    detail: str
    errno: int = 0
    step: str = ""


class Machine:
    """This one. A test gives another in its place, or less patience (seconds)."""

    def __init__(
        self, *, trial_timeout: float = TRIAL_TIMEOUT, version_timeout: float = VERSION_TIMEOUT
    ) -> None:
        self._trial_timeout = trial_timeout
        self._version_timeout = version_timeout

    @property
    def system(self) -> str:
        return platform.system()

    @property
    def root(self) -> bool:
        return hasattr(os, "geteuid") and os.geteuid() == 0

    def read(self, path: str) -> str | None:
        """Text of a small file, or None."""
        try:
            return Path(path).read_text(errors="replace").strip()
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def mode(self, path: str) -> str:
        """As ``ls -l`` has it; empty if there is no such thing."""
        try:
            return stat.filemode(os.stat(path).st_mode)
        except OSError:
            return ""

    def usable(self, path: str) -> bool:
        """Whether this user may read and write it."""
        return os.access(path, os.R_OK | os.W_OK)

    def open_files(self) -> tuple[int, int]:
        """RLIMIT_NOFILE, soft and hard; -1 is no limit."""
        import resource  # not on every system

        return resource.getrlimit(resource.RLIMIT_NOFILE)

    def which(self, program: str) -> str | None:
        return shutil.which(program)

    def which_beside_path(self, program: str) -> str | None:
        """Where it is, if that is a place that PATH of ordinary users may lack."""
        return shutil.which(program, path="/usr/local/sbin:/usr/sbin:/sbin")

    def has_module(self, name: str) -> bool:
        return importlib.util.find_spec(name) is not None

    def version(self, package: str) -> str | None:
        """Of an installed Python package."""
        try:
            return importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def openssl(self) -> str:
        """The one behind tunnels of TLS, which is not the one of the `ssl` module; raises ImportError."""
        from cryptography.hazmat.backends.openssl.backend import backend

        return backend.openssl_version_text()

    def many_datagrams(self) -> bool:
        from edge.io import mmsg

        return mmsg.available()

    @property
    def python(self) -> str:
        return platform.python_version()

    @property
    def interpreter(self) -> str:
        """Its path; what runs may all the same be out of reach for this user, who came to it as another one."""
        return sys.executable or "no interpreter"

    @property
    def startable(self) -> bool:
        """Whether this user may start the interpreter."""
        return os.access(sys.executable or "", os.X_OK)

    def versions(self, commands: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """What programs say of themselves, all at once; one that does not in time is left out."""
        started = {}
        for name, argv in commands.items():
            with suppress(OSError):
                started[name] = _start(argv)
        deadline = time.monotonic() + self._version_timeout
        found = {}
        try:
            for name, process in started.items():
                try:
                    out, _ = process.communicate(timeout=max(0.05, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    continue
                if version := _VERSION.search(out[:OUTPUT_LIMIT].decode(errors="replace")):
                    found[name] = version[1]
        finally:
            for process in started.values():
                if process.returncode is None:
                    _kill(process)
        return found

    def attempt(self, names: Iterable[str]) -> dict[str, Attempt]:
        """Try things in a process of its own: see `scenarios.doctor.trial`. One that hangs is named, and killed."""
        wanted = list(names)
        root = str(Path(__file__).parents[2])
        try:
            process = _start([self.interpreter, "-I", "-S", "-c", _RUN, root, *wanted])
        except OSError as error:
            why = f"{self.interpreter}: {error.strerror or error}"
            return dict.fromkeys(wanted, Attempt(UNANSWERED, why, error.errno or 0))
        try:
            out, _ = process.communicate(timeout=self._trial_timeout)
            problem, code = f"the attempt ended with code {process.returncode}", 0
        except subprocess.TimeoutExpired:
            out = _kill(process)
            problem, code = f"no answer within {self._trial_timeout:g} s", errno.ETIMEDOUT
        except BaseException:  # Ctrl-C does not reach another session
            _kill(process)
            raise
        found = dict.fromkeys(wanted, Attempt(UNANSWERED, problem, code))
        for line in out.splitlines():
            if line.startswith(b"["):
                name, *rest = json.loads(line)
                found[name] = Attempt(*rest)
        return found


def _start(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    """A program with nothing to read, in a session of its own so that all of it can be ended. Raises OSError."""
    return subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, "LC_ALL": "C"},
    )


def _kill(process: subprocess.Popen[bytes]) -> bytes:
    """What it had said."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        return process.communicate(timeout=1.0)[0]
    except subprocess.TimeoutExpired:  # in the kernel for ever: its answers are lost
        return b""
