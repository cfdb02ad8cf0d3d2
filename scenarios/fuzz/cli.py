"""``poplab fuzz``: a campaign in several processes, what it found, and each finding as a file that repeats it."""

from __future__ import annotations

import os
import shlex
import signal
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from threading import Event
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from edge.errors import ConfigError, Problem
from scenarios.fuzz import campaign, planted
from scenarios.fuzz.campaign import Plan, Run, Tally
from scenarios.fuzz.case import Case
from scenarios.fuzz.shrink import Shrinking

FOUND, INTERRUPTED = 1, 130
LINE_EVERY = 5.0
"""Seconds between two lines of progress where there is no terminal."""

SHOWN = 3
"""Kinds of failures that are shrunk, the most frequent first."""


@click.command()
@click.argument("file", type=click.Path(readable=False, path_type=Path))
@click.option("--runs", type=click.IntRange(1), default=200, show_default=True, help="How many.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True, help="Of all draws.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), default=Path("out/fuzz"), show_default=True,
              help="Folder for what was found.")  # fmt: skip
@click.option(
    "--jobs", type=click.IntRange(1), default=None, help="Processes; as many as processors if left out."
)
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="The cell of the matrix to look at."
)
@click.option("--no-shrink", is_flag=True, help="Write the runs that failed as they were drawn.")
@click.pass_context
def fuzz(
    context: click.Context,
    file: Path,
    runs: int,
    seed: int,
    out: Path,
    jobs: int | None,
    settings: tuple[str, ...],
    no_shrink: bool,
) -> None:
    """Run FILE, a scenario, again and again with faults that were drawn, and write down the least that breaks it.

    The laws must hold at every moment; after everything has healed, all must be well again. Exit codes: 0 nothing was
    found, 1 something was, 2 a bad file or one that fails without faults, 130 interrupted.
    """
    console = Console(highlight=False)
    script = campaign.choose(file, dict(_setting(each) for each in settings))
    plan, before = campaign.plan(script, seed)
    if plan is None:
        text = "; ".join(f"{failure.kind}: {failure.text}" for failure in before.failures)
        raise ConfigError(
            [Problem(str(file), 0, 0, f"it fails without any fault: {text}", "mend that first")]
        )
    if not plan.kinds:
        raise ConfigError([Problem(str(file), 0, 0, "there is nobody left to do anything to", "spare fewer")])
    tally = Tally()
    with _campaign(console, runs, tally) as show:
        interrupted = _run_all(plan, runs, jobs or len(os.sched_getaffinity(0)), tally, show)
    console.print(_table(tally))
    command = f"poplab fuzz {shlex.quote(str(file))} --runs {runs} --seed {seed}"
    command += "".join(f" --set {shlex.quote(each)}" for each in settings)
    kinds = sorted(tally.found, key=lambda kind: -len(tally.found[kind]))
    for kind in kinds[:SHOWN]:
        done = tally.simplest(kind)
        case = plan.draw(done.number)
        console.print(f"\n{kind}: {len(tally.found[kind])} of {tally.runs} runs, such as run {done.number}")
        console.print(f"  {done.failures[0].text}", markup=False)
        if not no_shrink and not interrupted:
            case = _shrunk(console, case, kind)
        written = _write(out, case, kind, done, command)
        console.print(f"  written: {written} ({len(case.faults)} faults)", soft_wrap=True)
        console.print(f"  again:   poplab run {shlex.quote(str(written))}", soft_wrap=True)
    for kind in kinds[SHOWN:]:
        console.print(f"\n{kind}: {len(tally.found[kind])} of {tally.runs} runs, not written down")
    if not tally.found:
        console.print(f"nothing found in {tally.runs} runs")
    if interrupted:
        console.print(f"interrupted after {tally.runs} of {runs} runs")
    context.exit(FOUND if tally.found else INTERRUPTED if interrupted else 0)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is no NAME=VALUE", param_hint="--set")
    return name, value


# -- the runs


