"""Where the programs of a host work: a folder of its own, files in it, and an environment that knows little of ours."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from scenarios.checks import Plain
from scenarios.runner.placeholders import filled
from scenarios.schema.programs import File, Files
from scenarios.scratch import Scratch

SYSTEM = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
"""Folders of programs beside those of our own PATH: servers are often where only root looks."""

LARGEST_COPY = 64 * 2**20
"""Bytes of a file that is copied."""


class Workshop:
    """Of one host. The folder is there until `close`."""

    def __init__(self, host: str, scenario: str) -> None:
        """`scenario` is the file beside which others are."""
        self._scenario = Path(scenario).parent
        self._scratch = Scratch(plain_name(host))
        self.folder = self._scratch.folder

    def environment(self, given: Mapping[str, str], marks: Mapping[str, str]) -> dict[str, str]:
        """What a program finds: nothing of ours but PATH, so that no key or token of ours is in it."""
        return {
            "PATH": search_path(),
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
            "LANG": "C.UTF-8",
            **given,
            **marks,
        }

    def put(self, files: Files, names: Mapping[str, Plain]) -> None:
        """Write `files`, their placeholders filled in; one that is there is replaced. OSError if that is impossible.

        Nothing is written outside of the folder, whatever a program has made of it.
        """
        for name, given in files.items():
            file = File(text=given) if isinstance(given, str) else given
            if file.source is not None:
                data = copied(self._scenario / file.source)
            else:
                data = filled(file.text or "", names).encode()
            self._write(name, data, 0o700 if file.executable else 0o600)

    def _write(self, name: str, data: bytes, mode: int) -> None:
        target = self.folder / name
        if ".." in target.parts or not target.parent.resolve().is_relative_to(self.folder):
            raise PermissionError(0, "it would be outside of the working folder", name)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.unlink(missing_ok=True)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)

    def close(self) -> None:
        self._scratch.close()


def copied(source: Path) -> bytes:
    """OSError if it cannot be read, or is no file: reading from a FIFO would not end."""
    with open(os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(0, "it is no regular file", str(source))
        data = stream.read(LARGEST_COPY + 1)
    if len(data) > LARGEST_COPY:
        raise OSError(0, f"it is larger than {LARGEST_COPY >> 20} MiB", str(source))
    return data


def search_path() -> str:
    """Where programs are looked for."""
    own = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(dict.fromkeys([*filter(os.path.isabs, own), *SYSTEM]))


def plain_name(name: str) -> str:
    """As part of a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:120] or "host"
