"""A campaign: the scenario as it is must pass; then it is run again and again with faults that were drawn."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from edge.document import address_text
from edge.errors import ConfigError, Problem
from scenarios import runner, world
from scenarios.fuzz import draw
from scenarios.fuzz.case import Case
from scenarios.fuzz.draw import Fault, Step, fault_id, seconds
from scenarios.fuzz.emit import emit
from scenarios.fuzz.trial import Failure, Outcome, attempt
from scenarios.schema import Script
from scenarios.schema.language import Faults

GRACE = 10.0
"""Seconds that a step may take longer than it did without faults."""

SETTLED = 1.0
"""Seconds between the last fault's end and the moment from which everything must recover."""

DROPPED = frozenset(
    (
        *("version", "name", "about", "include", "templates", "matrix", "fabric", "seed", "deadline"),
        *("steps", "expect", "thresholds", "faults", "outputs"),
    )
)
"""What of a scenario is not taken over: faults are in the way of what it expects."""

_MOMENT = re.compile(r"[a-z_]+\.")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run of the campaign needs besides its number; plain data, for other processes."""

    case: Case
    kinds: Mapping[str, tuple[str, ...]]
    count: tuple[int, int]
    span: float
    seed: int

    def draw(self, number: int) -> Case:
        """The case of run `number`."""
        faults = draw.draw(self._stream(number, "faults"), self.kinds, self.count, self.span)
        return with_faults(self.case, faults, self.span, seed=self._stream(number, "world").randrange(2**32))

    def _stream(self, number: int, name: str) -> Random:
        return Random(f"{self.seed}/{number}/{name}")


def with_faults(case: Case, faults: tuple[Fault, ...], span: float, *, seed: int | None = None) -> Case:
    """`case` with these faults; it is quiet when the last of them is over."""
    quiet = max([span, *(fault.end for fault in faults)]) + SETTLED
    return Case(
        case.base,
        case.steps,
        faults,
        case.hosts,
        case.seed if seed is None else seed,
        round(quiet, 1),
        case.recover,
        case.spent,
    )


def choose(file: Path, settings: Mapping[str, str]) -> Script:
    """The one cell of `file` that is looked at; ConfigError if the file or a setting is wrong."""
    scripts = runner.check(file)
    for name, value in settings.items():
        known = sorted({str(script.cell[name]) for script in scripts if name in script.cell})
        scripts = tuple(script for script in scripts if str(script.cell.get(name)) == value)
        if not scripts:
            fix = f"known: {', '.join(known)}" if known else "the file has no such axis"
            raise ConfigError([Problem(str(file), 0, 0, f"there is no cell with {name}={value}", fix)])
    if "sim" not in scripts[0].scenario.fabrics:
        text = "campaigns run in virtual time, and this scenario does not"
        real = scripts[0].scenario.runs_programs
        fix = "leave out `exec`: real programs run in real time" if real else "add sim to `fabric`"
        raise ConfigError([Problem(str(file), 0, 0, text, fix)])
    return scripts[0]


def plan(script: Script, seed: int) -> tuple[Plan | None, Outcome]:
    """Run the scenario as it is. None with an outcome that failed: then faults would say nothing."""
    outcome = attempt(script)
    if outcome.failures:
        return None, outcome
    scenario = script.scenario
    given = scenario.faults or Faults()
    least, _, most = given.draw.count.partition("..")
    data: Mapping[str, Any] = script.places.data
    steps = tuple(_excused(data.get("steps") or [], outcome))
    built = world.build(script)
    gateways = {
        (name, len(address)): address_text(address)
        for name, vnet in built.config.vnets.items()
        for address in vnet.gateways
    }
    base = {
        "name": f"{scenario.name}-shrunk"[:60],
        **{key: value for key, value in data.items() if key not in DROPPED},
    }
    if kept := [law for law in data.get("invariants") or [] if "always" in law]:
        base["invariants"] = kept
    else:
        base.pop("invariants", None)
    span = max(1.0, round(outcome.elapsed, 1))
    case = Case(
        base,
        steps,
        (),
        tuple(
            (actor.name, gateways[actor.vnet, len(actor.ip)])
            for actor in script.cast.actors.values()
            if (actor.vnet, len(actor.ip)) in gateways and actor.name not in script.cast.outside
        ),
        scenario.seed,
        span,
        float(given.recover),
        sum(float(step["within"][:-1]) for step in steps),
    )
    return Plan(case, draw.targets(script), (int(least), int(most)), span, seed), outcome


def _excused(steps: list[Step], before: Outcome) -> Iterator[Step]:
    """The scenario's own steps, of which nothing is expected; at moments that come in any case, and never endless."""
    for step, started, ended in zip(steps, before.started, before.ended, strict=True):
        kept = {
            key: value for key, value in step.items() if key not in ("expect", "within", "name", "may_fail")
        }
        if started is not None and _MOMENT.search(str(step.get("at", ""))):
            kept["at"] = seconds(round(started, 1))
        took = (ended if ended is not None else before.elapsed) - (started or 0.0)
        yield {
            **({"name": step["name"]} if "name" in step else {}),
            **kept,
            "within": seconds(round(took + GRACE)),
            "may_fail": True,
        }


def text_of(case: Case, comments: tuple[str, ...] = ()) -> str:
    return emit(case.data(), comments)


def try_case(case: Case) -> Outcome:
    """Exactly what ``poplab run`` would do with the case once it is written down; ConfigError if it means nothing."""
    (script,) = runner.check(text_of(case), "<drawn>")
    return attempt(script)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a campaign that is over."""

    number: int
    faults: tuple[Fault, ...]
    fired: int
    """Bits by fault: whether it came to happen."""
    failures: tuple[Failure, ...]
    wall: float


def run(plan: Plan, number: int) -> Run:
    """Run `number` of the campaign, in whatever process."""
    case = plan.draw(number)
    outcome = try_case(case)
    fired = sum(1 << index for index in range(len(case.faults)) if fault_id(index + 1) in outcome.passed)
    return Run(number, case.faults, fired, outcome.failures, outcome.wall)


@dataclass
class Tally:
    """What a campaign has come to so far."""

    runs: int = 0
    drawn: Counter[str] = field(default_factory=Counter)
    fired: Counter[str] = field(default_factory=Counter)
    in_runs: Counter[str] = field(default_factory=Counter)
    """Runs that had the kind at all."""
    found: dict[str, list[Run]] = field(default_factory=dict)
    """By kind of failure, the first that each run showed."""

    def add(self, done: Run) -> None:
        self.runs += 1
        for index, fault in enumerate(done.faults):
            self.drawn[fault.kind] += 1
            self.fired[fault.kind] += done.fired >> index & 1
        self.in_runs.update({fault.kind for fault in done.faults})
        if done.failures:
            self.found.setdefault(done.failures[0].kind, []).append(done)

    def simplest(self, kind: str) -> Run:
        """The run with the fewest faults that failed like this."""
        return min(self.found[kind], key=lambda each: (len(each.faults), each.number))
