"""Curves over time. The curve stretches with the page, the labels are ordinary text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from scenarios.report.html.axis import ceiling, ticks
from scenarios.report.html.markup import Markup, element, join
from scenarios.report.html.style import LISTENERS
from scenarios.report.html.words import FAIR_MOS, GOOD_MOS, moment, mos_class
from scenarios.report.record import CallRecord, DirectionRecord, FaultRecord, RunRecord

MOST_CHARTS = 24
MOST_FAULTS = 60
WINDOW = 10.0
"""Seconds of a call that are judged together."""

_LOWEST, _HIGHEST = 1.0, 4.5


class Curve(NamedTuple):
    name: str
    colour: str
    points: list[tuple[float, float]]


def plot(
    curves: Sequence[Curve], *, begin: float, end: float, low: float, high: float,
    levels: Sequence[tuple[float, str]], faults: Sequence[FaultRecord] = (), zones: Markup | None = None,
    height: int = 120, about: str = "",
) -> Markup:  # fmt: skip
    """`levels` are the labels of the vertical axis."""
    span = max(end - begin, 1e-9)

    def x(seconds: float) -> float:
        return 1000 * (seconds - begin) / span

    def y(value: float) -> float:
        return 100 * (1 - (min(max(value, low), high) - low) / (high - low))

    marks = [
        element("line", element("title", f"{moment(f.at)}: {f.kind} {f.target}: {f.text}"), x1=x(f.at), x2=x(f.at),
                y1=0, y2=100, class_="s-fault", vector_effect="non-scaling-stroke")
        for f in faults[:MOST_FAULTS] if begin <= f.at <= end
    ]  # fmt: skip
    lines = [
        element(
            "line", x1=0, x2=1000, y1=y(level), y2=y(level), class_="hair", vector_effect="non-scaling-stroke"
        )
        for level, _ in levels
    ]
    drawn = [
        element("path", element("title", curve.name), d=_path([(x(a), y(b)) for a, b in curve.points]), class_="line",
                style=f"stroke:{curve.colour}")
        for curve in curves if curve.points
    ]  # fmt: skip
    picture = element(
        "svg", zones, *lines, *marks, *drawn, viewBox="0 0 1000 100", preserveAspectRatio="none", role="img",
        aria_label=about, style=f"height:{height}px",
    )  # fmt: skip
    side = [element("span", name, style=f"top:{y(level):.2f}%") for level, name in levels]
    below = [
        element("span", f"{tick:g} s", style=f"left:{100 * (tick - begin) / span:.2f}%")
        for tick in ticks(begin, end, 5)
        if (tick - begin) / span < 0.97
    ]
    return element(
        "div",
        element(
            "div", element("div", *side, class_="side"), element("div", picture, class_="area"), class_="up"
        ),
        element("div", *below, class_="below"),
        class_="plot",
    )


def legend(curves: Sequence[Curve], *more: Markup) -> Markup:
    items = [element("li", element("i", style=f"background:{curve.colour}"), curve.name) for curve in curves]
    return element("ul", *items, *(element("li", each) for each in more), class_="legend")


# -- calls


def call_charts(run: RunRecord) -> Markup:
    """MOS of each ten seconds, as each side heard them; the worst calls if there are many."""
    judged = [call for call in run.calls if any(d.windows for d in call.directions)]
    judged.sort(key=_worst)
    shown = sorted(judged[:MOST_CHARTS], key=lambda call: call.started or 0.0)
    more = len(judged) - len(shown)
    note = (
        element("p", f"The {len(shown)} worst of {len(judged)} calls.", class_="soft") if more > 0 else None
    )
    return join(note, element("div", *(_call_chart(run, call) for call in shown), class_="charts"))


def _worst(call: CallRecord) -> float:
    windows = [w.mos for d in call.directions for w in d.windows if w.mos is not None]
    return min([*windows, *(d.mos for d in call.directions if d.mos is not None)], default=9.0)


def _call_chart(run: RunRecord, call: CallRecord) -> Markup:
    starts = [window.start for direction in call.directions for window in direction.windows]
    begin = min(starts)
    end = max(call.ended if call.ended is not None else run.elapsed, max(starts) + 0.1)
    curves = []
    for number, direction in enumerate(call.directions):
        score = f" MOS {direction.mos:.2f}" if direction.mos is not None else ""
        name = f"{direction.listener} heard{score}"
        curves.append(Curve(name, f"var(--l{number % LISTENERS})", _stairs(direction, end)))
    chart = plot(
        curves, begin=begin, end=end, low=_LOWEST, high=_HIGHEST,
        levels=[(4.5, "4.5"), (GOOD_MOS, "4.0"), (FAIR_MOS, "3.1"), (1.0, "1.0")],
        faults=run.faults, zones=_zones(), about=f"MOS of {call.caller} and {call.callee} over time",
    )  # fmt: skip
    title = f"{call.caller} ↔ {call.callee}" + (f" ({call.step})" if call.step else "")
    return element("div", element("h3", title), chart, legend(curves), class_="chart")


def _stairs(direction: DirectionRecord, end: float) -> list[tuple[float, float]]:
    """A stretch ends where the next one begins: it is shorter where the codec changed."""
    points: list[tuple[float, float]] = []
    until = [*(window.start for window in direction.windows[1:]), end]
    for window, following in zip(direction.windows, until, strict=False):
        if window.mos is not None:
            points += [(window.start, window.mos), (min(window.start + WINDOW, following, end), window.mos)]
    return points


def _zones() -> Markup:
    """Grounds in the colours of the satisfaction classes."""
    parts = []
    for low, high in ((GOOD_MOS, _HIGHEST), (FAIR_MOS, GOOD_MOS), (_LOWEST, FAIR_MOS)):
        span = _HIGHEST - _LOWEST
        top, bottom = 100 * (_HIGHEST - high) / span, 100 * (_HIGHEST - low) / span
        kind = f"z-{mos_class(low)}"
        parts.append(element("rect", x=0, width=1000, y=top, height=bottom - top, class_=kind))
    return join(*parts)


# -- the PoP


def traffic_charts(run: RunRecord) -> Markup:
    """Packets, drops, flows and tunnels as they were sampled."""
    samples, end = run.samples, max(run.elapsed, run.samples[-1].at)
    forwarded = Curve(
        "packets forwarded per second", "var(--l0)", [(s.at, s.packets_per_second) for s in samples]
    )
    dropped = Curve("dropped per second", "var(--bad)", [(s.at, s.dropped_per_second) for s in samples])
    flows = Curve("flows", "var(--l2)", [(s.at, float(s.flows)) for s in samples])
    tunnels = Curve("tunnels up", "var(--l3)", [(s.at, float(s.tunnels_up)) for s in samples])
    return element(
        "div",
        *(_traffic(run, curves, end) for curves in ([forwarded, dropped], [flows, tunnels])),
        class_="charts",
    )


def _traffic(run: RunRecord, curves: list[Curve], end: float) -> Markup:
    top = ceiling(max(value for curve in curves for _, value in curve.points))
    chart = plot(
        curves, begin=0.0, end=end, low=0.0, high=top,
        levels=[(top, _figure(top)), (top / 2, _figure(top / 2)), (0.0, "0")], faults=run.faults, height=140,
        about=" and ".join(curve.name for curve in curves),
    )  # fmt: skip
    return element("div", chart, legend(curves), class_="chart")


def _figure(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _path(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{'L' if index else 'M'}{x:.1f} {y:.2f}" for index, (x, y) in enumerate(points))
