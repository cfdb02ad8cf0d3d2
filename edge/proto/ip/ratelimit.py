"""A token bucket."""

from __future__ import annotations


class RateLimit:
    """Lets `burst` through at once and `rate` per second on average. It starts full."""

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._at: float | None = None

    def allow(self, now: float, cost: float = 1.0, *, leave: float = 0.0) -> bool:
        """Take `cost` tokens if they are there, and `leave` others; a cost in bytes makes it a limit on bytes."""
        if self._at is None:
            self._at = now
        elif now > self._at:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
            self._at = now
        if self._tokens < cost + leave:
            return False
        self._tokens -= cost
        return True
