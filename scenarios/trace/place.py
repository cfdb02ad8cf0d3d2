"""Files that a run writes while it goes on, into a folder that others may write to as well."""

from __future__ import annotations

import os
from pathlib import Path

from edge.errors import Refused


class OutputFile:
    """A fresh file: what stood there under this name is removed, never followed or written into.

    What is written is on disk or, after the first error, the file ends with the last whole write: `error` says why.
    """

    def __init__(self, folder: Path, name: str, *, mode: int) -> None:
        self.path = folder / name
        self.size = 0
        self.error = ""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.path.unlink(missing_ok=True)
            self._descriptor = os.open(
                self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode
            )
        except OSError as error:
            raise Refused(f"{self.path}: {error.strerror}") from error

    def write(self, data: bytes) -> bool:
        """False once nothing can be written any more."""
        if self.error or self._descriptor < 0:
            return False
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            self.error = error.strerror or str(error)
            os.ftruncate(self._descriptor, self.size)
            return False
        self.size += len(data)
        return True

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
