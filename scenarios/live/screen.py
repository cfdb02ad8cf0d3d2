"""A run as a screen: who is there, what happened, how the calls sounded, what the network did, the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scenarios.live import calls, keeping, laws, loads, steps, topology
from scenarios.live.style import ACCENT, BAD, FAINT, VERDICTS, again, clock, sparkline
from scenarios.report import RunRecord, State, findings, took

SPARKS = 24
MOST_FINDINGS = 12


class Form(NamedTuple):
    """A way to show a part. Among all parts the cheapest changes come first where there is no room."""

    cost: int
    shown: RenderableType | None


class Part(NamedTuple):
    """`forms` from the fullest to the smallest; the first costs nothing."""

    forms: list[Form]


def screen(run: RunRecord, *, width: int, height: int | None = None, report: str = "") -> RenderableType:
    """All of `run`; with `height` as much of it as fits: what happens now before what stands still."""
    parts = list(_parts(run, width, report, live=height is not None))
    levels = [0] * len(parts)
    spaced = True
    if height is not None:
        probe = Console(width=width, height=height, color_system=None)
        heights = [_lines(probe, part.forms[0]) for part in parts]
        changes = sorted(
            (form.cost, index, level)
            for index, part in enumerate(parts)
            for level, form in enumerate(part.forms)
            if level
        )
        for cost, index, level in [*changes, (0, -1, 0)]:
            gaps = sum(map(bool, heights)) if spaced else 1
            if sum(heights) + gaps < height:
                break
            if cost >= _TIGHT and spaced:
                spaced = False
                if sum(heights) + 1 < height:
                    break
            if index >= 0:
                levels[index] = level
                heights[index] = _lines(probe, parts[index].forms[level])
        spaced = sum(heights) + sum(map(bool, heights)) < height
    shown = [part.forms[level].shown for part, level in zip(parts, levels, strict=True)]
    lines: list[RenderableType] = []
    for number, part in enumerate(each for each in shown if each is not None):
        lines += [part, Text()] if spaced or number == 0 else [part]
    return Group(*lines)


_TIGHT = 60
"""Before anything that costs so much is done, blank lines go."""


def _lines(probe: Console, form: Form) -> int:
    return 0 if form.shown is None else len(probe.render_lines(form.shown))


def _parts(run: RunRecord, width: int, report: str, *, live: bool) -> Iterator[Part]:
    gone = Form
    yield Part([Form(0, header(run, width))])
    if run.about:
        yield Part([Form(0, Padding(Text(run.about, FAINT), (0, 3))), gone(5, None)])
    small = 66 if run.kept else 20  # who is there is what one looks for while a world is kept up
    yield Part([Form(0, topology.trees(run, width)), Form(small, topology.line(run)), gone(95, None)])
    if run.door:
        yield Part([Form(0, keeping.door(run))])
    forms = [Form(0, steps.everything(run, width) if run.steps or not run.kept else None)]
    if len(run.steps) > 3:
        forms += [
            Form(cost, steps.some(run, width, rows))
            for cost, rows in ((25, 14), (40, 9), (70, 6), (85, 4), (97, 2))
        ]
    yield Part(forms)
    if run.samples and run.state is State.RUNNING:
        yield Part([Form(0, traffic(run)), gone(90, None)])
    if run.happenings:
        forms = [
            Form(cost, keeping.happenings(run, rows))
            for cost, rows in ((0, 14 if live else 40), (24, 9), (42, 6), (62, 4), (72, 3), (98, 1))
        ]
        yield Part(forms)
    if run.drops:
        yield Part(
            [Form(cost, keeping.drops(run, rows)) for cost, rows in ((0, 6), (26, 4), (48, 2))]
            + [gone(89, None)]
        )
    if run.loads:
        yield Part([Form(0, loads.table(run, width)), Form(45, loads.lines(run)), gone(96, None)])
    if run.calls:
        forms = [Form(0, calls.table(run, width)), Form(30, calls.lines(run))]
        forms += [Form(cost, calls.lines(run, rows)) for cost, rows in ((50, 8), (80, 5), (94, 2))]
        yield Part(forms)
    if run.sightings:
        yield Part([Form(0, Group(*calls.sightings(run))), gone(15, None)])
    if run.faults:
        yield Part(
            [
                Form(0, loads.faults(run, 12 if not live else 5)),
                Form(35, loads.faults(run, 1)),
                gone(88, None),
            ]
        )
    if any(change.before for change in run.ways):
        yield Part([Form(0, topology.ways(run)), gone(32, None)])
    if run.invariants:
        yield Part([Form(0, laws.table(run)), Form(28, laws.lines(run))])
    if run.thresholds:
        yield Part([Form(0, laws.thresholds(run)), gone(75, None)])
    if run.state is not State.RUNNING:
        yield Part([Form(0, verdict(run, report))])


def header(run: RunRecord, width: int) -> RenderableType:
    left = Text.assemble(
        (" poplab ", f"bold #1a1b26 on {ACCENT}"), "  ", (run.title, "bold"),
        ("   fabric ", FAINT), run.fabric, ("   seed ", FAINT), str(run.seed), no_wrap=True, overflow="ellipsis",
    )  # fmt: skip
    right = Text(_when(run), FAINT, no_wrap=True)
    grid = Table.grid(expand=True)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    if width >= left.cell_len + right.cell_len + 2:
        grid.add_column(justify="right", no_wrap=True)
        grid.add_row(left, right)
        return grid
    grid.add_row(left)
    grid.add_row(Text(f"          {_when(run)}", FAINT, overflow="ellipsis"))
    return grid


def _when(run: RunRecord) -> str:
    if run.state is not State.RUNNING:
        return f"{run.started_at[:19].replace('T', ' ')} UTC "
    if run.virtual:
        return ", ".join(
            filter(None, [f"{clock(run.elapsed)} virtual", f"{clock(run.wall)} wall", _speed(run)])
        )
    if run.kept:
        return keeping.when(run)
    return f"live {clock(run.elapsed)}, at most {clock(run.deadline)} "


def _speed(run: RunRecord) -> str:
    return f"{run.elapsed / run.wall:,.1f} × real time " if run.wall > 0 else ""


def traffic(run: RunRecord) -> RenderableType:
    """One line that never wraps: a curve without its unit says nothing."""
    last = run.samples[-1]
    return Text.assemble(
        ("   traffic ", FAINT), (sparkline([s.packets_per_second for s in run.samples], SPARKS), ACCENT),
        (f" {last.packets_per_second:,.0f} packets/s", ""),
        (f"   dropped {last.dropped_per_second:,.0f}/s", BAD if last.dropped_per_second else FAINT),
        (f"   {last.flows:,} flows", FAINT), no_wrap=True, overflow="ellipsis",
    )  # fmt: skip


def verdict(run: RunRecord, report: str = "") -> RenderableType:
    word, colour = VERDICTS[run.state]
    if run.kept and run.state is State.PASSED:
        word = "STOPPED"
    line = Text.assemble((f" {word} ", colour), f"  in {took(run)}", overflow="fold")
    if run.virtual:
        line.append(f"   {_speed(run)}", FAINT)
    if report:
        line.append("     report ", FAINT)
        line.append(report)
    lines = [line]
    found = [each.text if each.where == "run" else each.where for each in findings(run)]
    if found:
        rest = f" and {len(found) - MOST_FINDINGS} more" if len(found) > MOST_FINDINGS else ""
        lines.append(Text(f"   failed: {'; '.join(found[:MOST_FINDINGS])}{rest}", BAD, overflow="fold"))
    if run.state is State.ERROR and run.error:
        lines.append(Text(run.error, BAD, overflow="fold"))
    if run.repeat:
        lines.append(again("again, exactly:", run.repeat))
    return Group(*lines)
