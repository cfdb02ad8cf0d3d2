"""events.jsonl: what happened, in the order of time."""

from __future__ import annotations

import json
from typing import Any

from scenarios.report import (
    CallRecord,
    DirectionRecord,
    FaultRecord,
    InvariantRecord,
    RunRecord,
    SampleRecord,
    State,
    StepRecord,
    ThresholdRecord,
    WayRecord,
    WindowRecord,
    events_jsonl,
)


def record() -> RunRecord:
    return RunRecord(
        file="a.yaml",
        name="a",
        about="",
        fabric="sim",
        seed=7,
        deadline=60,
        repeat="poplab run a.yaml",
        cell={"n": 1},
        state=State.FAILED,
        elapsed=9.0,
        steps=[
            StepRecord(name="talk", verb="sip.call", id="talk", state=State.PASSED, started=1.0, ended=8.0),
            StepRecord(name="cut", verb="fault.kill", state=State.PASSED, started=3.0, ended=3.0),
            StepRecord(name="never", verb="wait"),
        ],
        calls=[
            CallRecord(
                caller="alice",
                callee="bob",
                outcome="answered",
                started=1.0,
                ended=8.0,
                directions=[DirectionRecord(listener="bob", mos=4.4, windows=[WindowRecord(start=1.0)])],
            )
        ],
        faults=[FaultRecord(at=3.0, kind="kill", target="hq", text="killed")],
        ways=[WayRecord(at=3.0, tunnel="alice", way="h2", before="h3")],
        samples=[SampleRecord(at=2.0, packets_per_second=50.0), SampleRecord(at=4.0)],
        invariants=[
            InvariantRecord(id="fine", holds=True, text=""),
            InvariantRecord(id="up", holds=False, text="always: up", details=["it was not"], at=3.5),
        ],
        thresholds=[ThresholdRecord(key="rtp.mos", text="avg >= 4", holds=True, saw="4.4")],
    )


def lines(run: RunRecord) -> list[dict[str, Any]]:
    return [json.loads(line) for line in events_jsonl(run).splitlines()]


def test_every_line_is_an_event_and_they_are_in_the_order_of_time() -> None:
    events = lines(record())
    assert [(event["at"], event["event"]) for event in events] == [
        (0.0, "run started"),
        (1.0, "step started"),
        (2.0, "sample"),
        (3.0, "step started"),
        (3.0, "fault"),
        (3.0, "way"),
        (3.0, "step ended"),
        (3.5, "invariant broken"),
        (4.0, "sample"),
        (8.0, "call"),
        (8.0, "step ended"),
        (9.0, "threshold"),
        (9.0, "run ended"),
    ]


def test_events_say_what_they_are_about() -> None:
    events = {event["event"]: event for event in lines(record())}
    assert events["run started"]["cell"] == {"n": 1}
    assert events["fault"]["target"] == "hq"
    assert events["way"] == {"at": 3.0, "event": "way", "tunnel": "alice", "way": "h2", "before": "h3"}
    assert events["call"]["directions"][0]["mos"] == 4.4
    assert "windows" not in events["call"]["directions"][0]
    assert events["invariant broken"]["details"] == ["it was not"]
    assert (events["run ended"]["state"], events["run ended"]["repeat"]) == ("failed", "poplab run a.yaml")


def test_a_run_that_never_began_still_has_a_beginning_and_an_end() -> None:
    run = RunRecord(
        file="a",
        name="a",
        about="",
        fabric="",
        seed=7,
        deadline=1,
        repeat="",
        state=State.SKIPPED,
        error="why",
    )
    assert [event["event"] for event in lines(run)] == ["run started", "run ended"]
    assert lines(run)[1]["reason"] == "why"
