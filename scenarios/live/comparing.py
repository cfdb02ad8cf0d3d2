"""What comparisons came to: a table for terminals, lines for everything else."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scenarios.live.style import BAD, FAINT, GLYPHS, VERDICTS, again
from scenarios.report import ComparisonRecord, State, differences, outcome

MOST_OF_ONE = 20
"""Differences of one comparison; all are in the reports."""


def show_comparisons(console: Console, comparisons: Sequence[ComparisonRecord]) -> None:
    """Nothing if nothing was compared."""
    if not comparisons:
        return
    if console.is_terminal and not console.is_dumb_terminal:
        console.print(_screen(comparisons), crop=False)
        return
    for comparison in comparisons:
        for line in _lines(comparison):
            console.print(line, markup=False, soft_wrap=True)


def _lines(comparison: ComparisonRecord) -> list[str]:
    word = {State.PASSED: "SAME", State.FAILED: "DIFFER"}.get(comparison.state)
    lines = [f"{word or VERDICTS[comparison.state][0]} {comparison.title}: {outcome(comparison)}"]
    found = _differences(comparison)
    return [*lines, *found, f"      again: {comparison.repeat}"] if found else lines


def _differences(comparison: ComparisonRecord) -> list[str]:
    lines = [f"      {each.text}" for each in differences(comparison)[:MOST_OF_ONE]]
    if comparison.differing > MOST_OF_ONE:
        lines.append(f"      and {comparison.differing - MOST_OF_ONE} more")
    return lines


def _screen(comparisons: Sequence[ComparisonRecord]) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    for title in ("", "compared", "facts", "differences", "tolerated", ""):
        numeric = title in ("facts", "differences", "tolerated")
        table.add_column(title, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    table.add_row(
        *(Text(title, FAINT) for title in ("", "compared", "facts", "differences", "tolerated", ""))
    )
    below: list[RenderableType] = []
    for each in comparisons:
        sign, colour = GLYPHS[each.state]
        known = each.state in (State.PASSED, State.FAILED)
        table.add_row(
            Text(sign, f"bold {colour}"),
            Text(f"{each.title}  {', '.join(each.fabrics)}"),
            Text(str(each.facts) if known else "-"),
            Text(str(each.differing) if known else "-", BAD if each.differing else ""),
            Text(str(each.tolerated + each.ignored) if known else "-", FAINT),
            Text(each.reason, FAINT),
        )
        if each.differing:
            text = Text(f"{each.title}\n", "bold")
            text.append("\n".join(_differences(each)), BAD)
            below += [Padding(text, (1, 0, 0, 3)), again("      again:", each.repeat)]
    return Group(Text(), Padding(table, (0, 0, 0, 3)), *below)
