"""Steps, calls and faults over time. Widths are per cent, so that the text keeps its size on every screen."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from scenarios.report.html.axis import ticks
from scenarios.report.html.markup import Markup, element, join
from scenarios.report.html.words import MARKS, moment, mos_class, short
from scenarios.report.record import CallRecord, RunRecord

MOST_ROWS = 60
MOST_CALLS = 40
MOST_FAULTS = 200
LABELS = 30.0
"""Per cent of the width, where the labels stand on the left."""


class Row(NamedTuple):
    mark: str
    colour: str
    name: str
    bars: list[tuple[float, float, str, str]]
    """From, to, class, and what a pointer shows."""


def timeline(run: RunRecord) -> Markup:
    """Labels beside the bars, and for a phone above them."""
    rows = list(_steps(run))[:MOST_ROWS] + list(_calls(run))[:MOST_CALLS]
    end = (
        max(
            [run.elapsed, *(bar[1] for row in rows for bar in row.bars), *(f.at for f in run.faults)],
            default=0.0,
        )
        or 1.0
    )
    return join(_draw(run, rows, end, beside=True), _draw(run, rows, end, beside=False))


def _steps(run: RunRecord) -> Iterator[Row]:
    for step in run.steps:
        mark, colour = MARKS[step.state]
        bars = []
        if step.started is not None:
            end = run.elapsed if step.ended is None else step.ended
            tip = f"{step.name}: {moment(step.started)} to {moment(end)}"
            bars.append((step.started, end, f"f-{step.state}", tip))
        yield Row(mark, colour, step.name, bars)


def _calls(run: RunRecord) -> Iterator[Row]:
    for call in run.calls:
        if call.started is None:
            continue
        end = run.elapsed if call.ended is None else call.ended
        name = (
            f"{call.caller} ↔ {call.callee}"
            if call.outcome == "answered"
            else f"{call.caller} ⇢ {call.callee}"
        )
        bars = [(call.started, end, "f-call", f"{name}: {moment(call.started)} to {moment(end)}")]
        bars += _heard(call, end)
        yield Row("☎", "soft", name, bars)


def _heard(call: CallRecord, end: float) -> Iterator[tuple[float, float, str, str]]:
    """The worse side of each stretch, in the colour of how it sounded."""
    worst: dict[float, tuple[float, str]] = {}
    for direction in call.directions:
        for window in direction.windows:
            if window.mos is not None and window.mos <= worst.get(window.start, (9.0, ""))[0]:
                worst[window.start] = window.mos, direction.listener
    starts = sorted(worst)
    for start, until in pairwise([*starts, end]):
        score, listener = worst[start]
        name = {"good": "passed", "warn": "interrupted", "bad": "failed"}[mos_class(score)]
        if until > start:
            yield start, until, f"f-{name}", f"from {moment(start)}: MOS {score:.2f} heard by {listener}"


def _draw(run: RunRecord, rows: list[Row], end: float, *, beside: bool) -> Markup:
    left = LABELS if beside else 0.0
    scale = (99.5 - left) / end
    step, top = (23, 22) if beside else (36, 22)
    lane = 20 if run.faults else 0
    height = top + lane + step * len(rows) + 6

    def at(seconds: float) -> str:
        return f"{left + seconds * scale:.3f}%"

    parts = []
    for tick in ticks(0.0, end, 10 if beside else 5):
        x = at(tick)
        parts.append(element("line", x1=x, x2=x, y1=top - 4, y2=height, class_="hair"))
        anchor = "start" if tick == 0 else "end" if tick * scale + left > 95 else "middle"
        parts.append(element("text", f"{tick:g} s", x=x, y=12, text_anchor=anchor, class_="t-small t-soft"))
    for fault in run.faults[:MOST_FAULTS]:
        x = at(fault.at)
        what = element("title", f"{moment(fault.at)}: {fault.kind} {fault.target}: {fault.text}")
        parts.append(element("line", x1=x, x2=x, y1=top + 4, y2=height, class_="s-fault"))
        parts.append(element("circle", what, cx=x, cy=top + 7, r=5, class_="f-fault"))
    if run.faults and beside:
        parts.append(element("text", f"⚡ faults ({len(run.faults)})", x=0, y=top + 11, class_="t-soft"))
    for index, row in enumerate(rows):
        y = top + lane + step * index
        parts.append(_label(row, y, *((42, f"{LABELS - 1}%") if beside else (52, "100%"))))
        middle = y + 4 if beside else y + 20
        for start, until, kind, tip in row.bars:
            width = max(until - start, 0.0) * scale
            parts.append(
                element(
                    "rect",
                    element("title", tip),
                    x=at(start),
                    y=middle,
                    width=f"{max(width, 0.35):.3f}%",
                    height=11 if beside else 10,
                    rx=2,
                    class_=kind,
                )
            )
    return element(
        "svg", *parts, height=height, class_="wide" if beside else "narrow", role="img",
        aria_label=f"{len(rows)} steps and calls over {end:.1f} seconds",
    )  # fmt: skip


def _label(row: Row, y: float, letters: int, width: str) -> Markup:
    fill = {"good": "var(--good)", "bad": "var(--bad)", "warn": "var(--warn)"}.get(row.colour, "var(--soft)")
    text = element(
        "text", element("title", row.name), element("tspan", row.mark, style=f"fill:{fill}", font_weight="700"),
        element("tspan", short(row.name, letters), x=20), x=0, y=14,
    )  # fmt: skip
    # Letters keep their size while the page narrows: what has no room ends before the bars.
    return element("svg", text, y=y, width=width, height=20, style=f"width:{width};overflow:hidden")
