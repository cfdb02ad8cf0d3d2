"""What a program wrote, in a file beside the reports."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from edge.errors import Refused
from scenarios.runner.workshop import plain_name
from scenarios.trace import OutputFile

MOST = 64 * 2**20
"""Bytes of one log."""

MODE = 0o644


class ProgramLog:
    """Of one program; nothing without a folder. A log that cannot be written is no reason to end a run."""

    def __init__(self, folder: Path | None, name: str, *, taken: Collection[str] = ()) -> None:
        """`taken` are the files that others have there."""
        self.name = name
        self.complaint = ""
        """What it lacks, and why."""
        self.file = _file_name(name, taken)
        self._left_out = 0
        self._why = ""
        self._file: OutputFile | None = None
        if folder is not None:
            try:
                self._file = OutputFile(folder, self.file, mode=MODE)
            except Refused as error:
                self.complaint = f"there is no log of {name}: {error}"

    def write(self, data: bytes) -> None:
        if self._file is None:
            return
        if not self._why and self._file.size + len(data) > MOST:
            self._why = f"it has {MOST >> 20} MiB"
        if self._why or not self._file.write(data):
            self._why = self._why or self._file.error
            self._left_out += len(data)
            self.complaint = (
                f"the log of {self.name} is not complete: {self._why}; {self._left_out:,} bytes are left out"
            )

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _file_name(name: str, taken: Collection[str]) -> str:
    plain = plain_name(name)
    file, number = f"{plain}.log", 1
    while file in taken:
        number += 1
        file = f"{plain}-{number}.log"
    return file
