"""Network namespaces that leave nothing behind.

A lab is one user, mount and network namespace, held open by a process that ends when its standard input
closes; further network namespaces hang off it. The kernel therefore removes everything when the exit stack
unwinds, and also when this process is killed: the pipe closes, the holder ends, the last reference to the
namespace goes. No root is needed where the kernel lets an ordinary user make a user namespace.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from scenarios import doctor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: Seconds a command in a namespace may take before the test fails instead of hanging.
COMMAND_TIMEOUT = 20.0

#: Seconds a program may think about its next line; more than any wait of its own.
LINE_TIMEOUT = 120.0


class Process:
    """A program that runs beside the test; its output goes to a file, so that no full pipe can stall it."""

    def __init__(self, popen: subprocess.Popen[str], log: Path) -> None:
        self.popen = popen
        self.log = log

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = 5.0) -> int:
        if self.alive:
            self.popen.send_signal(how)
            try:
                self.popen.wait(timeout)
            except subprocess.TimeoutExpired:
                self.popen.kill()
        for stream in (self.popen.stdin, self.popen.stdout):
            if stream is not None:
                stream.close()
        return self.popen.wait(timeout)

    def read_line(self, timeout: float = LINE_TIMEOUT) -> str:
        """The next line that it prints, or "" at its end. Who is silent for too long is killed for it."""
        assert self.popen.stdout is not None
        late = threading.Timer(timeout, self.popen.kill)
        late.start()
        line = self.popen.stdout.readline()
        if not late.is_alive():
            raise AssertionError(f"silent for {timeout:g} s: {self.popen.args!r}\n{self.output()}")
        late.cancel()
        return line.strip()

    def result(self, timeout: float) -> str:
        """What it printed, once it has ended by itself."""
        stdin, self.popen.stdin = self.popen.stdin, None  # else `communicate` closes it, which means: finish
        try:
            out, _ = self.popen.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.stop(signal.SIGKILL)
            raise
        finally:
            if stdin is not None:
                stdin.close()
        if self.popen.returncode:
            raise AssertionError(f"exit code {self.popen.returncode}: {self.popen.args!r}\n{self.output()}")
        return out

    def finish(self, timeout: float) -> str:
        """Ask it to end by closing its standard input; then the same."""
        assert self.popen.stdin is not None
        self.popen.stdin.close()
        return self.result(timeout)


class Place:
    """Where programs are started: here, or behind the words of `enter`. They die with this process."""

    def __init__(self, name: str, stack: contextlib.ExitStack, enter: Sequence[str] = ()) -> None:
        self.name = name
        self._enter = tuple(enter)
        self._stack = stack

    def command(self, *argv: str) -> list[str]:
        # nsenter and setpriv replace themselves: the process id is the program's own
        return [*self._enter, "setpriv", "--pdeathsig", "KILL", *argv]

    def run(self, *argv: str, text: str | None = None, check: bool = True) -> str:
        done = subprocess.run(
            self.command(*argv),
            input=text,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"{' '.join(argv)} in {self.name}: {done.stderr.strip() or done.stdout.strip()}"
            )
        return done.stdout

    def start(
        self,
        *argv: str,
        log: str | Path,
        core: int | None = None,
        interactive: bool = False,
        **environment: str,
    ) -> Process:
        """Start a program; what it prints goes to the log. An interactive one is asked to finish by closing
        its
        standard input, and its answer on standard output is read with `Process.result`."""
        with open(log, "a") as file, _on_core(core):
            popen = subprocess.Popen(
                self.command(*argv),
                stdin=subprocess.PIPE if interactive else subprocess.DEVNULL,
                stdout=subprocess.PIPE if interactive else file,
                stderr=file,
                text=True,
                env={**os.environ, **environment},
            )
        process = Process(popen, Path(log))
        self._stack.callback(process.stop, signal.SIGKILL)
        return process


class Namespace(Place):
    """One network namespace of a lab: run programs in it, give it links and addresses."""

    def __init__(self, name: str, holder: int, *, user: bool, stack: contextlib.ExitStack) -> None:
        enter = ["nsenter", "--target", str(holder), "--net", "--mount"]
        if user:
            enter += ["--user", "--preserve-credentials"]
        super().__init__(name, stack, [*enter, "--wd=" + os.getcwd()])
        self.holder = holder

    def ip(self, *argv: str) -> str:
        return self.run("ip", *argv)

    def sysctl(self, **values: int) -> None:
        """Write /proc/sys/net values, the dots of the key written as double underscores."""
        for key, value in values.items():
            path = "/proc/sys/net/" + key.replace("__", "/")
            self.run(sys.executable, "-c", f"open({path!r}, 'w').write('{value}')")


class Lab:
    """Owner of a set of namespaces that can reach each other and nothing else."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._user = os.geteuid() != 0  # root needs none, and may raise socket buffers without one
        self._links = 0
        self._holder = 0
        self.tag = secrets.token_hex(3)

    def __enter__(self) -> Self:
        user = ["--user", "--map-root-user"] if self._user else []
        try:
            self._holder = self._hold(["unshare", *user, "--net", "--mount", "cat"], os.getpid())
            self.root = Namespace("root", self._holder, user=self._user, stack=self._stack)
            # WireGuard's control sockets live under /run: a private one cannot meet another lab's names
            self.root.run("mount", "-t", "tmpfs", "tmpfs", "/run")
            self.root.ip("link", "set", "lo", "up")
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def namespace(self, name: str) -> Namespace:
        command = self.root.command("unshare", "--net", "cat")
        holder = self._hold(command, self._holder)
        made = Namespace(name, holder, user=self._user, stack=self._stack)
        made.ip("link", "set", "lo", "up")
        return made

    def join(self, left: Namespace, left_address: str, right: Namespace, right_address: str) -> None:
        """A cable between two namespaces, one address (with its prefix length) at each end."""
        self._links += 1
        ends = f"l{self._links}-{self.tag}", f"r{self._links}-{self.tag}"
        self.root.ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for space, end, address in ((left, ends[0], left_address), (right, ends[1], right_address)):
            if space is not self.root:
                self.root.ip("link", "set", end, "netns", str(space.holder))
            space.ip("address", "add", address, "dev", end)
            space.ip("link", "set", end, "up")

    def _hold(self, command: list[str], parent: int) -> int:
        before = os.readlink(f"/proc/{parent}/ns/net")
        popen = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        self._stack.callback(_release, popen)
        # the program has replaced unshare only once its namespace differs and its name is its own
        wait_for(lambda: _entered(popen.pid, before), f"namespace of {' '.join(command[-4:])}", timeout=10.0)
        return popen.pid


def wait_for(condition: Callable[[], object], what: str, timeout: float = 10.0, every: float = 0.02) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s for {what}")
        time.sleep(every)


@functools.cache
def missing(*programs: str) -> str:
    """Why a lab cannot be made here and how to mend it, or the empty string."""
    found = [doctor.find_program(name) for name in ("ip", "unshare", "nsenter", "setpriv", *programs)]
    found += doctor.examine(["network-namespace", "mount-namespace", "tun"])
    return "; ".join(finding.sentence for finding in found if not finding.there)


def _entered(pid: int, before: str) -> bool:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip() == "cat" and os.readlink(f"/proc/{pid}/ns/net") != before
    except OSError:
        return False


def _release(popen: subprocess.Popen[bytes]) -> None:
    assert popen.stdin is not None
    popen.stdin.close()
    try:
        popen.wait(2)
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait(2)


@contextlib.contextmanager
def _on_core(core: int | None) -> Iterator[None]:
    """What is started inside runs on one core: affinity is inherited, by all threads of the program."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
