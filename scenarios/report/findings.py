"""Why a run did not pass, in the order in which a person wants to know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from scenarios.report.record import (
    CheckRecord,
    ComparisonRecord,
    InvariantRecord,
    RunRecord,
    State,
    StepRecord,
    ThresholdRecord,
)

WHY = {
    State.INTERRUPTED: "it was interrupted, which says nothing about the network",
    State.PENDING: "it never began",
    State.RUNNING: "it has not ended",
    State.FAILED: "it failed",
    State.ERROR: "poplab failed",
    State.SKIPPED: "it was skipped",
    State.UNAVAILABLE: "this machine cannot run it there",
}


class Finding(NamedTuple):
    """One reason: what it is about, one line that says it, and more lines for those who look closer."""

    where: str
    text: str
    details: tuple[str, ...] = ()


def explain(check: CheckRecord) -> str:
    """Why a condition does not hold, in one line."""
    if check.error:
        return f"{check.text}: {check.error}"
    saw = ", ".join(f"{name} = {value}" for name, value in check.saw)
    return f"{check.text} is false" + (f": {saw}" if saw else "")


def exceeded(limit: ThresholdRecord) -> str:
    """Why a threshold does not hold, in one line."""
    text = f"{limit.key} is not {limit.text}" + (f": {limit.saw}" if limit.saw else "")
    return f"{text}; this ended the run" if limit.aborted else text


def findings(run: RunRecord) -> list[Finding]:
    """Every reason; one at least unless the run passed."""
    found = list(_findings(run))
    if not found and run.state is not State.PASSED:
        found.append(Finding("run", WHY[run.state]))
    return found


def _findings(run: RunRecord) -> Iterator[Finding]:
    if run.error:
        first, *rest = run.error.splitlines() or [""]
        if run.state is State.ERROR and rest:  # a traceback says what happened in its last line
            first, rest = rest[-1].strip(), [first, *rest]
        yield Finding("run", first, tuple(rest))
    for law in run.invariants:
        if not law.holds:
            yield Finding(f"invariant {law.id}", law.text, tuple(law.details))
    for step in run.steps:
        if step.state in (State.FAILED, State.ERROR, State.INTERRUPTED) and not step.excused:
            reasons = [step.error] if step.error else []
            reasons += [explain(check) for check in step.checks if not check.holds]
            text = "; ".join([reasons[0] if reasons else WHY[step.state], *_told(step)])
            yield Finding(f"step {step.name}", text, (*reasons[1:], *step.output))
    for check in run.checks:
        if not check.holds:
            yield Finding("in the end", explain(check))
    for limit in run.thresholds:
        if not limit.holds:
            yield Finding("threshold", exceeded(limit))
    if run.stopped_by and all(limit.holds for limit in run.thresholds):
        yield Finding("threshold", f"a threshold ended the run: {run.stopped_by}")


def _told(step: StepRecord) -> Iterator[str]:
    """What it says itself of a condition that does not hold, and the end of what its program wrote."""
    if step.summary and not step.error:
        yield step.summary
    if step.output:
        yield f"it wrote: {step.output[-1]}"


def unsaid(run: RunRecord, law: InvariantRecord) -> list[str]:
    """The details of a law, without the output that a step which failed has shown."""
    shown = {line for step in run.steps if step.state is not State.PASSED for line in step.output}
    return [detail for detail in law.details if detail not in shown]


def outcome(comparison: ComparisonRecord) -> str:
    """What a comparison came to, in one line: how much was compared is part of it."""
    fabrics = " and ".join(comparison.fabrics)
    if comparison.state not in (State.PASSED, State.FAILED):
        return f"{fabrics} were not compared: {comparison.reason}"
    lenient = [f"{comparison.tolerated} within tolerance"] if comparison.tolerated else []
    lenient += [f"{comparison.ignored} ignored by the file"] if comparison.ignored else []
    beside = f" ({', '.join(lenient)})" if lenient else ""
    if comparison.state is State.PASSED:
        return f"{fabrics} agree in {comparison.facts} facts{beside}; 0 differences"
    word = "difference" if comparison.differing == 1 else "differences"
    why = f"; {comparison.note}" if comparison.note else ""
    return f"{fabrics}: {comparison.differing} {word} in {comparison.facts} facts{beside}{why}"


def differences(comparison: ComparisonRecord) -> list[Finding]:
    """A line for each that counts."""
    return [
        Finding(
            f"{each.name} ({each.place})" if each.place else each.name,
            f"{each.name}: {comparison.fabrics[0]} {each.left}, {each.fabric} {each.right}"
            + (f"; must be {each.why}" if each.why else "")
            + (f" [{each.about}]" if each.about else "")
            + (f" at {each.place}" if each.place else ""),
        )
        for each in comparison.differences
        if each.counts
    ]
