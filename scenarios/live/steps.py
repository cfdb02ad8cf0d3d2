"""The steps, and what their conditions saw."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scenarios.live.style import ACCENT, BAD, FAINT, WARN, glyph
from scenarios.report import RunRecord, State, StepRecord, aligned, explain

WIDE = 96
"""Columns from which there is room to say that a step is in the background."""

WRONG = (State.FAILED, State.ERROR, State.INTERRUPTED)


def everything(run: RunRecord, width: int) -> RenderableType:
    """All steps, and the conditions of the whole run; nothing is cut."""
    grid = _grid()
    for step in run.steps:
        grid.add_row(_mark(step), _when(run, step), _name(step, width), _seen(step))
        for line in aligned(step.table):
            grid.add_row("", "", "", Text(line, FAINT, no_wrap=True, overflow="ellipsis"))
        for line in _wrong(step):
            grid.add_row("", "", "", Text(line, FAINT if step.excused else BAD, overflow="fold"))
        for line in step.output if step.state in WRONG else ():
            grid.add_row("", "", "", Text(f"| {line}", FAINT, overflow="fold"))
    for index, check in enumerate(run.checks):
        label = Text("in the end" if index == 0 else "", FAINT)
        text = Text(check.text, FAINT) if check.holds else Text(explain(check), BAD)
        text.overflow = "fold"
        grid.add_row(glyph(State.PASSED if check.holds else State.FAILED), "", label, text)
    return Padding(grid, (0, 0, 0, 3))


def some(run: RunRecord, width: int, rows: int) -> RenderableType:
    """About so many lines: what runs, what went wrong, what ended last, what comes next."""
    chosen = sorted(sorted(range(len(run.steps)), key=lambda index: _urgency(run.steps[index], index))[:rows])
    grid = _grid()
    for index in chosen:
        step = run.steps[index]
        wrong = next(_wrong(step), None)
        seen = _seen(step) if wrong is None or step.excused else Text(wrong, BAD)
        grid.add_row(_mark(step), _when(run, step), _cut(_name(step, width)), _cut(seen))
    rest = [step for index, step in enumerate(run.steps) if index not in chosen]
    done = sum(step.state is State.PASSED for step in rest)
    todo = sum(step.state is State.PENDING for step in rest)
    other = len(rest) - done - todo
    counts = ((done, "more passed"), (other, "more at work or failed"), (todo, "to come"))
    words = [f"{count} {word}" for count, word in counts if count]
    more = [Text(f"   and {', '.join(words)}", FAINT)] if words else []
    return Group(Padding(grid, (0, 0, 0, 3)), *more)


def _urgency(step: StepRecord, index: int) -> tuple[int, float]:
    if step.state is State.RUNNING:
        return 0, index
    if step.state in WRONG and not step.excused:
        return 1, index
    if step.state is State.PENDING:
        return 3, index
    return 2, -(step.ended or 0.0)


def _mark(step: StepRecord) -> Text:
    return Text("✗", WARN) if step.excused else glyph(step.state)


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(ratio=2, overflow="fold")
    grid.add_column(ratio=3, overflow="fold")
    return grid


def _cut(text: Text) -> Text:
    """On one line. (A column that does not wrap would take the room of the others.)"""
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _when(run: RunRecord, step: StepRecord) -> Text:
    if step.ended is not None:
        return Text(f"{step.ended:.1f} s", FAINT)
    return Text(f"{run.elapsed:.1f} s", ACCENT) if step.started is not None else Text()


def _name(step: StepRecord, width: int) -> Text:
    text = Text(step.name, FAINT if step.state is State.PENDING else "")
    if step.background and step.state is State.RUNNING and width >= WIDE:
        text.append("  in the background", f"italic {FAINT}")
    return text


def _seen(step: StepRecord) -> Text:
    return Text(step.waiting if step.state is State.RUNNING else step.summary, FAINT)


def _wrong(step: StepRecord) -> Iterator[str]:
    if step.error:
        yield step.error
    for check in step.checks:
        if not check.holds:
            yield explain(check)
