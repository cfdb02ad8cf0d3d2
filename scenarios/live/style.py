"""Colours and glyphs of the screen, and numbers as people read them."""

from __future__ import annotations

from rich.text import Text

from scenarios.checks import Ratio, Seconds
from scenarios.report import State

ACCENT = "#7aa2f7"
GOOD = "#73daca"
BAD = "#f7768e"
WARN = "#e0af68"
FAINT = "#6b7394"
DARK = "#3b4261"
VNETS = ("#7dcfff", "#bb9af7", "#ff9e64", "#9ece6a")
"""One colour for each virtual network, in the order of the file."""

GLYPHS = {
    State.PENDING: ("·", FAINT),
    State.RUNNING: ("▸", ACCENT),
    State.PASSED: ("✓", GOOD),
    State.FAILED: ("✗", BAD),
    State.INTERRUPTED: ("■", WARN),
    State.ERROR: ("✗", BAD),
    State.SKIPPED: ("–", FAINT),
    State.UNAVAILABLE: ("–", WARN),
}

VERDICTS = {
    State.PENDING: ("NOT RUN", f"bold #1a1b26 on {FAINT}"),
    State.RUNNING: ("RUNNING", f"bold #1a1b26 on {ACCENT}"),
    State.PASSED: ("PASS", f"bold #1a1b26 on {GOOD}"),
    State.FAILED: ("FAIL", f"bold #1a1b26 on {BAD}"),
    State.INTERRUPTED: ("INTERRUPTED", f"bold #1a1b26 on {WARN}"),
    State.ERROR: ("ERROR", f"bold #1a1b26 on {BAD}"),
    State.SKIPPED: ("SKIPPED", f"bold #1a1b26 on {FAINT}"),
    State.UNAVAILABLE: ("NOT AVAILABLE", f"bold #1a1b26 on {WARN}"),
}

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(values: list[float], width: int) -> str:
    """The last `width` values as blocks, the greatest near full height."""
    shown = values[-width:]
    top = max(shown, default=0.0) * 1.3  # steady traffic is a line, not a wall
    if top <= 0:
        return _BLOCKS[0] * len(shown)
    return "".join(_BLOCKS[min(7, int(value / top * 7.999))] for value in shown)


def mos_bar(mos: float, cells: int = 8) -> tuple[str, str]:
    """MOS from 1 to 4.5 as a bar: what is there, and what is missing."""
    full = round(max(0.0, min(1.0, (mos - 1) / 3.5)) * cells)
    return "━" * full, "━" * (cells - full)


def mos_colour(mos: float) -> str:
    """Satisfaction classes of G.107 Annex B, in three colours."""
    return GOOD if mos >= 4.03 else WARN if mos >= 3.1 else BAD


def glyph(state: State) -> Text:
    sign, colour = GLYPHS[state]
    return Text(sign, f"bold {colour}")


def seconds(value: float | None) -> str:
    return "-" if value is None else str(Seconds(value))


def per_cent(value: float | None) -> str:
    return "-" if value is None else str(Ratio(value))


def clock(value: float) -> str:
    return f"{int(value) // 60:02d}:{int(value) % 60:02d}"


def again(label: str, command: str) -> Text:
    """On one line, however long: it is there to be pasted. (So the console that prints it must not crop.)"""
    return Text.assemble((f"   {label}  ", FAINT), command, no_wrap=True, overflow="ignore")