def _run_all(plan: Plan, runs: int, jobs: int, tally: Tally, show: Any) -> bool:
    """True if Ctrl-C ended it early; then what was under way has been waited for."""
    if jobs == 1:
        try:
            for number in range(runs):
                tally.add(campaign.run(plan, number))
                show()
        except KeyboardInterrupt:
            return True
        return False
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin_worker)
    with _first_interrupt() as pressed, pool:
        waiting: set[Future[Run]] = set()
        number = 0
        while waiting or (number < runs and not pressed.is_set()):
            while number < runs and not pressed.is_set() and len(waiting) < 2 * jobs:
                waiting.add(pool.submit(campaign.run, plan, number))
                number += 1
            done, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
            for each in done:
                tally.add(each.result())
            show()
            if pressed.is_set():
                waiting = {each for each in waiting if not each.cancel()}
        return pressed.is_set()


@contextmanager
def _first_interrupt() -> Iterator[Event]:
    """Set by the first Ctrl-C; the second one is Python's own.

    As an exception the first could come while the pool holds a lock, and then nobody would ever get that again.
    """
    pressed = Event()

    def press(*_: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    planted.from_environment(loud=False)


@contextmanager
def _campaign(console: Console, runs: int, tally: Tally) -> Iterator[Any]:
    """Progress: a bar on a terminal, a line now and then elsewhere."""
    if console.is_terminal and not console.is_dumb_terminal:
        columns = (TextColumn("fuzz"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[found]}"))
        with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
            task = progress.add_task("", total=runs, found="")

            def bar() -> None:
                progress.update(task, completed=tally.runs, found=_found(tally))

            yield bar
        return
    said = time.monotonic()

    def line() -> None:
        nonlocal said
        if time.monotonic() >= said + LINE_EVERY:
            said = time.monotonic()
            console.print(f"fuzz {tally.runs}/{runs} runs, {_found(tally)}")

    console.print(f"fuzz {runs} runs")
    yield line


def _found(tally: Tally) -> str:
    failed = sum(map(len, tally.found.values()))
    return f"{failed} failed: {', '.join(tally.found)}" if failed else "nothing found"


def _table(tally: Tally) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("fault", "in runs", "drawn", "happened"):
        table.add_column(heading, justify="left" if heading == "fault" else "right")
    for kind in sorted(tally.drawn):
        figures = (tally.in_runs[kind], tally.drawn[kind], tally.fired[kind])
        table.add_row(kind, *(f"{figure:,}" for figure in figures))
    return table


# -- what was found


def _shrunk(console: Console, case: Case, kind: str) -> Case:
    said = time.monotonic()

    def progress(tried: int, best: Case) -> None:
        nonlocal said
        if time.monotonic() >= said + LINE_EVERY or console.is_terminal:
            said = time.monotonic()
            text = f"  shrinking: {tried} runs, {len(best.faults)} faults, {len(best.steps)} steps left"
            console.print(text, end="\r" if console.is_terminal else "\n")

    shrinking = Shrinking(case, kind, progress=progress)
    best = shrinking.shrink()
    end = " (gave up: there may be a smaller one)" if shrinking.exhausted else ""
    console.print(
        f"  shrunk in {shrinking.runs} runs: {len(case.faults)} faults to {len(best.faults)}{end}   "
    )
    return best


def _write(out: Path, case: Case, kind: str, done: Run, command: str) -> Path:
    """The case as a scenario, with what broke as it is now."""
    failures = campaign.try_case(case).failures or done.failures
    shown = next((each for each in failures if each.kind == kind), failures[0])
    text = " ".join(shown.text.split())
    comments = [
        *textwrap.wrap(f"Breaks: {shown.kind}.", 100),
        *textwrap.wrap(text, 100)[:6],
        "",
        f"Found by run {done.number} of: {command}",
    ]
    if name := os.environ.get(planted.VARIABLE):
        comments.append(f"with a bug on purpose: {planted.VARIABLE}={name}")
    out.mkdir(parents=True, exist_ok=True)
    word = "".join(letter if letter.isalnum() else "-" for letter in kind.lower()).strip("-")
    file = out / f"{case.base['name']}-{word}-{done.number}.yaml"
    file.write_text(campaign.text_of(case, tuple(comments)))
    return file
