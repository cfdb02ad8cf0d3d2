"""Runs in processes of their own: records in order, and one for a process that died."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from rich.console import Console

from scenarios.batch import Job, LiveBoard, PlainBoard, Pool
from scenarios.batch.board import Progress
from scenarios.fabric import FABRICS, Fabric, Network, Sim
from scenarios.report import RunRecord, State
from scenarios.runner import check
from scenarios.world import World

TEXT = """\
version: 1
name: NAME
vnets: {acme: {}}
topology: {clients: {alice: {vnet: acme}}}
steps: [{wait: {tunnels: up}}]
"""


class Deadly:
    """A fabric in which the process dies."""

    name = "sim"
    virtual = True

    def __init__(self, die: Callable[[], object]) -> None:
        self._die = die

    def prepare(self) -> None:
        """Nothing."""

    def execute(self, main: Callable[[], Awaitable[Any]], *, seed: int) -> Any:
        print("the last words", file=sys.stderr)
        return self._die()

    def bring_up(self, world: World) -> AbstractAsyncContextManager[Network]:
        raise AssertionError


class Real(Deadly):
    """On a real clock."""

    virtual = False


class Crowd(PlainBoard):
    """Notes how many ran at once."""

    def __init__(self) -> None:
        super().__init__(lambda line: None)
        self.present = self.most = 0

    def started(self, index: int) -> None:
        self.present += 1
        self.most = max(self.most, self.present)

    def ended(self, index: int, record: RunRecord) -> None:
        self.present -= 1


def job(name: str, fabric: Fabric | None = None, reason: str = "", more: str = "") -> Job:
    (script,) = check(TEXT.replace("NAME", name) + more)
    return Job(script, fabric, 7, f"poplab run {name}", reason)


def run(*jobs: Job, at_once: int = 2) -> tuple[list[RunRecord], list[str]]:
    lines: list[str] = []
    return Pool(jobs, PlainBoard(lines.append, report="out"), at_once=at_once).run(), lines


def test_every_job_has_its_record_in_the_order_of_the_jobs() -> None:
    records, lines = run(
        job("a", FABRICS["sim"]), job("b", None, "not there"), job("c", FABRICS["sim"]), at_once=1
    )
    assert [(record.name, record.state) for record in records] == [
        ("a", State.PASSED),
        ("b", State.SKIPPED),
        ("c", State.PASSED),
    ]
    assert records[0].steps[0].summary.startswith("1 tunnels up")
    assert "SKIPPED b: not there" in lines
    assert lines[-1].startswith("2 of 3 passed, 1 skipped in")
    assert lines[-1].endswith("report out")


def test_a_process_that_dies_is_an_error_with_its_last_words() -> None:
    killed = Deadly(lambda: os.kill(os.getpid(), signal.SIGKILL))
    records, lines = run(job("a", killed), job("b", Deadly(lambda: os._exit(9))), job("c", FABRICS["sim"]))
    assert [record.state for record in records] == [State.ERROR, State.ERROR, State.PASSED]
    assert records[0].error == "the last words\nthe process of this run died: killed by SIGKILL"
    assert records[1].error == "the last words\nthe process of this run died: it exited with 9"
    assert any("killed by SIGKILL" in line for line in lines)


def test_a_defect_in_a_run_is_an_error_with_its_traceback() -> None:
    (record,), _ = run(job("a", Deadly(lambda: 1 / 0)))
    assert record.state is State.ERROR
    assert "ZeroDivisionError" in record.error


def test_load_on_a_real_clock_runs_alone_unless_somebody_says_how_many() -> None:
    load = "load: {asks: {actor: alice, do: {ping: {from: alice, to: 100.96.0.1}}, stages: [{to: 1/s, over: 1s}]}}\n"
    jobs = [job(f"run-{number}", Real(lambda: os._exit(9)), more=load) for number in range(3)]
    for at_once, most in ((None, 1), (3, 3)):
        crowd = Crowd()
        assert len(Pool(jobs, crowd, at_once=at_once).run()) == 3
        assert (crowd.most, crowd.present) == (most, 0)


def test_handlers_of_signals_are_as_they_were() -> None:
    before = signal.getsignal(signal.SIGINT)
    run(job("a", None, "skipped"))
    assert signal.getsignal(signal.SIGINT) is before


def test_the_board_of_a_terminal_ends_with_one_summary() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, height=20, force_terminal=True, color_system=None)
    jobs = [
        job(f"run-{number}", None if number % 2 else Deadly(lambda: os._exit(9)), "no") for number in range(4)
    ]
    long = f"poplab run {'folder/' * 20}a.yaml"
    jobs[2] = jobs[2]._replace(repeat=long)
    Pool(jobs, LiveBoard(console), at_once=2).run()
    text = out.getvalue()
    assert f"again:  {long}\n" in text
    assert "0 of 4 passed, 2 error, 2 skipped" in text
    assert "it exited with 9" in text
    assert "again:  poplab run run-0" in text


def test_a_low_terminal_shows_what_runs_and_what_went_wrong() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, height=9, force_terminal=True, color_system=None)
    board = LiveBoard(console)
    jobs = [job(f"run-{number}", FABRICS["sim"]) for number in range(30)]
    board.begin(jobs)
    for number in range(20):
        board.started(number)
        board.ended(number, jobs[number].record(State.FAILED if number == 4 else State.PASSED))
    board.started(25)
    board.tick()
    board.end([])
    live = out.getvalue().split("20 of 30 runs ended")[1]
    assert "run-4" in live
    assert "run-25" in live
    assert "and 26 more" in live


def test_the_time_of_a_run_looks_the_same_while_it_goes_on_and_afterwards() -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, height=20, force_terminal=True, color_system=None)
    board = LiveBoard(console)
    work = [job(name, Sim()) for name in ("at-work", "over")]
    board.begin(work)
    board.progress(0, Progress(elapsed=3.0, wall=0.5, done=1, steps=2, doing=""))
    over = work[1].record(State.PASSED)
    over.elapsed, over.wall = 3.9, 0.2
    board.ended(1, over)
    board.tick()
    lines = out.getvalue().splitlines()
    assert any("at-work" in line and "3.0 s virtual, 0.5 s wall" in line for line in lines)
    assert any("over" in line and "3.9 s virtual, 0.2 s wall" in line for line in lines)
    board.end([over])
