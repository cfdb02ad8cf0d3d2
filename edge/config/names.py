"""Names: what may be one, and which one was meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
NAME_RULE = "letters, digits, dot, dash and underscore, at most 63, starting with a letter or digit"
PART = re.compile(r"[^\W\d_]+|\d+")
CLOSE = 0.8  # one letter of five


def is_name(word: str) -> bool:
    """Whether `word` may name a PoP, vnet or tunnel: it becomes a metric label and a file name."""
    return NAME.match(word) is not None


def likely_meant(word: str, known: Iterable[str]) -> str | None:
    """The one of `known` of which `word` is likely a slip; None if it may well be a name of its own.

    Names come in series, such as floor1 and floor2, sales-eu and sales-us: only letters within one part slip.
    """
    return max((other for other in known if _close(word, other)), key=lambda o: _ratio(word, o), default=None)


def _close(one: str, other: str) -> bool:
    parts, others = PART.findall(one.casefold()), PART.findall(other.casefold())
    return len(parts) == len(others) > 0 and all(
        a == b or (a.isalpha() and b.isalpha() and _ratio(a, b) >= CLOSE)
        for a, b in zip(parts, others, strict=True)
    )


def _ratio(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()
