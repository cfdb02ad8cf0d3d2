"""The lock file beside the state: which process holds it, and what that said when it was last told to reload.

The first line is the process, the second one, if there is one, a `Word` as JSON.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import msgspec

from edge.errors import Refused

DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


class Word(msgspec.Struct, frozen=True):
    """The outcome of a reload: the `number` counts those of one process from 1, `text` is for people."""

    number: int
    taken: bool
    text: str


class Lock:
    """Dies with the process, however that dies; the file stays and names the last holder."""

    def __init__(self, path: Path) -> None:
        """Lock the state in `path`; Refused if another process has it, or if it cannot be."""
        try:
            self._file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in DENIED:
                raise not_writable(path, error.strerror or "") from error
            raise Refused(
                f"{path}: {error.strerror}\n    fix: create {path.parent}, writable for this user"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            process = _lines(self._file)[0].decode("ascii", "replace") or "unknown"
            self.close()
            raise Refused(
                f"{path}: in use by another PoP (process {process})\n"
                "    fix: stop it, or give this PoP its own `state` file"
            ) from error
        try:
            self._write(b"")
        except OSError as error:
            self.close()
            raise unusable(path, error.strerror or str(error)) from error

    def tell(self, word: Word) -> None:
        """Leave `word` for whoever had us reload. A full disk costs the word, nothing else."""
        try:
            self._write(msgspec.json.encode(word) + b"\n")
        except OSError:
            os.ftruncate(self._file, len(b"%d\n" % os.getpid()))

    def _write(self, word: bytes) -> None:
        content = b"%d\n" % os.getpid() + word
        os.pwrite(self._file, content, 0)
        os.ftruncate(self._file, len(content))

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def holder(path: Path) -> int | None:
    """The process whose PoP holds the state in `path`, if one does."""
    return _held(path)[0]


def told(path: Path) -> Word | None:
    """What the process that holds the state in `path` said last; None if nothing, or if it is just saying it."""
    try:
        return msgspec.json.decode(_held(path)[1], type=Word)
    except msgspec.DecodeError:
        return None


def not_writable(path: Path, why: str) -> Refused:
    user = os.geteuid()
    return Refused(
        f"{path}: the state is not writable for this user (uid {user}): {why}\n"
        f"    fix: run as the user that owns it, or `chown {user} {path.parent} {path}*`"
    )


def unusable(path: Path, why: str) -> Refused:
    """For errors that say nothing about what is kept: permissions are at fault if they can be, else the disk."""
    files = [Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm", "-journal")]
    wanted = [
        (path.parent, os.W_OK | os.X_OK),
        *((file, os.R_OK | os.W_OK) for file in files if file.exists()),
    ]
    if not all(os.access(file, mode, effective_ids=True) for file, mode in wanted):
        return not_writable(path, why)
    return Refused(
        f"{path}: the state cannot be kept: {why}\n    fix: make room on its disk, writable for this user, or move it"
    )


def _held(path: Path) -> tuple[int | None, bytes]:
    """(holder, the rest of what the file says)."""
    try:
        file = os.open(f"{path}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError as error:
        raise Refused(
            f"{path}.lock: not readable for this user (uid {os.geteuid()})\n"
            "    fix: run as the user of the PoP"
        ) from error
    except OSError:
        return None, b""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        process, rest = _lines(file)
        return int(process) if process.isdigit() else None, rest
    else:
        return None, b""
    finally:
        os.close(file)


def _lines(file: int) -> tuple[bytes, bytes]:
    first, _, rest = os.pread(file, 1 << 20, 0).partition(b"\n")
    return first.strip(), rest
