"""Round numbers along an axis."""

from __future__ import annotations

from math import ceil, floor, log10


def ticks(begin: float, end: float, about: int) -> list[float]:
    """From `begin` to `end`, at most about `about` multiples of a round step."""
    if end <= begin:
        return [begin]
    rough = (end - begin) / about
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first, last = ceil(begin / step * 0.999999), floor(end / step * 1.000001)
    return [round(step * number, 9) for number in range(first, last + 1)]


def ceiling(value: float) -> float:
    """A round number that is at least `value`."""
    if value <= 0:
        return 1.0
    power = 10.0 ** floor(log10(value))
    return next(
        power * factor for factor in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if power * factor >= value * 0.9999
    )
