"""How fast a simulated TCP sends: the retransmission timeout (RFC 6298) and NewReno (RFC 5681, RFC 6582)."""

from __future__ import annotations

DUPLICATES = 3
"""Duplicate acknowledgments that mean a loss."""

AFTER_LOST_SYN = 3.0
"""The timeout with which data begins if the SYN had to be sent again (RFC 6298 5.7)."""


class RetransmissionTimeout:
    """The current timeout, in seconds. Karn: the caller measures no segment that it sent twice."""

    def __init__(self, *, initial: float, minimum: float, maximum: float) -> None:
        self.value = initial
        self.smoothed: float | None = None
        self._variation = 0.0
        self._minimum = minimum
        self._maximum = maximum

    def measured(self, round_trip: float) -> None:
        if self.smoothed is None:
            self.smoothed, self._variation = round_trip, round_trip / 2
        else:
            self._variation += (abs(self.smoothed - round_trip) - self._variation) / 4
            self.smoothed += (round_trip - self.smoothed) / 8
        self.value = min(max(self.smoothed + 4 * self._variation, self._minimum), self._maximum)

    def back_off(self) -> None:
        """A timer ran out. The next measurement ends the back-off."""
        self.value = min(self.value * 2, self._maximum)

    def syn_was_lost(self) -> None:
        self.value = AFTER_LOST_SYN


class Congestion:
    """The congestion window, in bytes; `flight` is what is sent and not acknowledged."""

    def __init__(self, mss: int, initial_sequence: int) -> None:
        self.mss = mss
        self.window = self._initial()
        self.threshold = 1 << 30
        self.recovering = False
        self._duplicates = 0
        self._recover = initial_sequence
        """Nothing up to here may start another recovery (RFC 6582 3.2)."""

    def duplicate(self, acknowledged: int, highest: int, flight: int) -> bool:
        """One more duplicate acknowledgment; True if the first segment is to be sent again now."""
        self._duplicates += 1
        if self.recovering:
            self.window += self.mss  # one more segment has left the network
            return False
        if self._duplicates < DUPLICATES or acknowledged <= self._recover:
            return False
        self._halve(flight)
        self.window = self.threshold + DUPLICATES * self.mss
        self.recovering = True
        self._recover = highest
        return True

    def acknowledged(self, upto: int, size: int, flight: int, *, limited: bool) -> bool:
        """`size` new bytes are acknowledged; True if the segment behind them is to be sent again now.

        The window grows only if it was what limited the sender (RFC 9293 3.8.2, RFC 7661).
        """
        self._duplicates = 0
        if self.recovering:
            if upto < self._recover:  # a partial acknowledgment: the next hole
                self.window = max(self.window - size, 0) + self.mss
                return True
            self.recovering = False
            self.window = min(self.threshold, flight + self.mss)
            return False
        if not limited:
            return False
        if self.window < self.threshold:
            self.window += min(size, 2 * self.mss)  # RFC 3465: acknowledgments cover two segments
        else:
            self.window += max(1, self.mss * min(size, self.mss) // self.window)
        return False

    def timed_out(self, highest: int, flight: int, *, again: bool) -> None:
        """`again`: the same segment timed out before, which says nothing new (RFC 5681 3.1)."""
        if not again:
            self._halve(flight)
        self.window = self.mss
        self.recovering = False
        self._duplicates = 0
        self._recover = highest

    def idle(self) -> None:
        """Nothing was sent for a whole timeout: the network may have changed (RFC 5681 4.1)."""
        self.window = min(self.window, self._initial())

    def _halve(self, flight: int) -> None:
        self.threshold = max(flight // 2, 2 * self.mss)

    def _initial(self) -> int:
        return min(4 * self.mss, max(2 * self.mss, 4380))
