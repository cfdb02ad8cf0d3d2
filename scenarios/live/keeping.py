"""What is shown of a world that is kept up, beside what is shown of every run."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scenarios.live.style import ACCENT, BAD, FAINT, WARN, clock
from scenarios.report import DROPPED, RunRecord

HINT = "Ctrl-C ends it"


def when(run: RunRecord) -> str:
    return f"up {clock(run.elapsed)}, {HINT} "


def door(run: RunRecord) -> RenderableType:
    """Where devices come in, and who has not come yet."""
    text = Text.assemble(("   door ", FAINT), (run.door, f"bold {ACCENT}"), ("/udp", FAINT), overflow="fold")
    away = [member.name for vnet in run.vnets for member in vnet.members if member.outside and not member.up]
    if away:
        text.append("   not here yet ", FAINT)
        text.append(", ".join(away), WARN)
    return text


def happenings(run: RunRecord, rows: int) -> RenderableType:
    """The latest, the last one below."""
    shown = [each for each in run.happenings if each.who != DROPPED][-rows:]
    grid = _grid(1)
    for each in shown:
        grid.add_row(
            Text(clock(each.at), FAINT), each.who, Text(each.text, BAD if each.bad else "", overflow="fold")
        )
    return Padding(grid, (0, 0, 0, 3))


def drops(run: RunRecord, rows: int) -> RenderableType:
    """The latest kinds, the last one below: from where to where, why, how often."""
    grid = _grid(3)
    for each in run.drops[-rows:]:
        why = Text(each.reason, BAD)
        if each.rule:
            why.append(f" by {each.rule}", FAINT)
        where = f"→ {each.flow.partition(' -> ')[2]}" if each.tunnel else each.flow
        grid.add_row(Text(clock(each.at), FAINT), each.tunnel, Text(where), why, f"{each.count:,} ×")
    return Group(Text("   dropped", FAINT), Padding(grid, (0, 0, 0, 3)))


def _grid(folded: int) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        grid.add_column(no_wrap=True)
    for _ in range(folded):
        grid.add_column(overflow="fold")
    return grid
