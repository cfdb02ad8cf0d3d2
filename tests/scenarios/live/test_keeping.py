"""A world that is kept up on the screen and in a pipe: who is here, what was heard, what was dropped."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from scenarios.live import PlainLines, screen
from scenarios.report import DROPPED, DropRecord, HappeningRecord, MemberRecord, RunRecord, State, VnetRecord

NARROW, WIDE = 80, 120


def kept(state: State = State.RUNNING) -> RunRecord:
    return RunRecord(
        file="lab.yaml",
        name="first-lab",
        about="A lab.",
        fabric="loopback",
        seed=7,
        deadline=30.0,
        repeat="",
        pop="127.0.0.1:40000",
        kept=True,
        door="192.0.2.7:51820",
        state=state,
        started_at="2026-01-01T00:00:00.000+00:00",
        elapsed=754.0,
        vnets=[
            VnetRecord(
                name="lab",
                members=[
                    MemberRecord(name="hq", kind="connector", address="10.0.50.0/24", up=True),
                    MemberRecord(
                        name="phone", kind="client", address="100.96.0.20", up=True, outside=True,
                        endpoint="192.0.2.44:51111", packets_in=1234, packets_out=5678,
                    ),
                    MemberRecord(name="laptop", kind="client", address="100.96.0.21", outside=True),
                ],
            )
        ],
        happenings=[
            HappeningRecord(at=float(n), who="hq/web", text=f"GET /{n} from 100.96.0.20 (phone): 200")
            for n in range(60)
        ]
        + [HappeningRecord(at=60.0, who=DROPPED, text="100.96.0.20 -> 10.0.50.60:22 tcp from phone", bad=True)],
        drops=[
            DropRecord(
                at=60.0, vnet="lab", tunnel="phone", flow="100.96.0.20 -> 10.0.50.60:22 tcp",
                reason="policy_blocked", rule="everything-else", count=3,
            )
        ],
    )  # fmt: skip


def drawn(run: RunRecord, width: int, height: int | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(screen(run, width=width, height=height))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_it_says_who_is_here_and_how_long(width: int) -> None:
    text = drawn(kept(), width, 40)
    assert "up 12:34, Ctrl-C ends it" in text
    assert "at most" not in text
    assert "door 192.0.2.7:51820/udp" in text
    assert "not here yet laptop" in text
    assert "in 1,234 out 5,678" in text
    assert "192.0.2.44:51111" in text
    assert text.count("your device") == 2
    assert "phone  → 10.0.50.60:22 tcp  policy_blocked by everything-else  3 ×" in text
    assert "GET /59" in text
    assert all(len(line) <= width for line in text.splitlines())


@pytest.mark.parametrize("height", [12, 18, 24, 40])
def test_a_low_terminal_keeps_who_is_here_and_the_latest(height: int) -> None:
    text = drawn(kept(), NARROW, height)
    assert len(text.splitlines()) <= height
    assert "GET /59" in text
    assert "not here yet laptop" in text


def test_the_end_is_a_stop_and_no_verdict_about_steps() -> None:
    text = drawn(kept(State.PASSED), NARROW)
    assert "STOPPED" in text
    assert "PASS" not in text.replace("STOPPED", "")
    assert "FAIL" in drawn(kept(State.FAILED), NARROW)


def test_a_pipe_gets_each_happening_once() -> None:
    lines: list[str] = []
    plain = PlainLines(lines.append)
    run = kept()
    everything, run.happenings = run.happenings, run.happenings[:2]
    plain.tick(run)
    plain.tick(run)
    run.happenings = everything[1:4]
    plain.tick(run)
    run.happenings = everything[10:12]  # the one that was told last is forgotten
    plain.tick(run)
    assert [line.split()[4] for line in lines] == ["GET"] * 6
    assert [line.split("/")[2].split()[0] for line in lines] == ["0", "1", "2", "3", "10", "11"]
    run.happenings = everything[-1:]
    run.state = State.PASSED
    plain.ended(run)
    assert lines[-2].startswith("!!     60.00 s  dropped 100.96.0.20 -> ")
    assert lines[-1].startswith("STOPPED first-lab in ")
