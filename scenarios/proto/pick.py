"""What a condition wants of a program's output: a value of its JSON, or the part that a regular expression finds."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, Union

Picked: TypeAlias = Union[bool, int, float, str, "Mapping[str, Picked]", "Sequence[Picked]", None]

DEEPEST = 16
"""Levels of a list or mapping that is picked as a whole."""

LONGEST_NUMBER = 64
"""Characters."""

_STEP = re.compile(r"(?:^|\.)([^.\[\]\"]+)|\[(?:(-?[0-9]{1,9})|\"([^\"]*)\")\]")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")

JsonPath: TypeAlias = tuple[str | int, ...]


class Unpicked(Exception):
    """Nothing could be picked; the text says why."""


@dataclass(frozen=True, slots=True)
class Pick:
    """Where to look, and for what; with neither a path nor an expression, the whole text."""

    path: JsonPath | None = None
    expression: re.Pattern[str] | None = None
    last: bool = False
    """Of several matches, the last one."""
    number: bool | None = None
    """Whether it must be one; without it, as it is: text, or what JSON says."""

    def of(self, text: str) -> Picked:
        """Unpicked if there is nothing."""
        if self.path is not None:
            value = at(_json(text), self.path)
        elif self.expression is not None:
            value = _match(self.expression, text, last=self.last)
        else:
            value = text.removesuffix("\n")
        if self.number is None:
            return value
        return _number(value) if self.number else _text(value)


def json_path(text: str) -> JsonPath:
    """``end.streams[0].sum`` or ``a["b.c"]``; ValueError if it is none."""
    path: list[str | int] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            raise ValueError(f"{text!r} is no path into JSON")
        name, number, quoted = match.groups()
        path.append(int(number) if number is not None else name if name is not None else quoted)
        position = match.end()
    if not path:
        raise ValueError("an empty path leads nowhere")
    return tuple(path)


def expression(text: str) -> re.Pattern[str]:
    """``^`` and ``$`` are those of every line; ValueError if nobody can read it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return re.compile(text, re.MULTILINE)
    except (re.error, Warning, OverflowError, RecursionError) as error:
        raise ValueError(f"{text!r} is no regular expression: {error}") from None


def at(value: Picked, path: JsonPath) -> Picked:
    """What `path` leads to; Unpicked if it leads nowhere."""
    for index, key in enumerate(path):
        before = _written(path[:index]) or "the output"
        match value, key:
            case dict(), str():
                if key not in value:
                    raise Unpicked(f"{before} has no {key!r}")
                value = value[key]
            case list(), int():
                if not -len(value) <= key < len(value):
                    raise Unpicked(f"{before} has {len(value)} items, not {key}")
                value = value[key]
            case _:
                raise Unpicked(f"{before} has no {key!r}: it is {_kind(value)}")
    return _plain(value, 0)


def _json(text: str) -> Picked:
    try:
        value: Picked = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Unpicked(f"the output is no JSON: {reason}") from None
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _match(pattern: re.Pattern[str], text: str, *, last: bool) -> str:
    found: re.Match[str] | None = None
    for match in pattern.finditer(text):
        found = match
        if not last:
            break
    if found is None:
        raise Unpicked(f"nothing matches {pattern.pattern}")
    group = found[1] if pattern.groups else found[0]
    if group is None:
        raise Unpicked(f"the first group of {pattern.pattern} matched nothing")
    return group


def _number(value: Picked) -> Picked:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if len(text) > LONGEST_NUMBER or _NUMBER.fullmatch(text) is None:
        raise Unpicked(f"{value!r:.80} is no number")
    return _finite(int(text) if text.lstrip("+-").isdigit() else float(text))


def _text(value: Picked) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _plain(value: Picked, depth: int) -> Picked:
    """As every report can hold it: JSON may have halves of surrogate pairs, and numbers of any size."""
    if depth > DEEPEST:
        raise Unpicked("what is there is nested too deeply")
    match value:
        case dict():
            return {_whole(key): _plain(item, depth + 1) for key, item in value.items()}
        case list():
            return [_plain(item, depth + 1) for item in value]
        case str():
            return _whole(value)
        case bool():
            return value
        case int() | float():
            return _finite(value)
    return value


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _finite(number: float) -> float:
    """Unpicked if it is larger than any that we can compute with."""
    try:
        if abs(float(number)) == float("inf"):
            raise OverflowError
    except OverflowError:
        raise Unpicked("the number there is too large") from None
    return float(number) if abs(number) >= 1 << 63 else number


def _kind(value: Picked) -> str:
    names: dict[type, str] = {dict: "a mapping", list: "a list", str: "text", type(None): "null"}
    return names.get(type(value), "a single value")


def _written(path: JsonPath) -> str:
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")
