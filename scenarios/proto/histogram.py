"""A distribution in bounded memory: how often, how much, and percentiles with a stated error.

Buckets are logarithmic, as in DDSketch (Masson, Rim, Lee 2019): two numbers in one bucket differ by at most 2 %, so
its middle is within 1 % of both. Our own because the alternatives measure integers of a range fixed in advance, and
this is thirty lines. Count, sum, minimum and maximum are exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import ceil, exp, fsum, isfinite, log

ERROR = 0.01
"""Greatest relative error of a percentile whose absolute value is between SMALLEST and LARGEST."""

SMALLEST = 1e-9  # what is nearer to zero is zero
LARGEST = 1e12
_GAMMA = log((1 + ERROR) / (1 - ERROR))  # log of the ratio of a bucket's bounds
_MIDDLE = log(2 / (1 + exp(_GAMMA)))  # from the upper bound to what is within ERROR of both
_LOWEST = ceil(log(SMALLEST) / _GAMMA) - 1
MAX_BUCKETS = 2 * (ceil(log(LARGEST) / _GAMMA) - _LOWEST + 1) + 1


class Histogram:
    """Takes any finite numbers, also negative ones."""

    __slots__ = ("_buckets", "count", "maximum", "minimum", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.minimum: float | None = None
        self.maximum: float | None = None
        self._buckets: Counter[tuple[int, int]] = Counter()  # (sign, sign * index): sorts as the values do

    @property
    def average(self) -> float | None:
        return self.total / self.count if self.count else None

    @property
    def buckets(self) -> int:
        """How many are in use; never more than MAX_BUCKETS."""
        return len(self._buckets)

    def add(self, value: float, times: int = 1) -> None:
        """Count `value`; raises ValueError if it is not finite."""
        if not isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        self.count += times
        self.total += value * times
        self.minimum = value if self.minimum is None else min(self.minimum, value)
        self.maximum = value if self.maximum is None else max(self.maximum, value)
        self._buckets[_bucket(value)] += times

    def merge(self, other: Histogram) -> None:
        if other.minimum is None or other.maximum is None:
            return
        self.count += other.count
        self.total += other.total
        self.minimum = other.minimum if self.minimum is None else min(self.minimum, other.minimum)
        self.maximum = other.maximum if self.maximum is None else max(self.maximum, other.maximum)
        self._buckets.update(other._buckets)

    def percentile(self, percent: float) -> float | None:
        """As `percentile` below, from the middles of the buckets; None before the first value."""
        if self.minimum is None or self.maximum is None:
            return None
        position = percent / 100 * (self.count - 1)
        below = int(position)
        low, high = self._at(below), self._at(min(below + 1, self.count - 1))
        return low + (high - low) * (position - below)

    def _at(self, rank: int) -> float:
        """The value at place `rank`, from 0, of all in order."""
        assert self.minimum is not None and self.maximum is not None
        if rank == 0:
            return self.minimum
        if rank == self.count - 1:
            return self.maximum
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen > rank:
                return min(max(_middle(bucket), self.minimum), self.maximum)
        raise AssertionError("buckets hold every value that was counted")


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Of sorted values, with linear interpolation between the two nearest ranks, as k6 and numpy do by default.

    p(0) is the least, p(50) the median, p(100) the greatest. Raises ValueError if there are none.
    """
    if not ordered:
        raise ValueError("nothing was measured")
    position = percent / 100 * (len(ordered) - 1)
    below = int(position)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    return low + (high - low) * (position - below)


def average(values: Sequence[float]) -> float:
    """The mean without rounding on the way; raises ValueError if there are none."""
    if not values:
        raise ValueError("nothing was measured")
    return fsum(values) / len(values)


def _bucket(value: float) -> tuple[int, int]:
    size = abs(value)
    if size < SMALLEST:
        return 0, 0
    index = ceil(log(min(size, LARGEST)) / _GAMMA) - _LOWEST
    return (1, index) if value > 0 else (-1, -index)


def _middle(bucket: tuple[int, int]) -> float:
    sign, index = bucket
    return sign * exp((abs(index) + _LOWEST) * _GAMMA + _MIDDLE) if sign else 0.0
