"""The TLS key log of a lab: with it tshark reads what QUIC and TLS carry. Whoever reads it reads the tunnels."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge.config import EdgeConfig
from edge.errors import Refused

FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class KeyLog:
    """Appends lines to `path`, which only its owner may read. Call it with a line."""

    def __init__(self, path: Path) -> None:
        try:
            # Without O_NONBLOCK a pipe would be waited for until somebody reads it.
            self._file = os.open(path, FLAGS, 0o600)
        except OSError as error:
            fix = ""
            if isinstance(error, FileNotFoundError):
                fix = f"make the folder:  mkdir -p {shlex.quote(str(path.parent))}"
            raise _refusal(path, error.strerror or "cannot be opened", fix) from error
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            os.close(self._file)  # with another mode, a device would be lost for everybody else
            raise _refusal(path, "not a file")
        os.fchmod(self._file, 0o600)

    @classmethod
    @contextmanager
    def of(cls, config: EdgeConfig) -> Iterator[KeyLog | None]:
        """The log that the configuration asks for; None if it asks for none."""
        if config.masque is None or config.masque.keylog is None:
            yield None
            return
        log = cls(config.masque.keylog)
        try:
            yield log
        finally:
            os.close(log._file)

    def __call__(self, line: str) -> None:
        with suppress(OSError):  # a full disk costs the line, not the PoP
            os.write(self._file, line.rstrip("\n").encode("ascii", "replace") + b"\n")


def _refusal(path: Path, why: str, fix: str = "") -> Refused:
    fix = fix or "`masque.keylog_file` is for a lab; leave it out"
    return Refused(f"{path}: {why}\n    fix: {fix}")
