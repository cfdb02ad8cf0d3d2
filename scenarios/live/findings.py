"""What the doctor found, as a table on a terminal and as lines anywhere else."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby

from rich.console import Group as Renderables
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from scenarios.doctor import Finding, Group, State
from scenarios.live.style import ACCENT, BAD, FAINT, GOOD, WARN

ABOUT = {
    Group.FABRICS: "where a scenario can run",
    Group.KERNEL: "tried just now, in namespaces that are gone again",
    Group.RESTRICTIONS: "what may stand in the way",
    Group.PYTHON: "what poplab stands on",
    Group.PROGRAMS: "by other people: for tests, and for hosts with `exec`",
}
WIDE = 110
"""Columns from which on there is one for what needs it."""
NAME, STATE, NEED = 18, 9, 30


def sign(finding: Finding) -> tuple[str, str]:
    """And its colour. What is not there is alarming only if a fabric or the PoP needs it."""
    if finding.state is State.YES:
        return "✓", GOOD
    if finding.state is State.LIMITED:
        return "!", WARN
    if finding.state is State.UNKNOWN:
        return "?", WARN
    if not finding.needed_by or finding.group is Group.PROGRAMS:  # a fresh machine lacks most of them
        return "–", FAINT
    return "✗", BAD


def table(findings: Sequence[Finding], width: int) -> RenderableType:
    parts: list[RenderableType] = []
    for group, members in groupby(findings, lambda finding: finding.group):
        parts.append(
            Text.assemble(
                ("\n" if parts else "", ""), (group, f"bold {ACCENT}"), (f"  {ABOUT[group]}", FAINT)
            )
        )
        parts.append(_rows(list(members), width))
    return Renderables(*parts)


def _rows(findings: Sequence[Finding], width: int) -> Table:
    wide = width >= WIDE
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=STATE + 1, no_wrap=True)
    grid.add_column(width=NAME, no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    if wide:
        grid.add_column(width=NEED, style=FAINT)
    room = width - STATE - NAME - 4 - (NEED + 1 if wide else 0)
    for finding in findings:
        glyph, colour = sign(finding)
        state = Text.assemble((f" {glyph} ", f"bold {colour}"), (finding.state, colour))
        name = Text(finding.name, "" if finding.there else colour if colour == FAINT else "bold")
        detail = _detail(finding, room, with_need=not wide)
        grid.add_row(state, name, detail, *([finding.needed_by or "nothing"] if wide else []))
    return grid


def _detail(finding: Finding, room: int, *, with_need: bool) -> Text:
    """What was measured; if something is missing, what for, and how to get it."""
    detail = Text(finding.detail, "" if finding.there else FAINT if sign(finding)[1] == FAINT else "")
    if finding.state is State.YES:
        return detail
    if finding.because and finding.group is not Group.FABRICS:
        return Text(f"see {finding.because}", FAINT)
    lines = []
    if finding.group is Group.PROGRAMS and with_need:  # there are many, and what they lack is always the same
        return Text(finding.fix, ACCENT)
    if with_need and finding.needed_by:
        lines.append(Text(f"for: {finding.needed_by}", FAINT))
    if finding.fix:
        lines.append(Text.assemble(("fix: ", f"bold {ACCENT}"), (finding.fix, ACCENT)))
    for line in lines:
        last = len(detail.plain.rpartition("\n")[2])
        detail.append("   " if last + 3 + len(line.plain) <= room else "\n")
        detail.append_text(line)
    return detail


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """One for each, in columns, for a pipe."""
    for finding in findings:
        rest = finding.detail
        if finding.state is State.UNKNOWN and finding.because and finding.group is not Group.FABRICS:
            rest = f"not tried: see {finding.because}"
        elif finding.state is not State.YES:
            rest += f"; for: {finding.needed_by}" if finding.needed_by else ""
            rest += f"; fix: {finding.fix}" if finding.fix else ""
        yield f"{finding.group:<13} {finding.state:<8} {finding.name:<17} {rest}"


def as_json(findings: Sequence[Finding]) -> str:
    return json.dumps(
        {
            "version": 1,
            "findings": [
                asdict(finding) | {"there": finding.there, "sentence": finding.sentence}
                for finding in findings
            ],
        },
        indent=2,
    )


def in_words(findings: Sequence[Finding]) -> list[str]:
    """Which fabrics run here, and why the others do not."""
    fabrics = [finding for finding in findings if finding.group is Group.FABRICS]
    good = [finding.name for finding in fabrics if finding.there]
    said = [f"{_list(good)} {'runs' if len(good) == 1 else 'run'} here." if good else "No fabric runs here."]
    for finding in fabrics:
        if finding.state is State.NO:
            said.append(f"{finding.name} does not: {finding.detail}.")
        elif finding.state is State.LIMITED:
            said.append(f"{finding.name} does not do everything: {finding.detail}.")
    untried: dict[str, list[str]] = {}
    for finding in fabrics:
        if finding.state is State.UNKNOWN:
            untried.setdefault(finding.detail, []).append(finding.name)
    said += [f"{_list(names)} could not be tried: {why}." for why, names in untried.items()]
    return said


def _list(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def next_command(findings: Sequence[Finding], first: str) -> str:
    """What to type now: what mends a fabric; else, `first`."""
    for finding in findings:
        if finding.group is Group.FABRICS and finding.state is not State.YES and finding.fix:
            return finding.fix
    return first
