"""From the records of one file on several fabrics to what they do not agree in."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from scenarios.checks import Seconds
from scenarios.comparison.facts import Fact, facts, is_whole
from scenarios.comparison.quantity import Quantity, alike, rule, shown
from scenarios.report import ComparisonRecord, DifferenceRecord, RunRecord, State
from scenarios.report.findings import WHY
from scenarios.schema.tolerance import Differences

MOST_DIFFERENCES = 300
BUSY = 0.01
"""Seconds by which a machine is late at worst, beyond which it is named: half a packet of a call.
On its way that has to be in time several times."""

_ZERO = (Quantity.COUNT, Quantity.BYTES, Quantity.CHANCE, Quantity.PRESENCE)
"""Quantities of which "not there" and none are the same."""
_URGENT = (State.ERROR, State.INTERRUPTED, State.UNAVAILABLE, State.SKIPPED)


def compared(
    runs: Sequence[RunRecord], fabrics: Sequence[str], allowed: Differences, repeat: str
) -> ComparisonRecord:
    """`runs` are those of one cell on `fabrics`, in this order; all are compared with the first.

    Where one of them came to nothing, nothing is said about the others either.
    """
    first = runs[0]
    record = ComparisonRecord(
        file=first.file,
        name=first.name,
        cell=first.cell,
        fabrics=list(fabrics),
        seed=first.seed,
        repeat=repeat,
    )
    partial = [(fabric, run) for fabric, run in zip(fabrics, runs, strict=True) if not is_whole(run)]
    if partial:
        record.state = next(
            (state for state in _URGENT if any(run.state is state for _, run in partial)), State.ERROR
        )
        record.reason = "; ".join(f"{fabric}: {_why(run)}" for fabric, run in partial)
        return record
    found: list[DifferenceRecord] = []
    for fabric, run in zip(fabrics[1:], runs[1:], strict=True):
        count, differences = between(first, run, fabric, allowed)
        record.facts += count
        found += differences
    late = [(fabric, run) for fabric, run in zip(fabrics, runs, strict=True) if run.late > BUSY]
    record.note = "; ".join(
        f"on {fabric} this machine was late by up to {Seconds(run.late)}" for fabric, run in late
    )
    record.differing = sum(each.counts for each in found)
    record.ignored = sum(each.why == IGNORED for each in found)
    record.tolerated = len(found) - record.differing - record.ignored
    record.differences = sorted(found, key=lambda each: not each.counts)[:MOST_DIFFERENCES]
    record.state = State.FAILED if record.differing else State.PASSED
    return record


IGNORED = "ignored by the file"


def between(
    left: RunRecord, right: RunRecord, fabric: str, allowed: Differences
) -> tuple[int, list[DifferenceRecord]]:
    """How many facts were compared, and those that are not equal; `fabric` is where `right` ran."""
    here, there = facts(left), facts(right)
    found = []
    names = dict.fromkeys([*here, *there])
    for name in names:
        one, other = here.get(name), there.get(name)
        difference = _difference(name, one, other, allowed)
        if difference is not None:
            difference.fabric = fabric
            found.append(difference)
    return len(names), found


def _difference(
    name: str, left: Fact | None, right: Fact | None, allowed: Differences
) -> DifferenceRecord | None:
    known = left or right
    assert known is not None, "a name is of one of them"
    quantity = known.quantity
    if left is not None and right is not None and left.value is None:
        quantity = right.quantity  # what is not there does not say what it would be
    missing = 0 if quantity in _ZERO else None
    one = missing if left is None else left.value
    other = missing if right is None else right.value
    if one == other and (left is not None) is (right is not None):
        return None
    parts = max(fact.parts for fact in (left, right) if fact is not None)
    holds = alike(quantity, one, other, allowed.tolerance, parts)
    if holds and quantity in (Quantity.SET, Quantity.PRESENCE, Quantity.EXACT):
        return None
    ignored = any(fnmatchcase(name, each) or fnmatchcase(name, f"{each}.*") for each in allowed.ignore)
    absent = "not there"
    return DifferenceRecord(
        name=name,
        left=absent if left is None and missing is None else shown(quantity, one),
        fabric="",
        right=absent if right is None and missing is None else shown(quantity, other),
        counts=not (holds or ignored),
        why=IGNORED if ignored and not holds else rule(quantity, allowed.tolerance, parts),
        about=known.about,
        place=known.place,
    )


def _why(run: RunRecord) -> str:
    """In one line, why there is nothing to compare."""
    last = run.error.splitlines()[-1].strip() if run.error else ""
    return last or WHY.get(run.state, run.state.value)
