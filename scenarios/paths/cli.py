"""``poplab paths``: the flows of a scenario, whether their answers come back, and which routes are missing."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scenarios import batch
from scenarios.live.style import BAD, FAINT, GOOD
from scenarios.paths.survey import Judged, Party, lost, survey

RETURN, BROKEN = 0, 1
MOST_FIXES = 40
"""That are shown to people."""


@click.command("paths")
@click.argument("file", type=click.Path(readable=False, path_type=Path))
@click.option("--from", "source", metavar="A", help="Only from this client, host, site, group or address.")
@click.option("--to", "destination", metavar="B", help="Only to this one.")
@click.option("--json", is_flag=True, help="Print JSON.")
@click.pass_context
def paths(
    context: click.Context, file: Path, source: str | None, destination: str | None, json: bool
) -> None:
    """Whether answers would find their way back in FILE, judged from its route tables. Nothing runs.

    Looked at are flows that go through a connector: between clients and hosts, and between sites; policy is not. Actors
    that no table tells apart are one line.

    Exit codes: 0 all answers come back, 1 some do not, 2 a bad file or wrong usage.
    """
    cells = (survey(script, source, destination) for script in batch.select_file(file))
    found = list(dict.fromkeys(each for cell in cells for each in cell))
    if json:
        click.echo(json_format.dumps(_document(file, found), indent=2))
    else:
        _show(found)
    context.exit(RETURN if all(each.verdict.returns for each in found) else BROKEN)


def _document(file: Path, found: list[Judged]) -> dict[str, object]:
    return {
        "file": str(file),
        "returns": all(each.verdict.returns for each in found),
        "flows": [
            {
                "from": list(each.source.members),
                "to": list(each.destination.members),
                "count": each.count,
                "returns": each.verdict.returns,
                "request": list(each.verdict.request),
                "reply": list(each.verdict.reply),
                "says": each.verdict.says,
                "fix": each.verdict.fix,
                "fixes": list(each.verdict.fixes),
            }
            for each in found
        ],
        "fixes": list(_fixes(found)),
    }


def _fixes(found: Iterable[Judged]) -> dict[str, None]:
    """Each once, those of one machine together; otherwise in the order of the flows."""
    by_machine: dict[str, dict[str, None]] = {}
    for fix in (fix for each in found for fix in each.verdict.fixes):
        by_machine.setdefault(fix.partition(": ")[0], {})[fix] = None
    return dict.fromkeys(fix for fixes in by_machine.values() for fix in fixes)


def _show(found: list[Judged]) -> None:
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(_table(found))
    else:
        for line in _lines(found):
            click.echo(line)
    fixes = _fixes(found)
    total = sum(each.count for each in found)
    if not found:
        click.echo("no flow goes through a connector")
    elif not lost(found):
        click.echo(
            f"all {total:,} flows have a way there and back"
            if total > 1
            else "the only flow has a way there and back"
        )
    else:
        click.echo(f"{lost(found)}; what is missing:")
        for fix in list(fixes)[:MOST_FIXES]:
            click.echo(f"  {fix}")
        if len(fixes) > MOST_FIXES:
            click.echo(f"  and {len(fixes) - MOST_FIXES:,} more: --json has them all")


class _Row(NamedTuple):
    """What is shown as one: copies whose answers come back. The others have each a fix of their own."""

    good: bool
    source: str
    destination: str
    flows: int
    text: str


def _rows(found: list[Judged]) -> Iterator[_Row]:
    alike: dict[object, list[Judged]] = {}
    for number, each in enumerate(found):
        key = (each.source.kind, each.destination.kind) if each.verdict.returns else number
        alike.setdefault(key, []).append(each)
    for several in alike.values():
        first = several[0]
        good = first.verdict.returns
        yield _Row(
            good,
            _name(each.source for each in several),
            _name(each.destination for each in several),
            sum(each.count for each in several),
            f"answers go {' > '.join(first.verdict.reply)}" if good else first.verdict.says,
        )


def _name(parties: Iterable[Party]) -> str:
    distinct = list(dict.fromkeys(parties))
    if len(distinct) == 1:
        return distinct[0].name
    return f"{distinct[0].kind}, {sum(len(party.members) for party in distinct):,} in all"


def _lines(found: list[Judged]) -> Iterator[str]:
    for row in _rows(found):
        yield f"{'ok' if row.good else 'FAIL':<5} {row.source} -> {row.destination}: {row.text}"


def _table(found: list[Judged]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style=FAINT)
    for head in ("", "from", "to", "flows"):
        table.add_column(head, no_wrap=True, justify="right" if head == "flows" else "left")
    table.add_column("", overflow="fold")
    for row in _rows(found):
        table.add_row(
            Text("✓", GOOD) if row.good else Text("✗", BAD),
            Text(row.source),
            Text(row.destination),
            f"{row.flows:,}",
            Text(row.text, FAINT if row.good else BAD),
        )
    return table
