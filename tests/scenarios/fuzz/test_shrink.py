"""Shrinking: the least that still fails in the same way, within bounds."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from edge.errors import ConfigError
from scenarios.fuzz import campaign
from scenarios.fuzz.case import Case
from scenarios.fuzz.draw import Fault
from scenarios.fuzz.shrink import Shrinking, fewest
from scenarios.fuzz.trial import Failure, Outcome

FILE = Path(__file__).parents[3] / "scenarios/library/22-fuzz-me.yaml"


@given(st.sets(st.integers(0, 30), max_size=4), st.integers(5, 31))
def test_what_is_left_is_exactly_what_is_needed(needed: set[int], size: int) -> None:
    items = sorted({*range(size), *needed})
    assert fewest(items, lambda left: needed <= set(left)) == sorted(needed)


def faulty() -> Case:
    plan, _ = campaign.plan(campaign.choose(FILE, {}), 1)
    assert plan is not None
    faults = (
        Fault("kill", "edge", 2.3, 7.4, (("graceful", True),)),
        Fault("partition", "bob", 3.1, 2.2, (("direction", "up"),)),
        Fault("roam", "alice", 5.7),
        Fault("zombie", "hq-a", 6.0, 20.0),
    )
    return campaign.with_faults(plan.case, faults, plan.span)


def outcome(*kinds: str) -> Outcome:
    return Outcome(tuple(Failure(kind, "") for kind in kinds), frozenset(), (), (), 0.0, 0.0)


def test_faults_steps_people_and_digits_go() -> None:
    def trial(case: Case) -> Outcome:
        kinds = {fault.kind for fault in case.faults}
        if not case.has("alice"):
            raise ConfigError([])
        return outcome("liveness") if {"kill", "roam"} <= kinds else outcome("isolation")

    before = faulty()
    shrinking = Shrinking(before, "liveness", trial=trial)
    case = shrinking.shrink()
    assert not shrinking.exhausted
    assert [fault.kind for fault in case.faults] == ["kill", "roam"]
    assert [(fault.at, fault.duration, fault.detail) for fault in case.faults] == [
        (1.0, 1.0, ()),
        (1.0, 0.0, ()),
    ]
    assert (case.steps, case.hosts) == ((), ())
    assert case.quiet == 3.0
    assert case.base["topology"] == {"clients": {"alice": {"vnet": "acme", "ip": "100.96.0.12"}}}
    assert "policy" not in case.base
    assert "hq" in before.base["topology"]["sites"], "the first case is as it was"


def test_it_ends_when_it_may_try_no_more() -> None:
    shrinking = Shrinking(faulty(), "liveness", runs=3, trial=lambda case: outcome("liveness"))
    shrinking.shrink()
    assert shrinking.runs == 3
    assert shrinking.exhausted


def test_another_failure_is_not_the_same() -> None:
    before = faulty()
    shrinking = Shrinking(before, "liveness", trial=lambda case: outcome("isolation"))
    assert shrinking.shrink() == before
