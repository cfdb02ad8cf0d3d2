"""What a person sees of many runs: a table that fills, or a line for each run that has ended; one summary."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scenarios.batch.attempt import Job
from scenarios.live import Lines
from scenarios.live.style import ACCENT, BAD, FAINT, GLYPHS, VERDICTS, again, clock
from scenarios.report import RunRecord, State, findings, lasts, took

MOST_REASONS = 5
FRAME = 0.2
"""Seconds between two drawings."""

WORDS = (
    (State.FAILED, "failed"),
    (State.ERROR, "error"),
    (State.INTERRUPTED, "interrupted"),
    (State.UNAVAILABLE, "not available here"),
    (State.SKIPPED, "skipped"),
)


class Progress(msgspec.Struct):
    """How far a run is."""

    elapsed: float
    wall: float
    done: int
    steps: int
    doing: str


class Board(Protocol):
    """Runs are called by their number."""

    def begin(self, jobs: Sequence[Job]) -> None: ...

    def started(self, index: int) -> None: ...

    def progress(self, index: int, progress: Progress) -> None: ...

    def ended(self, index: int, record: RunRecord) -> None: ...

    def tick(self) -> None: ...

    def end(self, records: Sequence[RunRecord]) -> None: ...


def board(console: Console, *, report: str = "") -> Board:
    """A table if `console` is a terminal, else lines."""
    if console.is_terminal and not console.is_dumb_terminal:
        return LiveBoard(console, report=report)
    return PlainBoard(Lines(console.file), report=report)


def totals(records: Sequence[RunRecord]) -> str:
    """Such as: 3 of 5 passed, 1 failed, 1 skipped."""
    passed = sum(record.state is State.PASSED for record in records)
    parts = [f"{passed} of {len(records)} passed"]
    for state, word in WORDS:
        count = sum(record.state is state for record in records)
        if count:
            parts.append(f"{count} {word}")
    return ", ".join(parts)


class PlainBoard:
    """For pipes, logs and CI."""

    def __init__(self, write: Callable[[str], None], *, report: str = "") -> None:
        self._write = write
        self._report = report
        self._begun = time.monotonic()

    def begin(self, jobs: Sequence[Job]) -> None:
        self._begun = time.monotonic()
        self._write(f"run   {len(jobs)} scenarios")

    def started(self, index: int) -> None:
        """A line is only written when something came of it."""

    def progress(self, index: int, progress: Progress) -> None:
        """Nor for this."""

    def ended(self, index: int, record: RunRecord) -> None:
        word = VERDICTS[record.state][0]
        if record.state is State.SKIPPED:
            self._write(f"{word} {record.title}: {record.error}")
            return
        self._write(f"{word} {record.title} in {took(record)}")
        found = findings(record)
        for each in found[:MOST_REASONS]:
            self._write(f"      {each.where}: {each.text}")
        if len(found) > MOST_REASONS:
            self._write(f"      and {len(found) - MOST_REASONS} more")
        if found:
            self._write(f"      again: {record.repeat}")

    def tick(self) -> None:
        """Nothing moves."""

    def end(self, records: Sequence[RunRecord]) -> None:
        report = f"  report {self._report}" if self._report else ""
        self._write(f"{totals(records)} in {time.monotonic() - self._begun:.1f} s{report}")


class LiveBoard:
    """For terminals."""

    def __init__(self, console: Console, *, report: str = "") -> None:
        self._console = console
        self._report = report
        self._jobs: Sequence[Job] = ()
        self._states: dict[int, Progress | RunRecord | None] = {}
        self._begun = time.monotonic()
        self._drawn = 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def begin(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._begun = time.monotonic()
        self._live.start()

    def started(self, index: int) -> None:
        self._states[index] = None

    def progress(self, index: int, progress: Progress) -> None:
        self._states[index] = progress

    def ended(self, index: int, record: RunRecord) -> None:
        self._states[index] = record

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._drawn >= FRAME:
            self._drawn = now
            self._live.update(self._screen(self._console.height - 1), refresh=True)

    def end(self, records: Sequence[RunRecord]) -> None:
        self._live.stop()
        self._console.print(self._screen(None))
        self._console.print(self._verdict(records), crop=False)

    def _screen(self, height: int | None) -> RenderableType:
        ended = [state for state in self._states.values() if isinstance(state, RunRecord)]
        head = Text.assemble(
            (" poplab ", f"bold #1a1b26 on {ACCENT}"), (f"  {len(ended)} of {len(self._jobs)} runs ended", "bold"),
            (f"   {clock(time.monotonic() - self._begun)}", FAINT),
        )  # fmt: skip
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(ratio=2, overflow="fold")
        table.add_column(justify="right", no_wrap=True)
        table.add_column(
            ratio=3, overflow="fold" if height is None else "ellipsis", no_wrap=height is not None
        )
        shown = self._shown(None if height is None else max(3, height - 4))
        for index in shown:
            self._row(table, index, whole=height is None)
        rest = len(self._jobs) - len(shown)
        more = [Text(f"   and {rest} more", FAINT)] if rest else []
        return Group(head, Text(), Padding(table, (0, 0, 0, 3)), *more)

    def _shown(self, room: int | None) -> list[int]:
        """All, or if they are too many: what runs, what went wrong, what ended last."""
        everything = list(range(len(self._jobs)))
        if room is None or len(everything) <= room:
            return everything

        def urgency(index: int) -> tuple[int, int]:
            state = self._states.get(index, "waiting")
            if state == "waiting":
                return 2, index
            if isinstance(state, RunRecord):
                return (3 if state.state in (State.PASSED, State.SKIPPED) else 1), -index
            return 0, index

        return sorted(sorted(everything, key=urgency)[:room])

    def _row(self, table: Table, index: int, *, whole: bool) -> None:
        title = self._jobs[index].title
        state = self._states.get(index, State.PENDING)
        if isinstance(state, RunRecord):
            glyph, colour = GLYPHS[state.state]
            found = findings(state)
            why = "; ".join(f"{each.where}: {each.text}" for each in found[: MOST_REASONS if whole else 1])
            quiet = state.state in (State.SKIPPED, State.PASSED)
            seconds = "" if state.state is State.SKIPPED else took(state)
            table.add_row(
                Text(glyph, f"bold {colour}"),
                Text(title),
                Text(seconds, FAINT),
                Text(why, FAINT if quiet else BAD),
            )
        elif isinstance(state, Progress):
            glyph, colour = GLYPHS[State.RUNNING]
            text = f"{state.done}/{state.steps}  {state.doing}"
            fabric = self._jobs[index].fabric
            virtual = fabric is not None and fabric.virtual
            table.add_row(
                Text(glyph, f"bold {colour}"),
                Text(title),
                Text(lasts(state.elapsed, state.wall, virtual=virtual), ACCENT),
                Text(text, FAINT),
            )
        else:
            glyph, colour = GLYPHS[State.PENDING if state is State.PENDING else State.RUNNING]
            table.add_row(Text(glyph, colour), Text(title, FAINT), "", "")

    def _verdict(self, records: Sequence[RunRecord]) -> RenderableType:
        worst = next((state for state, _ in WORDS if any(r.state is state for r in records)), State.PASSED)
        if worst is State.SKIPPED and any(record.state is State.PASSED for record in records):
            worst = State.PASSED
        word, colour = VERDICTS[worst]
        line = Text.assemble(
            "\n", (f" {word} ", colour), f"  {totals(records)} in {time.monotonic() - self._begun:.1f} s"
        )
        if self._report:
            line.append("     report ", FAINT)
            line.append(self._report)
        lines = [line]
        bad = [r for r in records if r.state not in (State.PASSED, State.SKIPPED) and r.repeat]
        lines += [again("again:", record.repeat) for record in bad[:10]]
        return Group(*lines)
