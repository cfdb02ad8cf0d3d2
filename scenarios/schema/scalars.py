"""Values that scenario files write as text, beside those of every document: shares, rates, sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Self

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Share(float):
    """A part of the whole: ``0.2%``, or a number from 0 to 1."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "anyOf": [
            {"type": "string", "pattern": rf"^{_NUMBER}%$"},
            {"type": "number", "minimum": 0, "maximum": 1},
        ]
    }

    @classmethod
    def parse(cls, value: object) -> Self:
        share = -1.0
        if isinstance(value, int | float) and not isinstance(value, bool):
            share = float(value)
        elif isinstance(value, str) and (match := re.fullmatch(rf"({_NUMBER})%", value)):
            share = float(match[1]) / 100
        if not 0 <= share <= 1:
            raise ValueError(f"{value!r} is not a share of the whole; write 0.2% or 0.002")
        return cls(share)


class BitRate(float):
    """Bits per second: ``64kbit``, ``50mbit``, ``1gbit``."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": rf"^{_NUMBER}(bit|kbit|mbit|gbit)$"}
    _UNITS: ClassVar[Mapping[str, float]] = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}

    @classmethod
    def parse(cls, value: object) -> Self:
        match = re.fullmatch(rf"({_NUMBER})([kmg]?)bit", value) if isinstance(value, str) else None
        if match is None or not float(match[1]):
            raise ValueError(f"{value!r} is not a rate; write 64kbit, 50mbit or 1gbit")
        return cls(float(match[1]) * cls._UNITS[match[2]])


class Size(int):
    """Bytes: ``64kB``, ``1MB``, or a plain number."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "anyOf": [{"type": "string", "pattern": "^[0-9]+(B|kB|MB)$"}, {"type": "integer", "minimum": 0}]
    }
    _UNITS: ClassVar[Mapping[str, int]] = {"B": 1, "kB": 1000, "MB": 1_000_000}

    @classmethod
    def parse(cls, value: object) -> Self:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        match = re.fullmatch(r"([0-9]+)(B|kB|MB)", value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"{value!r} is not a size; write 1200, 64kB or 1MB")
        return cls(int(match[1]) * cls._UNITS[match[2]])


class PerSecond(float):
    """How often: ``5/s``, ``300/m``, ``0``."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "anyOf": [{"type": "string", "pattern": rf"^{_NUMBER}/(s|m|h)$"}, {"const": 0}]
    }
    _UNITS: ClassVar[Mapping[str, float]] = {"s": 1.0, "m": 60.0, "h": 3600.0}

    @classmethod
    def parse(cls, value: object) -> Self:
        if _is_number(value) and value == 0:
            return cls(0.0)
        match = re.fullmatch(rf"({_NUMBER})/([smh])", value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"{value!r} is not a rate of events; write 5/s, 300/m or 0")
        return cls(float(match[1]) / cls._UNITS[match[2]])


class Moment(str):
    """A moment of a run: ``10s`` after its start, or after an event, ``call.confirmed + 20s``."""

    __slots__ = ()
    SCHEMA: ClassVar[Mapping[str, Any]] = {"type": "string"}

    @classmethod
    def parse(cls, value: object) -> Self:
        if not isinstance(value, str):
            fix = f"{value}s or " if _is_number(value) else ""
            raise ValueError(f"{value!r} is no moment; write {fix}call.confirmed + 20s")
        return cls(value)


class Loss(tuple[float, ...]):
    """A share, or bursts: ``{model: gilbert-elliott, p: 0.1%, r: 30%}``, probabilities per packet.

    As (share,), or as (p, r, loss in the bad state, loss in the good one): p leads from good to bad, r back.
    """

    __slots__ = ()
    MODEL: ClassVar[str] = "gilbert-elliott"
    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "anyOf": [
            *Share.SCHEMA["anyOf"],
            {
                "type": "object",
                "properties": {
                    "model": {"const": MODEL},
                    **dict.fromkeys(("p", "r", "bad", "good"), Share.SCHEMA),
                },
                "required": ["model", "p", "r"],
                "additionalProperties": False,
            },
        ]
    }

    @classmethod
    def parse(cls, value: object) -> Self:
        if not isinstance(value, dict):
            return cls((Share.parse(value),))
        given = {"bad": 1.0, "good": 0.0, **value}
        if given.pop("model", None) != cls.MODEL or set(given) != {"p", "r", "bad", "good"}:
            raise ValueError(
                f"this is no loss in bursts; write {{model: {cls.MODEL}, p: 0.1%, r: 30%}}, and bad, good if need be"
            )
        shares = [Share.parse(given[key]) for key in ("p", "r", "bad", "good")]
        if not shares[1]:
            raise ValueError("with r: 0% a burst never ends; write r: 30%")
        return cls(shares)

    @property
    def in_bursts(self) -> bool:
        return len(self) > 1


class Records(tuple[str, ...]):
    """What a name stands for: an address, several, or another name."""

    __slots__ = ()
    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
    }

    @classmethod
    def parse(cls, value: object) -> Self:
        items: list[Any] = value if isinstance(value, list) else [value]
        if not items or not all(isinstance(item, str) and item for item in items):
            raise ValueError(
                f"{value!r} is no record; write an address, a list of addresses, or another name"
            )
        return cls(items)


class Sizes(tuple[int, int]):
    """Bytes of a payload: ``200``, or any number between two: ``[64, 1200]``."""

    __slots__ = ()
    LEAST: ClassVar[int] = 32
    MOST: ClassVar[int] = 65000
    _ONE: ClassVar[Mapping[str, Any]] = {"type": "integer", "minimum": LEAST, "maximum": MOST}
    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 2, "maxItems": 2}]
    }

    @classmethod
    def parse(cls, value: object) -> Self:
        both: list[Any] = value if isinstance(value, list) else [value, value]
        fits = len(both) == 2 and all(_is_number(size) and isinstance(size, int) for size in both)
        if not fits or not cls.LEAST <= both[0] <= both[1] <= cls.MOST:
            raise ValueError(
                f"{value!r} is no size of a payload; write 200, or [64, 1200] for any in between"
            )
        return cls(both)
