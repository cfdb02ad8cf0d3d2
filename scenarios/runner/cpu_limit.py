"""A limit for work that nothing else interrupts: an expression of a file, searched for in what a program writes.

While it is at it no task runs: neither a deadline nor Ctrl-C would be heard.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

MOST = 1.0
"""Seconds of CPU time for one search; one through all that is kept of an output takes hundredths of it."""


class Overrun(Exception):
    """It had not come to an end."""


def limited(work: Callable[[], T], most: float = MOST) -> T:
    """What `work` returns; Overrun after so many seconds of CPU time, as soon as the interpreter looks at signals.

    Uses SIGVTALRM. Signals are for the main thread alone: there is no limit in others.
    """
    if threading.current_thread() is not threading.main_thread():
        return work()
    at_work = True

    def over(number: int, frame: FrameType | None) -> None:
        if at_work:
            raise Overrun

    before = signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, most)
    try:
        return work()
    finally:
        at_work = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        # By default it kills the process, and one may still be on its way.
        signal.signal(signal.SIGVTALRM, signal.SIG_IGN if before in (signal.SIG_DFL, None) else before)
