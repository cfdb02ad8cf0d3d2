"""A deadline as a file descriptor (timerfd_create(2)).

What waits with a timeout waits for whole milliseconds, rounded up; delays of a path would all be half of one too long.
Python has these calls since 3.13, so libc is called through ctypes.
"""

from __future__ import annotations

import ctypes
import os

_CLOCK_MONOTONIC = 1
_NANOSECONDS = 1_000_000_000

_libc = ctypes.CDLL(None, use_errno=True)
_Setting = ctypes.c_long * 4  # struct itimerspec: interval and value, seconds and nanoseconds of each


class Alarm:
    """Becomes readable once when it goes off: register it edge-triggered, then nobody has to read it."""

    def __init__(self) -> None:
        self._timer: int = _libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._timer < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    def fileno(self) -> int:
        return self._timer

    def set(self, seconds: float) -> None:
        """Go off in so many seconds from now, at once if they are none."""
        nanoseconds = max(int(seconds * _NANOSECONDS), 1)  # none would disarm it
        setting = _Setting(0, 0, *divmod(nanoseconds, _NANOSECONDS))
        _libc.timerfd_settime(self._timer, 0, setting, None)

    def close(self) -> None:
        os.close(self._timer)
