"""The screen tells the story at every width and in every state; lines say the same in a pipe."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from scenarios.live import Lines, PlainLines, screen
from scenarios.report import (
    AccountRecord,
    CallRecord,
    CheckRecord,
    DirectionRecord,
    InvariantRecord,
    MemberRecord,
    RunRecord,
    SampleRecord,
    SightingRecord,
    State,
    StepRecord,
    VnetRecord,
)


def record(state: State = State.FAILED) -> RunRecord:
    heard = [
        DirectionRecord(
            listener=name, packets=300, loss=0.01, jitter=0.001, gap_max=0.03, mos=4.41, profile="G.107"
        )
        for name in ("alice", "bob")
    ]
    return RunRecord(
        file="a.yaml",
        name="softphone-call",
        about="A call.",
        fabric="loopback",
        seed=7,
        deadline=60.0,
        repeat="poplab run a.yaml --seed 7",
        pop="127.0.0.1:51820",
        state=state,
        started_at="2026-01-01T00:00:00.000+00:00",
        elapsed=4.2,
        vnets=[
            VnetRecord(
                name="acme",
                members=[
                    MemberRecord(
                        name="hq",
                        kind="connector",
                        address="10.0.50.0/24",
                        hosts=[("pbx", "10.0.50.60", "PBX")],
                        up=True,
                    ),
                    MemberRecord(name="mallory", kind="client", address="100.96.0.66", tags=["guest"]),
                ],
            ),
            VnetRecord(name="umbrella", note="the same addresses as acme, another tenant"),
        ],
        steps=[
            StepRecord(
                name="tunnels",
                verb="wait",
                state=State.PASSED,
                started=0.0,
                ended=0.3,
                summary="2 tunnels up",
            ),
            StepRecord(
                name="call",
                verb="sip.call",
                state=State.FAILED,
                started=0.3,
                ended=2.0,
                checks=[CheckRecord(text="setup_time < 1ms", holds=False, saw=[("setup_time", "41 ms")])],
            ),
            StepRecord(
                name="later", verb="wait", state=State.RUNNING, started=2.0, waiting="waiting for 5.00 s"
            ),
            StepRecord(name="never", verb="wait"),
        ],
        checks=[CheckRecord(text="edge.dropped == 0", holds=True)],
        calls=[
            CallRecord(caller="alice", callee="bob", outcome="answered", setup_time=0.041, directions=heard),
            CallRecord(caller="mallory", callee="600", outcome="timeout"),
        ],
        sightings=[SightingRecord(pbx="hq/pbx", user="alice", seen="100.96.0.1", true="100.96.0.12")],
        invariants=[
            InvariantRecord(
                id="isolation", holds=False, text="1 of 9 packets crossed", details=["a crossed to b"]
            ),
            InvariantRecord(id="accounting", holds=True, text="0 of 9"),
        ],
        accounts=[AccountRecord(vnet="acme", packets_in=9, packets_out=7, dropped={"policy_blocked": 2})],
        samples=[
            SampleRecord(at=float(n), packets_per_second=rate) for n, rate in enumerate((0.0, 10.0, 300.0))
        ],
    )


def drawn(run: RunRecord, width: int = 120, height: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(screen(run, width=width, height=height, report="out"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_screen_tells_who_what_how_well_and_the_verdict() -> None:
    text = drawn(record())
    for part in (
        "softphone-call",
        "127.0.0.1:51820",
        "├─ hq",
        "└─ mallory",
        "guest",
        "2 tunnels up",
        "setup_time < 1ms is false: setup_time = 41 ms",
        "waiting for 5.00 s",
        "alice ↔ bob",
        "4.41",
        "no answer",
        "100.96.0.1 (truly 100.96.0.12)",
        "1 of 9 packets crossed",
        "a crossed to b",
        "in 9 = out 7 + dropped 2 (policy_blocked 2) + held 0",
        "FAIL",
        "failed: invariant isolation; step call",
        "poplab run a.yaml --seed 7",
    ):
        assert part in text, part


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("width", [20, 60, 80, 200])
def test_every_state_fits_every_width(state: State, width: int) -> None:
    assert all(len(line.rstrip()) <= width for line in drawn(record(state), width).splitlines())


def test_a_low_terminal_keeps_what_happens_now() -> None:
    running = record(State.RUNNING)
    low = drawn(running, 100, 24)
    assert len(low.splitlines()) <= 24
    assert "waiting for 5.00 s" in low
    assert "├─ hq" not in low
    assert "├─ hq" in drawn(running, 100, 100)


def test_lines_say_the_same_in_a_pipe() -> None:
    lines: list[str] = []
    plain = PlainLines(lines.append, report="out")
    run = record()
    plain.started(run)
    for step in run.steps[:2]:
        plain.step_started(run, step)
        plain.step_ended(run, step)
    plain.ended(run)
    assert lines[1] == "ok      0.30 s  tunnels: 2 tunnels up"
    assert lines[3].strip() == "setup_time < 1ms is false: setup_time = 41 ms"
    assert lines[-1] == "FAIL softphone-call in 4.2 s  report out  again: poplab run a.yaml --seed 7"
    assert any("NOT the true source 100.96.0.12" in line for line in lines)
    assert not any("\x1b" in line for line in lines)


def test_a_reader_who_goes_away_does_not_stop_the_run() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        lines = Lines(stream)
        lines("nobody reads this")
        lines("nor this")


def test_the_painter_draws_in_another_process(tmp_path: Path) -> None:
    from scenarios.live import LiveScreen

    target = tmp_path / "screen"
    with target.open("w") as stream:
        live = LiveScreen(Console(file=stream, force_terminal=True, width=100, height=60))
        run = record(State.RUNNING)
        live.started(run)
        live.tick(run)
        run.state = State.PASSED
        live.ended(run)
        live.close()
    text = target.read_text()
    assert "live 00:04" in text
    assert "PASS" in text
