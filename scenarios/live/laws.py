"""What must hold: invariants and thresholds."""

from __future__ import annotations

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from scenarios.live.style import BAD, FAINT, GOOD, glyph
from scenarios.report import AccountRecord, RunRecord, State, unsaid
from scenarios.runner.programs import LAW

SHOWN = 3
"""Details of each invariant."""


def table(run: RunRecord) -> RenderableType:
    """A row for each invariant."""
    grid = _grid()
    for law in run.invariants:
        text = Text(law.text)
        if law.id == "accounting" and law.holds:
            text = _account(run.accounts)
        grid.add_row(_glyph(holds=law.holds), Text(law.id, FAINT), text)
        details = unsaid(run, law)
        for detail in (
            details[-SHOWN:] if law.id == LAW else details[:SHOWN]
        ):  # a traceback says it in its end
            grid.add_row("", "", Text(detail, BAD))
    return Padding(grid, (0, 0, 0, 3))


def lines(run: RunRecord) -> RenderableType:
    """All invariants in a line or two, and after them what is broken."""
    text = Text(overflow="fold")
    for law in run.invariants:
        text.append("✓" if law.holds else "✗", f"bold {GOOD if law.holds else BAD}")
        text.append(f"{law.id}  ", FAINT if law.holds else BAD)
    broken = next((law for law in run.invariants if not law.holds), None)
    if broken is not None:
        text.append(f"\n{(broken.details or [broken.text])[0]}", BAD)
    return Padding(text, (0, 0, 0, 3))


def thresholds(run: RunRecord) -> RenderableType:
    """A row for each limit, with what was measured."""
    grid = _grid()
    for limit in run.thresholds:
        saw = Text(limit.saw, GOOD if limit.holds else BAD)
        if limit.aborted:
            saw.append("  ended the run", BAD)
        grid.add_row(_glyph(holds=limit.holds), Text(f"{limit.key}: {limit.text}", FAINT), saw)
    return Padding(grid, (0, 0, 0, 3))


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    return grid


def _glyph(*, holds: bool) -> Text:
    return glyph(State.PASSED if holds else State.FAILED)


def _account(accounts: list[AccountRecord]) -> Text:
    inside = sum(account.packets_in for account in accounts)
    made = sum(account.generated for account in accounts)
    out = sum(account.packets_out for account in accounts)
    held = sum(account.held for account in accounts)
    reasons: dict[str, int] = {}
    for account in accounts:
        for reason, count in account.dropped.items():
            reasons[reason] = reasons.get(reason, 0) + count
    dropped = sum(reasons.values())
    why = f" ({', '.join(f'{reason} {count:,}' for reason, count in reasons.items())})" if reasons else ""
    text = Text(f"in {inside:,}")
    if made:
        text.append(f" + generated {made:,}")
    return text.append(f" = out {out:,} + dropped {dropped:,}{why} + held {held:,}")
