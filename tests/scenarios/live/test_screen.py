"""The screen tells the story at every width and in every state; lines say the same in a pipe."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from rich.console import Console

from scenarios.live import Lines, PlainLines, screen, show_comparisons
from scenarios.report import (
    AccountRecord,
    CallRecord,
    CheckRecord,
    ComparisonRecord,
    DifferenceRecord,
    DirectionRecord,
    FaultRecord,
    InvariantRecord,
    LoadRecord,
    MemberRecord,
    RunRecord,
    SampleRecord,
    SightingRecord,
    State,
    StepRecord,
    ThresholdRecord,
    VnetRecord,
    WayRecord,
    report_html,
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


@pytest.mark.parametrize("width", range(100, 180, 3))
def test_who_calls_whom_is_never_broken_within_a_name(width: int) -> None:
    run = record()
    run.calls[0].server_initiated = True
    run.calls[0].directions[0].listener = "umbrella-headquarters/pbx"
    text = drawn(run, width)
    call = f"{run.calls[0].caller} ↔ {run.calls[0].callee}"
    assert call in text
    assert "server-initiated" in text or "initi" not in text


def test_a_low_terminal_keeps_what_happens_now() -> None:
    running = record(State.RUNNING)
    low = drawn(running, 100, 24)
    assert len(low.splitlines()) <= 24
    assert "waiting for 5.00 s" in low
    assert "├─ hq" not in low
    assert "├─ hq" in drawn(running, 100, 100)


def busy() -> RunRecord:
    """A great run in virtual time."""
    run = record(State.RUNNING)
    fleet = [
        MemberRecord(name=f"fleet-{n}", kind="client", address=f"100.96.1.{n}", up=n < 150)
        for n in range(200)
    ]
    run.vnets[0].members += fleet
    run.virtual, run.wall, run.cell = True, 0.5, {"codec": "G.711"}
    run.steps += [
        StepRecord(name=f"step {n}", verb="wait", state=State.PASSED, started=0.0, ended=n / 10)
        for n in range(30)
    ]
    run.loads = [
        LoadRecord(
            name="morning",
            verb="sip.call",
            running=7,
            passed=30,
            failed=2,
            rate=3.5,
            target=4.0,
            figures=[("setup p50", "40 ms"), ("setup p95", "90 ms")],
        )
    ]
    run.faults = [FaultRecord(at=1.0, kind="kill", target="hq", text="killed")]
    return run


def test_at_80_by_24_calls_and_invariants_are_still_to_be_seen() -> None:
    low = drawn(busy(), 80, 24)
    assert len(low.splitlines()) <= 24
    for part in ("4.41 alice", "isolation", "a crossed to b", "waiting for 5.00 s", "7 running", "packets/s"):
        assert part in low, part
    assert "acme 151/202 up" in low


@pytest.mark.parametrize("height", [12, 18, 24, 40, 60])
def test_a_screen_is_never_higher_than_its_terminal(height: int) -> None:
    for width in (60, 80, 110, 130):
        assert len(drawn(busy(), width, height).splitlines()) <= height


def test_loads_faults_thresholds_and_virtual_time_are_told() -> None:
    run = busy()
    live = drawn(run, 130, 90)
    for part in (
        "softphone-call [codec=G.711]",
        "00:04 virtual, 00:00 wall, 8.4 × real time",
        "3.5/s of 4.0/s",
        "setup p50 40 ms, p95 90 ms",
        "kill  hq: killed",
    ):
        assert part in live, part
    run.state = State.FAILED
    run.thresholds = [ThresholdRecord(key="rtp.mos", text="avg >= 4", holds=False, saw="3.1", aborted=True)]
    ended = drawn(run, 130)
    assert "rtp.mos: avg >= 4" in ended
    assert "3.1  ended the run" in ended
    assert "in 4.2 s virtual, 0.5 s wall" in ended


def test_counted_parts_are_one_line() -> None:
    text = drawn(busy(), 110)
    (line,) = [line for line in text.splitlines() if "fleet" in line]
    for part in ("fleet-0 … fleet-199", "100.96.1.0 … .199", "200 clients", "150 of 200 up"):
        assert part in line


def test_networks_stand_side_by_side_only_where_nothing_is_cut() -> None:
    run = record()
    run.vnets[1].members = [
        MemberRecord(name="n" * 30, kind="client", address="100.96.0.12", tags=["t" * 20])
    ]
    for width in (100, 110, 160):
        text = drawn(run, width)
        assert "n" * 30 in text
        assert "t" * 20 in text
        assert "…" not in text
    assert "vnet acme" in next(line for line in drawn(run, 200).splitlines() if "vnet umbrella" in line)


def test_long_conditions_are_folded_and_never_cut() -> None:
    run = record()
    run.checks = [CheckRecord(text=f"hosts.{'X' * 200} == 1", holds=False, saw=[("Y" * 90, "Z" * 90)])]
    text = drawn(run, 80)
    assert text.count("X") >= 200
    assert text.count("Z") >= 90
    assert "…" not in text


def test_the_traffic_curve_stays_on_the_line_of_its_unit() -> None:
    run = record(State.RUNNING)
    run.samples = [SampleRecord(at=float(n), packets_per_second=123456.0) for n in range(99)]
    for width in (60, 80, 130):
        (line,) = [line for line in drawn(run, width, 50).splitlines() if "traffic" in line]
        assert "123,456 packets/s" in line


def test_how_a_tunnel_reaches_the_pop_is_shown_and_that_it_changed() -> None:
    run = record()
    alice = run.vnets[0].members[1]
    alice.tunnel, alice.way = "masque", "h2"
    run.ways = [WayRecord(at=0.1, tunnel="mallory", way="h3"), WayRecord(at=0.2, tunnel="hq", way="h3")]
    assert "mallory: h3" not in drawn(run), "it is where it was"
    run.ways.append(WayRecord(at=3.456, tunnel="mallory", way="h2", before="h3"))
    for text in (drawn(run), drawn(run, 60)):
        assert "masque h2 ○" in text
        assert "way mallory: h3, at 3.46 s h2" in text
        assert "hq: h3" not in text
    lines: list[str] = []
    PlainLines(lines.append).ended(run)
    assert "way   mallory: h3, at 3.46 s h2" in lines


def test_ways_are_told_in_the_order_in_which_the_first_one_was_left() -> None:
    run = record()
    names = ("late", "b", "a")
    run.ways = [WayRecord(at=0.1, tunnel=name, way="h3") for name in names]
    run.ways += [
        WayRecord(at=at, tunnel=name, way="h2", before="h3")
        for name, at in zip(names, (5.0, 3.0, 3.0), strict=True)
    ]
    lines: list[str] = []
    PlainLines(lines.append).ended(run)
    told = [line for line in lines if line.startswith("way   ")]
    assert told == [
        "way   a: h3, at 3.00 s h2", "way   b: h3, at 3.00 s h2", "way   late: h3, at 5.00 s h2",
    ]  # fmt: skip


def test_a_step_may_have_a_table() -> None:
    run = record()
    run.steps[0].table = [["bytes", "udp DF"], ["1420", "whole"], ["1500", "MTU 1420"]]
    lines: list[str] = []
    PlainLines(lines.append).step_ended(run, run.steps[0])
    assert [line.strip() for line in lines[1:]] == ["bytes  udp DF", "1420   whole", "1500   MTU 1420"]
    assert "1500   MTU 1420" in drawn(run)
    assert b"MTU 1420" in report_html(run)


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


def test_lines_tell_virtual_time_thresholds_and_loads() -> None:
    lines: list[str] = []
    run = busy()
    run.state, run.elapsed, run.wall = State.PASSED, 61.5, 1.2
    run.thresholds = [ThresholdRecord(key="rtp.mos", text="avg >= 4", holds=True, saw="4.4")]
    PlainLines(lines.append).ended(run)
    assert "ok    rtp.mos: avg >= 4: 4.4" in lines
    assert any(line.startswith("load  morning: started 0 passed 30 failed 2") for line in lines)
    assert lines[-1].startswith("PASS softphone-call [codec=G.711] in 61.5 s virtual, 1.2 s wall")


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


def test_what_repeats_a_run_is_one_line_that_can_be_pasted() -> None:
    from scenarios.live import LiveScreen

    command = "poplab run " + "a folder/" * 12 + "a.yaml --seed 7"
    stream = io.StringIO()
    run = record()
    run.repeat = command
    with_painter = LiveScreen(Console(file=stream, force_terminal=True, color_system=None, width=60))
    with_painter.ended(run)
    assert f"   again, exactly:  {command}\n" in stream.getvalue()


def test_what_repeats_a_comparison_is_one_line_too() -> None:
    command = "poplab run " + "a folder/" * 12 + "a.yaml --seed 7 --fabric sim,loopback"
    comparison = ComparisonRecord(
        file="a.yaml",
        name="a",
        fabrics=["sim", "loopback"],
        seed=7,
        state=State.FAILED,
        differing=1,
        differences=[DifferenceRecord(name="steps.ask.received", left="3", fabric="loopback", right="2")],
        repeat=command,
    )
    stream = io.StringIO()
    show_comparisons(Console(file=stream, force_terminal=True, color_system=None, width=60), [comparison])
    assert f"again:  {command}\n" in stream.getvalue()


def test_the_last_words_of_a_program_stand_there_once_and_their_end_is_never_left_out() -> None:
    words = ["Traceback", "line 1", "line 2", "line 3", "OSError: in use"]
    run = record()
    why = "site on hq/web: it ended with code 1 before it was ready"
    run.invariants = [InvariantRecord(id="programs-run", holds=False, text=why, details=["also", *words])]
    shown = drawn(run)
    assert "OSError: in use" in shown and "Traceback" not in shown
    run.steps = [StepRecord(name="wait", verb="wait", state=State.FAILED, error=why, output=words)]
    lines: list[str] = []
    plain = PlainLines(lines.append)
    plain.step_ended(run, run.steps[0])
    plain.ended(run)
    for text in (drawn(run), "\n".join(lines)):
        assert [text.count(each) for each in ["also", *words]] == [1, *[1] * len(words)]
