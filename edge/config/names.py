"""Names: what may be one, and which one was meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher, get_close_matches

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
NAME_RULE = "letters, digits, dot, dash and underscore, at most 63, starting with a letter or digit"
PART = re.compile(r"[^\W\d_]+|\d+")
CLOSE = 0.8  # one letter of five


def is_name(word: str) -> bool:
    """Whether `word` may name a PoP, vnet or tunnel: it becomes a metric label and a file name."""
    return NAME.match(word) is not None


def counted(number: int, noun: str) -> str:
    """Such as "1 route" and "2 routes"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def likely_meant(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` of which `word` is likely a slip; None if it may well be a name of its own.

    Names come in series, such as floor1 and floor2, sales-eu and sales-us: only letters within one part slip.
    """
    folded = {other.casefold(): other for other in sorted(known)}
    near = get_close_matches(word.casefold(), folded, n=10, cutoff=CLOSE)
    return next((folded[other] for other in near if _same_parts(word.casefold(), other)), None)


def _same_parts(one: str, other: str) -> bool:
    parts, others = PART.findall(one), PART.findall(other)
    return len(parts) == len(others) > 0 and all(
        a == b or (a.isalpha() and b.isalpha() and SequenceMatcher(None, a, b).ratio() >= CLOSE)
        for a, b in zip(parts, others, strict=True)
    )
