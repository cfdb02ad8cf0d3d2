"""Words for a value of the right type that is too much, too little, too long or of the wrong form."""

from __future__ import annotations

import re
from collections.abc import Sized
from typing import Any

import msgspec

_BOUND = re.compile(r"Expected `\w+` (<=|<|>=|>) (\S+)")
_LENGTH = re.compile(r"Expected `(\w+)` of length (<=|>=) (\d+)")
_PATTERN = re.compile(r"Expected `str` matching regex .*", re.DOTALL)
_UNITS = {"str": ("character", "characters"), "object": ("entry", "entries")}
_WORDS = {  # relation -> (what the value is, the bound in words, the fix)
    "<=": ("much", "at most {}", "write {} or less"),
    "<": ("much", "less than {}", "write less than {}"),
    ">=": ("little", "at least {}", "write {} or more"),
    ">": ("little", "more than {}", "write more than {}"),
}


def out_of_bounds(message: str, data: Any, kind: Any) -> tuple[str, str] | None:
    """What msgspec's `message` about `data`, a `kind`, means, and the fix; None if it is about something else."""
    limits = [meta for meta in getattr(kind, "__metadata__", ()) if isinstance(meta, msgspec.Meta)]
    if match := _BOUND.fullmatch(message):
        return _bound(match[1], match[2], data, limits)
    if (match := _LENGTH.fullmatch(message)) and isinstance(data, Sized):
        one, many = _UNITS.get(match[1], ("item", "items"))
        wanted = f"{match[3]} {one if match[3] == '1' else many}"
        if match[2] == "<=":
            return f"too many: {len(data)}", f"write {wanted} or less"
        return (f"too few: {len(data)}" if data else "nothing in it"), f"write {wanted} or more"
    if _PATTERN.fullmatch(message):
        what = next((meta.description for meta in limits if meta.description), "what may stand here")
        pattern = next((meta.pattern for meta in limits if meta.pattern), "")
        return f"{data!r} is not {what}", f"write one that matches {pattern}" if pattern else ""
    return None


def _bound(relation: str, bound: str, data: Any, limits: list[msgspec.Meta]) -> tuple[str, str]:
    much, words, fix = _WORDS[relation]
    low = next((meta.ge for meta in limits if meta.ge is not None), None)
    high = next((meta.le for meta in limits if meta.le is not None), None)
    if low is not None and high is not None:
        fix = f"write a number from {low} to {high}"
    return f"{data} is too {much}: {words.format(bound)}", fix.format(bound)
