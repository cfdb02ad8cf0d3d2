"""Folders for a while: gone when they are closed, or else, if their process was killed, when poplab starts again.

Who makes one holds a lock on it (flock(2)), which the kernel takes back with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX = "poplab-scratch-"


class Scratch:
    """A new folder for this user alone, with `name` in its own. OSError."""

    def __init__(self, name: str) -> None:
        while True:
            folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}-")).resolve()
            try:
                self._lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # somebody swept in the wrong moment
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if _is(folder, self._lock):
                self.folder = folder
                return
            os.close(self._lock)

    def close(self) -> None:
        """Remove it with all that is in it; harmless when repeated."""
        if self._lock >= 0:
            if self.folder.is_symlink():  # what a program has put in its place
                self.folder.unlink(missing_ok=True)
            else:
                shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def sweep() -> None:
    """Remove folders of this user whose processes are dead. Nothing else is touched, and nothing is an error."""
    with suppress(OSError):
        for entry in os.scandir(tempfile.gettempdir()):
            if entry.name.startswith(PREFIX):
                with suppress(OSError):
                    _sweep(Path(entry.path))


def _sweep(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(lock).st_uid == os.geteuid():
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is(folder, lock):
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _is(folder: Path, lock: int) -> bool:
    """Whether `folder` is still what is locked."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.lstat(folder), os.fstat(lock))
    return False
