"""The replay window of one session: each counter is accepted once, and only if it is not too old.

The accepted set is that of RFC 6479 with 8192 bits in blocks of 64: 8128 counters behind the greatest one.
The shape differs, because in Python an integer is the fastest bitmap: counters that came in order are just
the interval ``[run start, next)``, and one integer remembers what came before the run. A flow without loss
never makes that integer, and one with loss holds at most 1 KiB.
"""

from __future__ import annotations

from typing import Final

from edge.proto.wireguard.timers import REJECT_AFTER_MESSAGES

WINDOW: Final = 8192 - 64
_ALL: Final = (1 << WINDOW) - 1


class ReplayWindow:
    """Call ``accept`` only once the message is authenticated, else a forger could move the window.

    `next` is the greatest accepted counter plus one. A hot loop may take the common case itself: if ``counter
    == window.next`` (and the counter is below REJECT_AFTER_MESSAGES), then ``window.next = counter + 1`` is
    the same as ``accept``.
    """

    __slots__ = ("_before", "_run_start", "next")

    def __init__(self) -> None:
        self.next = 0
        self._run_start = 0  # all of [_run_start, next) was accepted
        self._before = 0  # bit i: _run_start - 1 - i was accepted

    def accept(self, counter: int) -> bool:
        """Take note of a counter; False if it was seen before or can no longer be told."""
        if counter >= REJECT_AFTER_MESSAGES:
            return False
        ahead = counter - self.next
        if ahead == 0:
            self.next = counter + 1
            return True
        if ahead > 0:
            if ahead > WINDOW:  # all that was seen is out of the window
                self._before = 0
            else:  # both shifts are bounded: a long run must not become a long integer
                run = min(self.next - self._run_start, WINDOW)
                seen = ((1 << run) - 1) << ahead
                self._before = (self._before << (run + ahead) | seen) & _ALL
            self._run_start = counter
            self.next = counter + 1
            return True
        if not self.would_accept(counter):
            return False
        self._before |= 1 << (self._run_start - 1 - counter)
        return True

    def would_accept(self, counter: int) -> bool:
        """What ``accept`` would say, without taking note."""
        if counter >= self.next:
            return counter < REJECT_AFTER_MESSAGES
        if counter >= self._run_start or self.next - 1 - counter > WINDOW:
            return False
        return not self._before & (1 << (self._run_start - 1 - counter))
