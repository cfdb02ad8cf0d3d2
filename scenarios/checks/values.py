"""Numbers with a unit: plain floats to the evaluator and to JSON, readable to people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias, Union

Plain: TypeAlias = Union[bool, int, float, str, "Mapping[str, Plain]", "Sequence[Plain]", None]
"""What an expression can see: data without behaviour."""


class Seconds(float):
    """A time span; written as the largest unit that keeps three figures."""

    __slots__ = ()

    def __str__(self) -> str:
        size = abs(self)
        if size == 0:
            return "0 s"
        if size < 0.001:
            return f"{self * 1e6:.0f} µs"
        if size < 0.01:
            return f"{self * 1e3:.1f} ms"
        if size < 1:
            return f"{self * 1e3:.0f} ms"
        return f"{float(self):.2f} s" if size < 10 else f"{float(self):.1f} s"


class Ratio(float):
    """A part of a whole; written in per cent."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{self * 100:.1f} %"


class Secret(str):
    """A text that may be put where it is needed, and is never shown."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN


HIDDEN = "(a secret)"

LONGEST = 300
"""Characters of a text that is shown."""

_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def show(value: Plain) -> str:
    """`value` as a person reads it beside an expectation."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Seconds | Ratio):
        return str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Secret):
        return HIDDEN
    if isinstance(value, str):
        return f'"{_on_a_line(value)}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_on_a_line(key)}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(map(show, value)) + "]"
    return str(value)


def _on_a_line(text: str) -> str:
    """Its beginning and its end, printable."""
    if len(text) > LONGEST:
        half = LONGEST // 2
        text = f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"
    return printable(text).replace("\n", "\\n")


def printable(text: str) -> str:
    """Lines that a terminal may get, whoever wrote them.

    What would move its cursor, change its title or turn the direction of writing is spelt, as in a string of a program.
    """
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], text)
