"""``poplab trace``: print, filter, compare and draw what a run left in trace.msgpack."""

from __future__ import annotations

import json as json_format
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from scenarios.trace import mermaid as drawing
from scenarios.trace.difference import first_difference
from scenarios.trace.event import Event, Kind
from scenarios.trace.selection import FlowEnds, Selection
from scenarios.trace.stream import Trace
from scenarios.trace.text import columns, line, printable

EQUAL, DIFFERENT = 0, 1
ON_A_SCREEN = 200
"""Rows of a table on a terminal, if nobody says how many."""


def _flow(_: click.Context, parameter: click.Parameter, value: str | None) -> FlowEnds | None:
    if value is None:
        return None
    try:
        return FlowEnds.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error), param=parameter) from None


@click.command()
@click.argument("file", type=click.Path(readable=False, path_type=Path))
@click.argument("file2", required=False, type=click.Path(readable=False, path_type=Path))
@click.option("--tunnel", help="Of this connector or client, or at this place.")
@click.option("--vnet", help="In this virtual network.")
@click.option("--flow", callback=_flow, help="ADDRESS[:PORT]>ADDRESS[:PORT], either direction.")
@click.option("--reason", help="Died for this reason.")
@click.option(
    "--kind", "kinds", multiple=True, type=click.Choice([k.value for k in Kind]), help="Repeatable."
)
@click.option("--from", "begin", type=float, help="Seconds since the run began.")
@click.option("--to", "end", type=float, help="Seconds since the run began.")
@click.option("--limit", type=click.IntRange(1), help="At most so many events.")
@click.option("--json", is_flag=True, help="One JSON object per line.")
@click.option("--mermaid", is_flag=True, help="A Mermaid sequence diagram.")
@click.pass_context
def trace(
    context: click.Context,
    file: Path,
    file2: Path | None,
    tunnel: str | None,
    vnet: str | None,
    flow: FlowEnds | None,
    reason: str | None,
    kinds: tuple[str, ...],
    begin: float | None,
    end: float | None,
    limit: int | None,
    json: bool,
    mermaid: bool,
) -> None:
    """Print the events of FILE, a trace.msgpack, or the first one in which FILE2 differs (exit code 1)."""
    wanted = Selection(tunnel, vnet, flow, reason, kinds, begin, end)
    with ExitStack() as stack:
        first = stack.enter_context(Trace(file))
        if file2 is not None:
            if json or mermaid or limit:
                raise click.UsageError("two files are compared: --json, --mermaid and --limit are for one")
            context.exit(_compare(first, stack.enter_context(Trace(file2)), wanted))
        chosen = _Chosen(first, wanted)
        if mermaid:
            click.echo(drawing.sequence(islice(chosen, limit)))
        elif json:
            for event in islice(chosen, limit):
                click.echo(json_format.dumps(event._asdict()))
        else:
            _show(chosen, limit)
        chosen.warn()
        _warn(first)


class _Chosen:
    """The events that are wanted; counts what passes."""

    def __init__(self, trace: Trace, wanted: Selection) -> None:
        self._trace = trace
        self._wanted = wanted
        self.seen = 0
        self.matched = 0

    def __iter__(self) -> Iterator[Event]:
        matches = self._wanted.matches
        for event in self._trace:
            self.seen += 1
            if matches(event):
                self.matched += 1
                yield event

    def warn(self) -> None:
        """Nothing to show is not the same as nothing that was asked for."""
        if self.seen and not self.matched:
            path = printable(str(self._trace.path))
            click.echo(f"none of the {self.seen} events in {path} is like that", err=True)


def _show(chosen: _Chosen, limit: int | None) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        for event in islice(chosen, limit):
            click.echo(line(event))
        return
    rows = iter(chosen)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("seconds", "event", "where", "what", "why"):
        table.add_column(name, justify="right" if name == "seconds" else "left", no_wrap=name != "what")
    most = limit or ON_A_SCREEN
    for event in islice(rows, most):
        style = "red" if event.reason else ""
        table.add_row(*(Text(cell, style=style) for cell in columns(event)))
    console.print(table)
    if limit is None and next(rows, None) is not None:
        console.print(f"only the first {most}; --limit N shows more, a pipe all", style="dim")


def _compare(one: Trace, other: Trace, wanted: Selection) -> int:
    for key in ("file", "cell", "fabric", "seed", "poplab"):
        mine, theirs = one.about.get(key), other.about.get(key)
        if mine != theirs:
            click.echo(f"{key}: {printable(str(mine))} and {printable(str(theirs))}", err=True)
    chosen = _Chosen(one, wanted), _Chosen(other, wanted)
    difference = first_difference(*chosen)
    if difference is not None:
        names = (printable(str(one.path)), printable(str(other.path)))
        click.echo("\n".join(difference.lines(names)))
        return DIFFERENT
    for events in chosen:
        events.warn()
    _warn(one)
    _warn(other)
    digests = [None if trace.end is None else trace.end.get("digest") for trace in (one, other)]
    if None not in digests and digests[0] != digests[1] and wanted == Selection():
        click.echo("the events in both files are equal; what they left out is not")
        return DIFFERENT
    click.echo("equal")
    return EQUAL


def _warn(trace: Trace) -> None:
    """Say what is missing; only known once it was read to its end."""
    if trace.cut_off:
        click.echo(f"{trace.path}: is cut off: the run was ended, or the disk is full", err=True)
    end = trace.end
    if end is None:
        return
    events, written = end.get("events"), end.get("written")
    if events != written:
        click.echo(f"{trace.path}: has {written} of {events} events", err=True)
