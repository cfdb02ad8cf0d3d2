"""Numbers as people read them, and the colours that go with them."""

from __future__ import annotations

from scenarios.checks import Ratio, Seconds
from scenarios.report.record import State

GOOD_MOS = 4.03
FAIR_MOS = 3.1
"""Satisfaction classes of G.107 Annex B, in three colours."""

VERDICTS = {
    State.PENDING: ("NOT RUN", "idle"),
    State.RUNNING: ("RUNNING", "idle"),
    State.PASSED: ("PASSED", "good"),
    State.FAILED: ("FAILED", "bad"),
    State.INTERRUPTED: ("INTERRUPTED", "warn"),
    State.ERROR: ("ERROR", "bad"),
    State.SKIPPED: ("SKIPPED", "idle"),
    State.UNAVAILABLE: ("NOT AVAILABLE", "warn"),
}
"""A word, and a class of the style sheet."""

MARKS = {
    State.PENDING: ("·", "idle"),
    State.RUNNING: ("▸", "warn"),
    State.PASSED: ("✓", "good"),
    State.FAILED: ("✗", "bad"),
    State.INTERRUPTED: ("■", "warn"),
    State.ERROR: ("✗", "bad"),
    State.SKIPPED: ("–", "idle"),
    State.UNAVAILABLE: ("–", "warn"),
}


def seconds(value: float | None) -> str:
    return "–" if value is None else str(Seconds(value))


def moment(value: float | None) -> str:
    """A time since the run began."""
    return "–" if value is None else f"{value:,.2f} s"


def per_cent(value: float | None) -> str:
    return "–" if value is None else str(Ratio(value))


def mos_class(value: float) -> str:
    return "good" if value >= GOOD_MOS else "warn" if value >= FAIR_MOS else "bad"


def short(value: str, length: int) -> str:
    """At most `length` characters of it."""
    return value if len(value) <= length else value[: length - 1] + "…"


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")
