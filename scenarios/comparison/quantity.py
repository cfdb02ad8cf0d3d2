"""When two values of a fact are alike: that depends on what is measured."""

from __future__ import annotations

from enum import StrEnum

from scenarios.checks import Plain, Ratio, Seconds, show
from scenarios.schema.tolerance import Tolerance

FEW = 2
"""So many more or less are no difference where packets are sent again, whatever the share."""
R_PER_MOS = 40.0
"""About so many points of R are one of MOS for good calls, where the curve of G.107 Annex B is flat."""
TURN = 0.02
"""Seconds that each further part of a time may take longer: with a real clock one begins a little after the other."""
GOODBYES = 120
"""Bytes of the last two segments of a connection in IPv6: they may come when its step is over."""
PEAKS = 2
"""A longest time may differ by so many times what another time may."""
DIGITS = 1e-9


class Quantity(StrEnum):
    """What a fact is, and with that how it is compared."""

    EXACT = "exact"
    SET = "set"  # the order is nobody's
    TIME = "time"
    PEAK = "peak"  # the longest of many times: one hiccup of a machine is enough
    MOS = "mos"
    R = "r"
    LOSS = "loss"
    BYTES = "bytes"  # as a count
    COUNT = "count"  # none or some is exact, how many is not
    CHANCE = "chance"  # none or a few is the same
    PRESENCE = "presence"  # none or some, and nothing else


_BY_NAME = {
    "mos": Quantity.MOS,
    "mos_min": Quantity.MOS,
    "r": Quantity.R,
    "loss": Quantity.LOSS,
    "target_bytes": Quantity.BYTES,
    # How often something was sent until it got through, and what was seen of that.
    **dict.fromkeys(("attempts", "icmp_errors", "received", "packets"), Quantity.COUNT),
    **dict.fromkeys(("lost", "duplicates", "reordered", "overrun"), Quantity.CHANCE),
}


def of(name: str, value: Plain) -> Quantity:
    """That of a result of a step called `name`, a part of another one or not."""
    if isinstance(value, list | tuple):
        return Quantity.SET
    if isinstance(value, bool | str) or value is None:
        return Quantity.EXACT
    if name in _BY_NAME:
        return _BY_NAME[name]
    if not isinstance(value, float):
        return Quantity.EXACT
    return Quantity.PEAK if name.endswith("_max") or name.startswith("slowest") else Quantity.TIME


def alike(quantity: Quantity, left: Plain, right: Plain, tolerance: Tolerance, parts: int = 1) -> bool:
    """Whether the two are no difference. Of a figure, "not there" is another thing than any number.

    `parts`: of a time, how many others it is the sum of.
    """
    if quantity is Quantity.SET:
        return _unordered(left) == _unordered(right)
    if left == right or quantity is Quantity.EXACT:
        return left == right
    if not (isinstance(left, int | float) and isinstance(right, int | float)):
        return False
    if quantity is Quantity.PRESENCE:
        return bool(left) is bool(right)
    if quantity in (Quantity.COUNT, Quantity.BYTES) and bool(left) is not bool(right):
        return False
    room = _room(quantity, max(abs(left), abs(right)), tolerance)
    if quantity is Quantity.TIME:
        room += TURN * (parts - 1)
    return abs(left - right) <= room + DIGITS


def rule(quantity: Quantity, tolerance: Tolerance, parts: int = 1) -> str:
    """The rule in words."""
    match quantity:
        case Quantity.TIME:
            time = Seconds(tolerance.time + TURN * (parts - 1))
            return f"within {time} and {Ratio(tolerance.ratio)}"
        case Quantity.PEAK:
            return f"within {Seconds(PEAKS * tolerance.time)} and {Ratio(tolerance.ratio)}"
        case Quantity.MOS | Quantity.R:
            return f"within {tolerance.mos:g} of MOS"
        case Quantity.LOSS:
            return f"within {Ratio(tolerance.loss)} of the packets"
        case Quantity.BYTES:
            return f"within {GOODBYES} or {Ratio(tolerance.count)}, but not none"
        case Quantity.COUNT:
            return f"within {FEW} or {Ratio(tolerance.count)}, but not none"
        case Quantity.CHANCE:
            return f"within {FEW} or {Ratio(tolerance.count)}"
        case Quantity.PRESENCE:
            return "none or some"
    return "equal"


def shown(quantity: Quantity, value: Plain, limit: int = 200) -> str:
    """The value as people read it, in at most `limit` characters."""
    if isinstance(value, float) and quantity in (Quantity.TIME, Quantity.PEAK):
        value = Seconds(value)
    elif isinstance(value, float) and quantity is Quantity.LOSS:
        value = Ratio(value)
    text = show(value)
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _room(quantity: Quantity, greater: float, tolerance: Tolerance) -> float:
    match quantity:
        case Quantity.TIME:
            return tolerance.time + tolerance.ratio * greater
        case Quantity.PEAK:
            return PEAKS * tolerance.time + tolerance.ratio * greater
        case Quantity.MOS:
            return tolerance.mos
        case Quantity.R:
            return tolerance.mos * R_PER_MOS
        case Quantity.LOSS:
            return tolerance.loss
        case Quantity.BYTES:
            return max(GOODBYES, tolerance.count * greater)
    return max(FEW, tolerance.count * greater)


def _unordered(value: Plain) -> list[str]:
    return sorted(map(show, value)) if isinstance(value, list | tuple) else [show(value)]
