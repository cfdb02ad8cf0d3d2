"""Standard output whose end is not that of a run: nobody reads it, it is closed, the disk full, the terminal gone."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
import termios
from typing import IO


def terminal_is_gone(descriptor: int) -> bool:
    """Whether it is one that has been hung up. It may be noticed before the signal comes that says so."""
    try:
        termios.tcgetattr(descriptor)
    except termios.error as error:
        return bool(error.args[0] == errno.EIO)
    return False


class Stdout:
    """`stream`, sys.stdout unless given, as long as it takes what is written."""

    def __init__(self, stream: IO[str] | None = None) -> None:
        self._stream: IO[str] | None = sys.stdout if stream is None else stream
        self.problem = "" if self._stream is not None else "stdout is closed"
        """What was lost, in words; nothing if it was only that nobody wanted to read on."""
        self.encoding = getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        if self._stream is not None:
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:  # that of an old locale
                    self._stream.write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        if self._stream is not None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        assert self._stream is not None
        if not isinstance(error, BrokenPipeError) and not terminal_is_gone(self._stream.fileno()):
            self.problem = f"cannot write to stdout: {error.strerror or error}"
        with contextlib.suppress(OSError, ValueError):  # else Python complains when it flushes at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        self._stream = None
