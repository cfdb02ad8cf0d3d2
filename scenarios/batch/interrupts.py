"""The signals that end a run early: it drains, and reports."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from types import FrameType

from scenarios.live.stdout import terminal_is_gone

Handler = Callable[[int, FrameType | None], object] | int | None


def interrupts() -> tuple[signal.Signals, ...]:
    """Ctrl-C, the request to end, and the end of the terminal, unless this process is to outlive that, as by nohup."""
    always = (signal.SIGINT, signal.SIGTERM)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return always
    return (*always, signal.SIGHUP)


def hear_no_more_hangups() -> Handler:
    """What to do with them until now.

    Of a terminal that goes away both the shell and the kernel tell: the second word is no second Ctrl-C. A handler that
    does nothing, not SIG_IGN: a signal that waits because it is blocked must not get lost, and programs inherit none.
    """
    before = signal.getsignal(signal.SIGHUP)
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _nothing)
    return before


def hear_hangups_again(before: Handler) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL if before is None else before)  # None: it was not Python's


def leave_terminal() -> None:
    """What is said from now on is not said, if the terminal where it would be read is gone: reports are still written.

    Every write there would be an error, the one about that error, too.
    """
    for descriptor in (1, 2):
        if terminal_is_gone(descriptor):
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)


def _nothing(number: int, frame: FrameType | None) -> None:
    """That is all."""
