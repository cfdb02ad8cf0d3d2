"""Records made by hand: every kind of fact that differs is found, and nothing else is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from scenarios.comparison import compared, facts
from scenarios.report import (
    AccountRecord,
    CallRecord,
    CheckRecord,
    ComparisonRecord,
    DirectionRecord,
    FaultRecord,
    HostRecord,
    InvariantRecord,
    LoadRecord,
    MasqueRecord,
    MemberRecord,
    RunRecord,
    SightingRecord,
    State,
    StepRecord,
    ThresholdRecord,
    VnetRecord,
    WayRecord,
    outcome,
)
from scenarios.schema.tolerance import GROUPS, Differences, Tolerance


def run(fabric: str = "sim") -> RunRecord:
    """One that has something of everything."""
    return RunRecord(
        file="a.yaml",
        name="lesson",
        about="",
        fabric=fabric,
        seed=7,
        deadline=60.0,
        repeat="",
        state=State.PASSED,
        steps=[
            StepRecord(
                name="ask the server", id="ask", verb="udp.send", state=State.PASSED, started=1.0, ended=2.0,
                place="a.yaml:12", checks=[CheckRecord(text="received == 5", holds=True)],
                results={
                    "started": 1.0, "sent": 5, "received": 5, "lost": 0, "loss": 0.0, "rtt_avg": 0.1, "rtt_max": 0.2,
                    "denied_by": ["one", "two"], "target_bytes": 1000, "replies_from": ["10.0.50.80"],
                    "outcome": "answered", "status": 200, "ended_by": "bye", "attempts": 1,
                },
            ),
            StepRecord(
                name="sizes", verb="probe.mtu", state=State.PASSED, started=2.0, ended=3.0,
                results={
                    "mtu": 1420, "told": 1420, "told_by": ["10.0.0.1"], "whole": [576, 1420], "lost": [],
                    "df": {"udp": {"1420": "whole", "1500": "told"}},
                },
            ),
            StepRecord(
                name="traffic", id="flood", verb="traffic.run", state=State.PASSED, started=3.0, ended=4.0,
                results={"sent": 500, "delay_p95": 0.04, "jitter": 0.002, "reordered": 0, "lost": 0},
            ),
        ],
        checks=[CheckRecord(text="edge.dropped == 0", holds=True)],
        calls=[
            CallRecord(
                caller="alice", callee="bob", step="call", outcome="answered", setup_time=0.3, path="media direct",
                directions=[
                    DirectionRecord(listener="bob", packets=500, loss=0.0, jitter=0.001, gap_max=0.03, mos=4.2, r=90.0,
                                    profile="G.711")
                ],
            )
        ],
        sightings=[SightingRecord(pbx="hq/pbx", user="alice", seen="10.0.0.7", true="10.0.0.7")],
        invariants=[InvariantRecord(id="isolation", holds=True, text="no packet crossed")],
        accounts=[
            AccountRecord(vnet="acme", packets_in=100, generated=0, packets_out=90,
                          dropped={"policy_blocked": 10}, rules={"staff": 3})
        ],
        hosts=[
            HostRecord(name="hq/pbx", address="10.0.50.60", sources=["10.0.0.7", "10.0.0.8"],
                       told=["10.0.0.1 says 3/4 MTU 1380"], apps={"dns.sources": ["10.0.0.7"]})
        ],
        thresholds=[ThresholdRecord(key="udp.rtt", text="p(95) < 1s", holds=True)],
        loads=[LoadRecord(name="calls", verb="sip.call", started=100, passed=100)],
        faults=[FaultRecord(at=1.0, kind="kill", target="hq-a")],
        ways=[WayRecord(at=0.0, tunnel="alice", way="h3"),
              WayRecord(at=3.0, tunnel="alice", way="", before="h3"),
              WayRecord(at=4.0, tunnel="alice", way="h2", before="")],
        masque=MasqueRecord(sessions={"h3": 1}, fallbacks=1),
        vnets=[
            VnetRecord(name="acme", members=[MemberRecord(name="alice", kind="client", address="10.0.0.7", way="h2")])
        ],
    )  # fmt: skip


def compare(change: Callable[[RunRecord], object], **allowed: Any) -> ComparisonRecord:
    other = run("loopback")
    change(other)
    return compared([run(), other], ["sim", "loopback"], Differences(**allowed), "poplab run a.yaml")


def found(record: ComparisonRecord) -> list[str]:
    return [each.name for each in record.differences if each.counts]


def setter(path: str, value: Any) -> Callable[[RunRecord], None]:
    """Such as steps.0.results.sent."""
    *way, last = path.split(".")

    def change(record: Any) -> None:
        for part in way:
            record = record[int(part)] if part.isdigit() and isinstance(record, list) else (
                record[part] if isinstance(record, dict) else getattr(record, part)
            )  # fmt: skip
        if isinstance(record, dict):
            record[last] = value
        else:
            setattr(record, last, value)

    return change


DIFFERENT = [
    ("state", State.FAILED, "run.state"),
    ("stopped_by", "a threshold", "run.stopped_by"),
    ("steps.0.state", State.FAILED, "steps.ask.state"),
    ("steps.0.ended", 2.9, "steps.ask.took"),
    ("steps.0.results.outcome", "timeout", "steps.ask.outcome"),
    ("steps.0.results.status", 403, "steps.ask.status"),
    ("steps.0.results.ended_by", "cancel", "steps.ask.ended_by"),
    ("steps.0.results.denied_by", ["one"], "steps.ask.denied_by"),
    ("steps.0.results.replies_from", [], "steps.ask.replies_from"),
    ("steps.0.results.sent", 4, "steps.ask.sent"),
    ("steps.0.results.received", 0, "steps.ask.received"),
    ("steps.2.results.lost", 3, "steps.flood.lost"),
    ("steps.0.results.rtt_max", 1.6, "steps.ask.rtt_max"),
    ("steps.0.results.loss", 0.03, "steps.ask.loss"),
    ("steps.0.results.rtt_avg", None, "steps.ask.rtt_avg"),
    ("steps.0.results.rtt_avg", 0.6, "steps.ask.rtt_avg"),
    ("steps.0.results.target_bytes", 0, "steps.ask.target_bytes"),
    ("steps.0.results.attempts", 4, "steps.ask.attempts"),
    ("steps.1.results.mtu", 1400, "steps.2.mtu"),
    ("steps.1.results.told", None, "steps.2.told"),
    ("steps.1.results.told_by", ["10.0.0.2"], "steps.2.told_by"),
    ("steps.1.results.whole", [576], "steps.2.whole"),
    ("steps.1.results.lost", [1420], "steps.2.lost"),
    ("steps.1.results.df.udp.1500", "refused", "steps.2.df.udp.1500"),
    ("steps.2.results.sent", 300, "steps.flood.sent"),
    ("steps.2.results.delay_p95", 0.6, "steps.flood.delay_p95"),
    ("steps.2.results.reordered", 3, "steps.flood.reordered"),
    ("steps.0.checks.0.holds", False, "steps.ask.expect.1"),
    ("checks.0.holds", False, "expect.1"),
    ("calls.0.outcome", "refused", "calls.call.outcome"),
    ("calls.0.callee", "carol", "calls.call.ends"),
    ("calls.0.server_initiated", True, "calls.call.server_initiated"),
    ("calls.0.setup_time", 1.0, "calls.call.setup_time"),
    ("calls.0.path", "media by way of 10.0.50.60", "calls.call.path"),
    ("calls.0.directions.0.packets", 300, "calls.call.bob.packets"),
    ("calls.0.directions.0.loss", 0.05, "calls.call.bob.loss"),
    ("calls.0.directions.0.jitter", 0.6, "calls.call.bob.jitter"),
    ("calls.0.directions.0.gap_max", 0.9, "calls.call.bob.gap_max"),
    ("calls.0.directions.0.mos", 3.5, "calls.call.bob.mos"),
    ("calls.0.directions.0.r", 77.0, "calls.call.bob.r"),
    ("calls.0.directions.0.profile", "another", "calls.call.bob.profile"),
    ("sightings.0.seen", "10.0.0.1", "sightings.hq/pbx.alice.seen"),
    ("sightings.0.true", "10.0.0.1", "sightings.hq/pbx.alice.true"),
    ("invariants.0.holds", False, "invariants.isolation"),
    ("thresholds.0.holds", False, "thresholds.udp.rtt"),
    ("loads.0.started", 50, "loads.calls.started"),
    ("loads.0.passed", 50, "loads.calls.passed"),
    ("loads.0.failed", 3, "loads.calls.failed"),
    ("loads.0.skipped", 3, "loads.calls.skipped"),
    ("faults.0.target", "hq-b", "faults.1"),
    ("ways.2.way", "wireguard", "ways.alice"),
    ("masque.fallbacks", 2, "masque.fallbacks"),
    ("masque.returns", 1, "masque.returns"),
    ("masque.refused", 1, "masque.refused"),
    ("masque.sessions.h3", 0, "masque.sessions.h3"),
    ("accounts.0.packets_in", 50, "vnets.acme.packets_in"),
    ("accounts.0.packets_out", 50, "vnets.acme.packets_out"),
    ("accounts.0.generated", 1, "vnets.acme.generated"),
    ("accounts.0.dropped", {}, "vnets.acme.drops.policy_blocked"),
    ("accounts.0.dropped", {"policy_blocked": 10, "spoofed_source": 1}, "vnets.acme.drops.spoofed_source"),
    ("accounts.0.dropped", {"policy_blocked": 10, "queue_full": 3}, "vnets.acme.drops.queue_full"),
    ("accounts.0.rules", {}, "vnets.acme.rules.staff"),
    ("accounts.0.rules", {"staff": 3, "default": 1}, "vnets.acme.rules.default"),
    ("vnets.0.members.0.way", "h3", "tunnels.alice.way"),
    ("vnets.0.members.0.address", "10.0.0.9", "tunnels.alice.address"),
    ("hosts.0.address", "10.0.50.61", "hosts.hq/pbx.address"),
    ("hosts.0.sources", ["10.0.0.7"], "hosts.hq/pbx.sources"),
    ("hosts.0.told", [], "hosts.hq/pbx.told"),
    ("hosts.0.apps", {"dns.sources": ["10.0.0.8"]}, "hosts.hq/pbx.dns.sources"),
    ("hosts.0.more", 3, "hosts.hq/pbx.more"),
]


@pytest.mark.parametrize(("path", "value", "name"), DIFFERENT, ids=[f"{n}={v}" for _, v, n in DIFFERENT])
def test_every_kind_of_difference_is_found(path: str, value: Any, name: str) -> None:
    record = compare(setter(path, value))
    assert found(record) == [name]
    assert (record.state, record.differing) == (State.FAILED, 1)


def test_a_world_that_is_late_is_found_though_every_step_takes_its_time() -> None:
    def late(other: RunRecord) -> None:
        other.steps[2].started, other.steps[2].ended = 8.0, 9.0

    assert found(compare(late)) == ["run.took"]


def test_a_run_of_many_steps_gets_some_time_between_any_two() -> None:
    def slow(seconds: float) -> Callable[[RunRecord], None]:
        def change(other: RunRecord) -> None:
            other.steps[2].started, other.steps[2].ended = 3.0 + seconds, 4.0 + seconds

        return change

    edge = (0.25 + 0.25 * 4.0 + 2 * 0.02) / 0.75  # so much is 0.25 s, a quarter of all, and two turns
    assert found(compare(slow(edge - 0.001))) == []
    assert found(compare(slow(edge + 0.001))) == ["run.took"]


def test_so_does_a_step_of_many_packets() -> None:
    def sizes(number: int, seconds: float) -> RunRecord:
        record = run()
        record.steps[1].results["df"] = {"udp": {str(size): "whole" for size in range(1000, 1000 + number)}}
        record.steps[1].ended = 3.0 + seconds
        return record

    for number, differing in ((31, []), (3, ["steps.2.took"])):
        both = [sizes(number, 0.0), sizes(number, 1.1)]
        record = compared(both, ["sim", "loopback"], Differences(), "poplab run a.yaml")
        assert found(record) == differing


def test_no_fact_is_left_without_a_test_that_it_is_compared() -> None:
    tested = {name for _, _, name in DIFFERENT} | {
        # the same rule as a neighbour's
        *(f"vnets.acme.drops.{name.rpartition('.')[2]}" for name in facts(run()) if ".drops." in name),
        "steps.2.state", "steps.flood.state", "steps.2.took", "steps.flood.took", "steps.flood.jitter",
        "steps.2.df.udp.1420", "run.took",
    }  # fmt: skip
    assert set(facts(run())) <= tested
    assert {name.split(".")[0] for name in facts(run())} == set(GROUPS)


LIKE = [
    ("steps.0.ended", 2.25, "twenty-five per cent of a second, and as much again besides"),
    ("steps.0.started", 0.75, "where nothing but a moment is another, what lies in between counts"),
    ("steps.0.results.started", 40.0, "moments are not compared"),
    ("steps.0.results.denied_by", ["two", "one"], "the order of a set is nobody's"),
    ("steps.0.results.received", 4, "one packet less than five; `loss` says what that means"),
    ("steps.0.results.rtt_avg", 0.15, ""),
    ("steps.0.results.rtt_max", 0.9, "the longest of many times"),
    ("steps.0.results.lost", 4, "what it means is in `loss`"),
    ("steps.0.results.attempts", 3, ""),
    ("steps.0.results.target_bytes", 1250, ""),
    ("steps.0.results.loss", 0.02, ""),
    ("steps.2.results.sent", 450, ""),
    ("steps.2.results.reordered", 2, ""),
    ("calls.0.directions.0.mos", 3.9, ""),
    ("calls.0.directions.0.r", 78.5, ""),
    ("calls.0.directions.0.loss", 0.02, ""),
    ("accounts.0.dropped", {"policy_blocked": 12, "queue_full": 2}, ""),
    ("accounts.0.dropped", {"policy_blocked": 8}, ""),
    ("accounts.0.rules", {"staff": 300}, "a rule was used, or not"),
    ("accounts.0.held", 4, "what is held is of a moment"),
    ("elapsed", 100.0, "how long the world takes to fall silent"),
    ("wall", 100.0, ""),
    ("pop", "127.0.0.1:4000", ""),
    ("hosts.0.sources", ["10.0.0.8", "10.0.0.7"], ""),
    ("ways.1.way", "h3", "a pause between two ways is no way"),
]


@pytest.mark.parametrize(("path", "value", "why"), LIKE, ids=[f"{path}={value}" for path, value, _ in LIKE])
def test_what_is_alike_is_no_difference(path: str, value: Any, why: str) -> None:
    record = compare(setter(path, value))
    assert found(record) == [], why
    assert record.state is State.PASSED


EDGES = [
    ("steps.0.results.rtt_avg", 0.35 / 0.75 + 0.0001, "steps.ask.rtt_avg"),
    ("steps.0.results.rtt_avg", 0.35 / 0.75, ""),
    ("calls.0.directions.0.mos", 3.89, "calls.call.bob.mos"),
    ("calls.0.directions.0.loss", 0.0201, "calls.call.bob.loss"),
    ("steps.0.results.target_bytes", 1251, "steps.ask.target_bytes"),
    ("accounts.0.packets_in", 125, ""),
    ("accounts.0.packets_in", 126, "vnets.acme.packets_in"),
    ("accounts.0.dropped", {"policy_blocked": 13}, "vnets.acme.drops.policy_blocked"),
]


@pytest.mark.parametrize(
    ("path", "value", "name"), EDGES, ids=[f"{path}={value}" for path, value, _ in EDGES]
)
def test_a_tolerance_ends_where_it_says(path: str, value: Any, name: str) -> None:
    assert found(compare(setter(path, value))) == [name] * bool(name)


def test_the_tolerance_is_the_files_to_choose() -> None:
    wide = Tolerance(time=10.0, ratio=0.5, mos=1.0, loss=0.1, count=0.6)  # type: ignore[arg-type]
    for path, value in (
        ("steps.0.ended", 9.0),
        ("calls.0.directions.0.mos", 3.2),
        ("calls.0.directions.0.loss", 0.1),
        ("accounts.0.packets_in", 50),
    ):
        assert found(compare(setter(path, value)))
        assert not found(compare(setter(path, value), tolerance=wide))
    narrow = Tolerance(time=0.0, ratio=0.0, mos=0.0, loss=0.0, count=0.0)  # type: ignore[arg-type]
    assert found(compare(setter("steps.0.results.rtt_avg", 0.101), tolerance=narrow))
    assert not found(compare(lambda record: None, tolerance=narrow))


@pytest.mark.parametrize("ignore", ["steps.ask.status", "steps.ask", "steps", "*.status", "steps.*.status"])
def test_what_the_file_ignores_is_named_and_does_not_count(ignore: str) -> None:
    record = compare(setter("steps.0.results.status", 403), ignore=(ignore,))
    assert (record.state, record.ignored, record.tolerated) == (State.PASSED, 1, 0)
    assert [(each.name, each.counts, each.why) for each in record.differences] == [
        ("steps.ask.status", False, "ignored by the file")
    ]
    assert found(compare(setter("steps.0.results.status", 403), ignore=("steps.as", "steps.ask.stat")))


def test_a_difference_says_what_where_and_which_values() -> None:
    (each,) = compare(setter("steps.0.ended", 4.0)).differences
    assert (each.name, each.about, each.place) == ("steps.ask.took", "ask the server", "a.yaml:12")
    assert (each.left, each.fabric, each.right) == ("1.00 s", "loopback", "3.00 s")
    assert each.why == "within 250 ms and 25.0 %"


def test_what_is_there_on_one_side_only_is_a_difference() -> None:
    record = compare(setter("hosts", []))
    assert set(found(record)) == {
        f"hosts.hq/pbx.{name}" for name in ("address", "sources", "told", "dns.sources")
    }
    assert {each.right for each in record.differences} == {"not there"}
    longer = compare(lambda other: other.steps.append(copy.deepcopy(other.steps[1])))
    assert "steps.4.state" in found(longer)


def test_equal_runs_agree_and_it_is_said_in_how_much() -> None:
    record = compare(lambda other: None)
    assert (record.state, record.differing, record.differences) == (State.PASSED, 0, [])
    assert record.facts == len(facts(run())) > 80


def test_a_machine_that_was_too_busy_is_said_beside_the_difference() -> None:
    def busy(other: RunRecord) -> None:
        other.late, other.steps[0].ended = 0.2, 4.0

    record = compare(busy)
    assert found(record) == ["steps.ask.took"], "it is a difference all the same"
    assert record.note == "on loopback this machine was late by up to 200 ms"
    assert outcome(record).endswith(record.note)
    assert compare(setter("late", 0.01)).note == ""


def test_three_fabrics_are_compared_with_the_first() -> None:
    runs = [run(), run("loopback"), run("netns")]
    runs[2].steps[0].results["status"] = 500
    record = compared(runs, ["sim", "loopback", "netns"], Differences(), "")
    assert record.facts == 2 * len(facts(run()))
    assert [(each.name, each.fabric, each.left, each.right) for each in record.differences] == [
        ("steps.ask.status", "netns", "200", "500")
    ]


@pytest.mark.parametrize("state", [State.SKIPPED, State.UNAVAILABLE, State.INTERRUPTED, State.ERROR])
def test_a_run_that_came_to_nothing_is_not_compared(state: State) -> None:
    def change(other: RunRecord) -> None:
        other.state, other.error, other.steps = state, "line\nno such thing here", []

    record = compare(change)
    assert (record.state, record.facts, record.differences) == (state, 0, [])
    assert record.reason == "loopback: no such thing here"


def test_a_world_of_strangers_cannot_make_a_comparison_grow_without_end() -> None:
    def change(other: RunRecord) -> None:
        other.hosts = [HostRecord(name=f"h{number}", address="10.0.0.1") for number in range(30_000)]

    record = compare(change)
    assert record.facts < 25_000
    assert len(record.differences) == 300
    assert record.differing > 300
