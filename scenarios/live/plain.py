"""A run as lines: for pipes, logs and CI. One fact each, nothing is overwritten."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO

from scenarios.live.stdout import Stdout
from scenarios.live.style import VERDICTS, per_cent, seconds
from scenarios.report import (
    HappeningRecord,
    RunRecord,
    State,
    StepRecord,
    aligned,
    exceeded,
    explain,
    took,
    unsaid,
    ways_taken,
)

_WORDS = {State.PASSED: "ok", State.FAILED: "FAIL", State.INTERRUPTED: "stop", State.ERROR: "ERROR"}


class Lines:
    """Writes to a stream, a line at a time."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream if isinstance(stream, Stdout) else Stdout(stream)

    def __call__(self, line: str) -> None:
        self._stream.write(f"{line}\n")
        self._stream.flush()


class PlainLines:
    """Writes each line when it is known."""

    def __init__(self, write: Callable[[str], None], *, report: str = "") -> None:
        self._write = write
        self._report = report
        self._told: HappeningRecord | None = None

    def started(self, run: RunRecord) -> None:
        tunnels = sum(len(vnet.members) for vnet in run.vnets)
        self._write(
            f"run   {run.title}  fabric {run.fabric}  seed {run.seed}  PoP {run.door or run.pop}  "
            f"{tunnels} tunnels of {len(run.vnets)} vnet{'s' if len(run.vnets) > 1 else ''}"
        )

    def step_started(self, run: RunRecord, step: StepRecord) -> None:
        if step.background:
            self._write(f"..    {step.started or 0:6.2f} s  {step.name} (in the background)")

    def step_ended(self, run: RunRecord, step: StepRecord) -> None:
        text = f": {step.summary}" if step.summary else ""
        word = "fails" if step.excused else _WORDS[step.state]
        self._write(f"{word:<5} {step.ended or 0:6.2f} s  {step.name}{text}")
        for line in aligned(step.table):
            self._write(f"                {line}")
        if step.error:
            self._write(f"                {step.error}")
        for check in step.checks:
            if not check.holds:
                self._write(f"                {explain(check)}")
        if step.state is not State.PASSED:
            for line in step.output:
                self._write(f"                | {line}")

    def tick(self, run: RunRecord) -> None:
        """A line is only written when something happened."""
        new = run.happenings
        for index, each in enumerate(new):
            if each is self._told:
                new = new[index + 1 :]
                break
        for each in new:
            self._told = each
            self._write(
                f"{'!!' if each.bad else '..':<5} {each.at:6.2f} s  {f'{each.who} ' if each.who else ''}{each.text}"
            )

    def ended(self, run: RunRecord) -> None:
        self.tick(run)
        for call in run.calls:
            heard = [
                f"{d.listener} heard MOS {d.mos:.2f} loss {per_cent(d.loss)} jitter {seconds(d.jitter)} "
                f"longest gap {seconds(d.gap_max)}"
                for d in call.directions
                if d.mos is not None
            ]
            setup = f"setup {seconds(call.setup_time)}" if call.setup_time is not None else call.outcome
            self._write(f"call  {call.caller} -> {call.callee}: {'; '.join([setup, *heard])}")
        for sighting in run.sightings:
            true = (
                "the true source"
                if sighting.seen == sighting.true
                else f"NOT the true source {sighting.true}"
            )
            self._write(f"seen  {sighting.pbx} saw {sighting.user} from {sighting.seen}: {true}")
        for line in ways_taken(run):
            self._write(f"way   {line}")
        for check in run.checks:
            self._write(
                f"{'ok' if check.holds else 'FAIL':<5} {check.text if check.holds else explain(check)}"
            )
        for law in run.invariants:
            self._write(f"{'ok' if law.holds else 'FAIL':<5} {law.id}: {law.text}")
            for detail in unsaid(run, law):
                self._write(f"                {detail}")
        for limit in run.thresholds:
            text = f"{limit.key}: {limit.text}: {limit.saw}" if limit.holds else exceeded(limit)
            self._write(f"{'ok' if limit.holds else 'FAIL':<5} {text}")
        for load in run.loads:
            counts = f"passed {load.passed} failed {load.failed} not started {load.skipped}"
            figures = "".join(f"; {name} {value}" for name, value in load.figures)
            self._write(f"load  {load.name}: started {load.started} {counts}{figures}")
        if run.error:
            self._write(run.error)
        report = f"  report {self._report}" if self._report else ""
        again = f"  again: {run.repeat}" if run.repeat else ""
        word = "STOPPED" if run.kept and run.state is State.PASSED else VERDICTS[run.state][0]
        self._write(f"{word} {run.title} in {took(run)}{report}{again}")
