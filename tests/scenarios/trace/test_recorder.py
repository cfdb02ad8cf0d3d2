"""What a run tells: every packet at every place, why it died, what was done; and that telling changes nothing."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from scenarios.report import RunRecord
from tests.scenarios.trace.runs import SMALL, events, record


def figures(run: RunRecord) -> object:
    return [(a.vnet, a.packets_in, a.packets_out, a.dropped) for a in run.accounts], run.events, run.elapsed


def test_a_packet_is_seen_at_every_place_that_it_passes(tmp_path: Path) -> None:
    record(SMALL, tmp_path)
    told = events(tmp_path)
    first = next(event for event in told if event.kind == "sent" and event.place == "alice")
    same = [event for event in told if event.check == first.check]
    assert [(e.kind, e.place, e.tunnel, e.rule) for e in same] == [
        ("sent", "alice", "", ""),
        ("opened", "edge", "alice", ""),
        ("forwarded", "edge", "hq", "echo"),
        ("received", "hq/server", "", ""),
    ]
    assert {(e.source, e.destination, e.dport, e.vnet) for e in same} == {
        ("100.96.0.12", "10.0.50.60", 7, "acme")
    }


def test_what_dies_is_told_with_reason_and_rule_and_every_drop_is_told(tmp_path: Path) -> None:
    run = record(SMALL, tmp_path)
    told = events(tmp_path)
    dropped = Counter(event.reason for event in told if event.kind == "dropped" and event.vnet == "acme")
    (account,) = (account for account in run.accounts if account.vnet == "acme")
    assert dropped == account.dropped
    assert {event.rule for event in told if event.reason == "policy_rejected"} == {"no-ping"}
    lost = [event for event in told if event.kind == "lost"]
    assert {(event.tunnel, event.reason, event.vnet) for event in lost} == {("alice", "blocked", "acme")}
    assert len(lost) >= 2


def test_packets_in_and_out_are_as_many_as_the_pop_has_counted(tmp_path: Path) -> None:
    run = record(SMALL, tmp_path)
    told = Counter((event.kind, event.vnet) for event in events(tmp_path))
    for account in run.accounts:
        assert told["opened", account.vnet] == account.packets_in
        out = told["forwarded", account.vnet] + told["generated", account.vnet]
        assert out == account.packets_out
        assert told["generated", account.vnet] == account.generated


def test_steps_faults_and_handshakes_stand_between_the_packets(tmp_path: Path) -> None:
    record(SMALL, tmp_path)
    told = events(tmp_path)
    assert [e.detail for e in told if e.kind == "fault"] == ["partition: nothing passes"]
    assert [e.detail for e in told if e.kind == "step"][-2:] == ["begins: lost", "passed: lost"]
    shaken = {e.tunnel for e in told if e.kind == "tunnel" and e.detail.startswith("handshake")}
    assert shaken == {"hq", "alice", "eve"}
    assert all(one.at <= other.at for one, other in pairwise(told))


def test_a_run_that_is_watched_is_the_run_that_nobody_watches(tmp_path: Path) -> None:
    watched, alone = record(SMALL, tmp_path), record(SMALL.replace("outputs:", "#"), tmp_path, trace=False)
    assert figures(watched) == figures(alone)


def test_the_real_fabric_tells_the_same_story(tmp_path: Path) -> None:
    record(SMALL, tmp_path, fabric="loopback")
    told = events(tmp_path)
    kinds = {event.kind for event in told}
    assert kinds >= {"sent", "opened", "forwarded", "received", "dropped", "lost", "tunnel", "step", "fault"}
    assert {e.rule for e in told if e.reason == "policy_rejected"} == {"no-ping"}


@pytest.mark.parametrize("other", [8, 7])
def test_another_seed_is_another_trace_and_the_same_seed_is_the_same(tmp_path: Path, other: int) -> None:
    record(SMALL, tmp_path / "one")
    record(SMALL, tmp_path / "two", seed=other)
    assert (events(tmp_path / "one") == events(tmp_path / "two")) is (other == 7)
    one, two = (tmp_path / name / "capture.pcapng" for name in ("one", "two"))
    assert (one.read_bytes() == two.read_bytes()) is (other == 7)
