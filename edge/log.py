"""Lines of a daemon's log, on stderr."""

from __future__ import annotations

import contextlib
import sys

import structlog
from structlog.typing import EventDict


def configure_log(*, verbose: bool) -> None:
    """Key-value lines on stderr: coloured for a person, logfmt in a pipe. Control characters are escaped."""
    renderer = (
        _Terminal()
        if sys.stderr.isatty()
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"])
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger("debug" if verbose else "info"),
        logger_factory=lambda *_: _StderrLogger(),
        cache_logger_on_first_use=False,
    )


class _Terminal:
    """For people: what has several lines, such as the mistakes in a file, stands below its event."""

    def __init__(self) -> None:
        self._line = structlog.dev.ConsoleRenderer()

    def __call__(self, logger: object, name: str, event: EventDict) -> str:
        below = [key for key, value in event.items() if isinstance(value, str) and "\n" in value]
        texts = [str(event.pop(key)) for key in below]
        lines = [line for text in texts for line in text.split("\n")]
        return "\n    ".join([self._line(logger, name, event), *map(_printable, lines)])


def _printable(text: str) -> str:
    """Names and values in a message come from files: none may steer the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _StderrLogger(structlog.PrintLogger):
    """A full disk or a closed pipe behind stderr costs the line, not the PoP."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg
