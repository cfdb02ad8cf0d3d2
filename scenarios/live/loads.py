"""What many actors do, and what is done to the world."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scenarios.live.style import BAD, FAINT, WARN
from scenarios.report import LoadRecord, RunRecord, figures


def table(run: RunRecord, width: int) -> RenderableType:
    """Counts and rates of each load, and its figures below."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style=FAINT)
    for title in ("load", "running", "passed", "failed", "not started", "rate"):
        left = title == "load"
        grid.add_column(title, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    below: list[RenderableType] = []
    for load in run.loads:
        grid.add_row(
            Text.assemble(load.name, (f"  {load.verb}", FAINT)), f"{load.running:,}", f"{load.passed:,}",
            _count(load.failed, BAD), _count(load.skipped, WARN), _rate(load),
        )  # fmt: skip
        if load.figures:
            below.append(Text("   ".join(figures(load)), FAINT, overflow="fold"))
    return Padding(Group(grid, *below), (0, 0, 0, 3))


def lines(run: RunRecord) -> RenderableType:
    """One line for each load."""
    rows = []
    for load in run.loads:
        text = Text.assemble(
            ("   load ", FAINT), load.name, (f"  {load.running:,} running", ""), (f"  {load.passed:,} passed", FAINT),
            (f"  {load.failed:,} failed", BAD if load.failed else FAINT), (f"  {_rate(load)}", ""),
            no_wrap=True, overflow="ellipsis",
        )  # fmt: skip
        for name, value in load.figures:
            if name.endswith("p95"):
                text.append(f"  {name} {value}", FAINT)
        rows.append(text)
    return Group(*rows)


def faults(run: RunRecord, rows: int) -> RenderableType:
    """The last of them."""
    lines = [
        Text.assemble(
            ("   ⚡ ", WARN), (f"{fault.at:.1f} s  ", FAINT), fault.kind, (f"  {fault.target}: {fault.text}", FAINT),
            no_wrap=True, overflow="ellipsis",
        )
        for fault in run.faults[-rows:]
    ]  # fmt: skip
    hidden = len(run.faults) - len(lines)
    if hidden:
        lines[0].append(f"   and {hidden} before", FAINT)
    return Group(*lines)


def _rate(load: LoadRecord) -> str:
    return f"{load.rate:,.1f}/s of {load.target:,.1f}/s" if load.target else f"{load.rate:,.1f}/s"


def _count(value: int, colour: str) -> Text:
    return Text(f"{value:,}", colour if value else "")
