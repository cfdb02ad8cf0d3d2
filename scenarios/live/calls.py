"""How the calls sound."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scenarios.live.style import BAD, DARK, FAINT, GOOD, WARN, mos_bar, mos_colour, per_cent, seconds
from scenarios.report import CallRecord, RunRecord

VERY_WIDE = 120
"""Columns from which both listeners of a call stand side by side, if there is room for their names."""
INDENT, WIDE_GAP, NARROW_GAP = 3, 3, 2
SERVER_INITIATED = "server-initiated"

TITLES = ("call", "setup", "loss", "jitter", "longest gap")

_OUTCOMES = {"timeout": "no answer"}


def table(run: RunRecord, width: int) -> RenderableType:
    """A row for each call."""
    heard = [direction for call in run.calls for direction in call.directions if direction.mos is not None]
    longest = max((len(direction.listener) for direction in heard), default=0)
    wide = width >= max(VERY_WIDE, _side_by_side(run, longest))
    gap = WIDE_GAP if wide else NARROW_GAP
    grid = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style=FAINT)
    for title in TITLES:
        left = title == "call"
        grid.add_column(
            title,
            justify="left" if left else "right",
            no_wrap=not left,
            overflow="fold" if left else "ellipsis",
        )
    models = sorted({direction.profile for direction in heard})
    grid.add_column(f"MOS heard by   {'; '.join(models)}" if wide else "MOS heard by", no_wrap=True)
    for call in run.calls:
        grid.add_row(*_row(call, longest, wide))
    return Padding(grid, (0, 0, 0, INDENT))


def _side_by_side(run: RunRecord, longest: int) -> int:
    """Columns that the wide table takes, in which a call is on one line, or on two if its server began it."""
    widths = [0, *map(len, TITLES[1:]), 0]
    for call in run.calls:
        names = max(cell_len(_names(call).plain), len(SERVER_INITIATED) if call.server_initiated else 0)
        cells = [names, *(cell_len(str(cell)) for cell in _row(call, longest, wide=True)[1:])]
        widths = list(map(max, widths, cells))
    return INDENT + sum(widths) + WIDE_GAP * len(TITLES)


def lines(run: RunRecord, rows: int | None = None) -> RenderableType:
    """One line for each call, or for the `rows` most telling: those that last, then those that sound worst."""
    order = range(len(run.calls))
    chosen = (
        list(order)
        if rows is None
        else sorted(sorted(order, key=lambda each: _urgency(run.calls[each]))[:rows])
    )
    grid = Table.grid(padding=(0, 2, 0, 0))
    for right in (False, True, True, False):
        grid.add_column(justify="right" if right else "left", no_wrap=True, overflow="ellipsis")
    for call in (run.calls[index] for index in chosen):
        if not _there(call):
            grid.add_row(_names(call), Text(_outcome(call), WARN), "", "")
            continue
        scores = Text()
        for direction in call.directions:
            if direction.mos is not None:
                scores.append("  " if scores else "MOS ", FAINT)
                scores.append(f"{direction.mos:.2f}", f"bold {mos_colour(direction.mos)}")
                scores.append(f" {direction.listener}", FAINT)
        loss = _worst(call, "loss")
        grid.add_row(
            _names(call),
            seconds(call.setup_time),
            Text(f"loss {per_cent(loss)}", BAD if loss else FAINT),
            scores,
        )
    hidden = len(run.calls) - len(chosen)
    more = [Text(f"   and {hidden} more calls", FAINT)] if hidden else []
    return Group(Padding(grid, (0, 0, 0, 3)), *more)


def sightings(run: RunRecord) -> Iterator[Text]:
    """Which addresses the PBXs saw."""
    by_pbx: dict[str, Text] = {}
    for sighting in run.sightings:
        true = sighting.seen == sighting.true
        text = by_pbx.setdefault(
            sighting.pbx, Text.assemble(("   ", ""), (f"{sighting.pbx} saw", FAINT), overflow="fold")
        )
        text.append(f"   {sighting.user} ")
        text.append(sighting.seen, GOOD if true else BAD)
        if not true:
            text.append(f" (truly {sighting.true})", BAD)
    yield from by_pbx.values()


def _there(call: CallRecord) -> bool:
    return call.outcome in ("answered", "trying")


def _outcome(call: CallRecord) -> str:
    return _OUTCOMES.get(call.outcome, call.outcome)


def _names(call: CallRecord) -> Text:
    return Text.assemble(call.caller, (" ↔ " if _there(call) else " ⇢ ", FAINT), call.callee)


def _urgency(call: CallRecord) -> tuple[bool, float]:
    scores = [direction.mos for direction in call.directions if direction.mos is not None]
    return call.ended is not None, min(scores, default=0.0)


def _worst(call: CallRecord, what: str) -> float | None:
    heard = (getattr(direction, what) for direction in call.directions if direction.packets)
    return max((value for value in heard if value is not None), default=None)


def _row(call: CallRecord, longest: int, wide: bool) -> list[str | Text]:
    names = _names(call)
    if call.server_initiated and wide:
        names.append(f"  {SERVER_INITIATED}", f"italic {FAINT}")
    if not _there(call):
        return [names, Text(_outcome(call), WARN), "", "", "", ""]
    scores = Text()
    for direction in call.directions:
        if direction.packets and direction.mos is not None:
            colour = mos_colour(direction.mos)
            full, missing = mos_bar(direction.mos, 8 if wide else 4)
            scores.append("\n" if scores and not wide else "")
            scores.append(f"{direction.listener:<{longest}} ", FAINT)
            scores.append(f"{direction.mos:.2f} ", f"bold {colour}")
            scores.append(full, colour).append(f"{missing}   " if wide else missing, DARK)
    loss = _worst(call, "loss")
    return [
        names, seconds(call.setup_time), Text(per_cent(loss), BAD if loss else ""), seconds(_worst(call, "jitter")),
        seconds(_worst(call, "gap_max")), scores,
    ]  # fmt: skip
