"""One scenario, run in virtual time, and what was wrong with it."""

from __future__ import annotations

import re
import time
import traceback
from dataclasses import dataclass
from functools import partial

import trio

from edge.errors import PoplabError
from scenarios import runner
from scenarios.fabric import FABRICS
from scenarios.report import RunRecord, State, StepRecord, explain
from scenarios.runner import Nobody
from scenarios.schema import Script

PATIENCE = 60.0
"""Real seconds for one run: a world in which time stands still is a failure too."""

LIVENESS = "liveness"
DEADLINE = "deadline"
STUCK = "stuck"

_ERROR = re.compile(r"\b([A-Za-z_]\w*(?:Error|Exception|Packet|Tag))\b")


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong: `kind` is the id of an invariant, "liveness", "deadline", "stuck", or "error: TYPE"."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run."""

    failures: tuple[Failure, ...]
    passed: frozenset[str]
    """The ids of steps that did what they should."""
    started: tuple[float | None, ...]
    ended: tuple[float | None, ...]
    """By step, in seconds."""
    elapsed: float
    wall: float

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(failure.kind for failure in self.failures)


def attempt(script: Script, *, patience: float = PATIENCE) -> Outcome:
    """Run `script` in the sim fabric. PoplabError if it cannot be run; a defect of poplab is an outcome."""
    begun = time.monotonic()
    sim = FABRICS["sim"]
    try:
        record = sim.execute(partial(_main, script, patience), seed=script.scenario.seed)
    except PoplabError:
        raise
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        return Outcome((_defect(text),), frozenset(), (), (), 0.0, time.monotonic() - begun)
    return Outcome(
        tuple(_failures(record)),
        frozenset(step.id for step in record.steps if step.id is not None and step.state is State.PASSED),
        tuple(step.started for step in record.steps),
        tuple(step.ended for step in record.steps),
        record.elapsed,
        time.monotonic() - begun,
    )


async def _main(script: Script, patience: float) -> RunRecord:
    interrupt = trio.Event()
    watcher = _Impatient(interrupt, patience)
    return await runner.run(script, FABRICS["sim"], observer=watcher, interrupt=interrupt)


class _Impatient(Nobody):
    """Ends a run that takes too long in our time."""

    def __init__(self, interrupt: trio.Event, patience: float) -> None:
        self._interrupt = interrupt
        self._until = time.monotonic() + patience

    def tick(self, run: RunRecord) -> None:
        if time.monotonic() > self._until:
            self._interrupt.set()


def _failures(record: RunRecord) -> list[Failure]:
    """Everything wrong, what says most about the cause first."""
    if record.state is State.ERROR:
        return [_defect(record.error)]
    found = [
        Failure(law.id, law.details[0] if law.details else law.text)
        for law in record.invariants
        if not law.holds
    ]
    if record.state is State.INTERRUPTED:
        return [*found, Failure(STUCK, f"time stood still at {record.elapsed:.1f} s")]
    wrong = [step for step in record.steps if step.state is State.FAILED and not step.may_fail]
    late = [step for step in wrong if step.error.startswith("the deadline")]
    found += [Failure(LIVENESS, _why(step)) for step in wrong if step not in late][:1]
    found += [Failure(DEADLINE, _why(step)) for step in late][:1]
    if record.state is State.FAILED and not found:
        checks = [explain(check) for check in record.failed_checks]
        limits = [f"{limit.key}: {limit.text}" for limit in record.thresholds if not limit.holds]
        found.append(Failure("expectation", "; ".join([*checks, *limits]) or "the deadline passed"))
    return found


def _why(step: StepRecord) -> str:
    reasons = [step.error] if step.error else [explain(check) for check in step.checks if not check.holds]
    return f"{step.name}: {reasons[0] if reasons else 'failed'}"


def _defect(text: str) -> Failure:
    named = _ERROR.findall(text)
    return Failure(f"error: {named[-1] if named else 'unknown'}", text.strip().splitlines()[-1].strip(" |"))
