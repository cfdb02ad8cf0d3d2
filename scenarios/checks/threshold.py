"""Thresholds: what a run's metrics must reach. k6's grammar: ``rtp.mos{call=call}: ["avg >= 4.0"]``.

The key names a metric and the tags of the series that count; ``window=10s`` selects what was measured over pieces of
that length. The condition is ``<aggregate> <operator> <value>``:

| kind | aggregates |
| --- | --- |
| trend | ``avg``, ``min``, ``max``, ``med``, ``p(N)``, ``count`` |
| counter | ``count`` and ``value`` (the total), ``rate`` (per second) |
| gauge | ``value`` (the last; of several series each one must fulfil it), ``min``, ``max`` |
| rate | ``rate`` and ``value`` (share of samples that are not zero), ``count`` (samples) |

Two things differ from k6, each to catch a test that passes by mistake: a threshold on samples that never came fails,
and a time has a unit (``p(95) < 800`` of a metric in seconds is an error). Numbers that differ by rounding are equal.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import isclose

from scenarios.checks.expression import UNITS, ExpressionError
from scenarios.checks.metrics import Declared, Kind, MetricError, Metrics, Series, Tags, Trend, window_tag
from scenarios.checks.values import Plain, Ratio, Seconds, show

MAX_LENGTH = 200

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
AGGREGATES: dict[Kind, tuple[str, ...]] = {
    Kind.TREND: ("avg", "min", "max", "med", "p", "count"),
    Kind.COUNTER: ("count", "value", "rate"),
    Kind.GAUGE: ("value", "min", "max"),
    Kind.RATE: ("rate", "value", "count"),
}
_KNOWN = ("avg", "min", "max", "med", "p", "count", "rate", "value")
_EXAMPLE = "write for example: p(95) < 800ms"

_KEY = re.compile(r"([A-Za-z][\w.]*)\s*(?:\{(.*)\})?", re.ASCII)
_TAG = re.compile(r"\s*([A-Za-z]\w*)\s*=\s*([^\s={},\"']+|\"[^\"]*\"|'[^']*')\s*", re.ASCII)
_TAG_SPLIT = re.compile(r""",(?=(?:[^"']|"[^"]*"|'[^']*')*$)""")
_CONDITION = re.compile(
    r"(?P<name>[A-Za-z]+)\s*(?:\((?P<percent>[^()]*)\))?\s*(?P<operation>[<>=!]+)\s*(?P<value>\S.*)", re.ASCII
)
_VALUE = re.compile(r"(?P<number>[+-]?\d+(?:\.\d+)?)\s*(?P<unit>[A-Za-z]+|%)?", re.ASCII)


class ThresholdError(ExpressionError):
    """A threshold cannot be read, or asks a metric for what it does not have; `fix` says what to write."""


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric and the tags that its series must have. `window`, in seconds, is among `tags` too."""

    metric: str
    tags: Tags = ()
    window: float | None = None


@dataclass(frozen=True, slots=True)
class Threshold:
    """One condition. `abort`: end the run as soon as it fails, but not before `after` seconds of it."""

    key: str
    text: str
    selector: Selector
    aggregate: str
    percent: float
    operation: str
    limit: float
    unit: str
    abort: bool = False
    after: float = 0.0

    def holds(self, saw: float) -> bool:
        """Compare; a mean of 4.2 that arithmetic made 4.199999999999999 is 4.2."""
        return OPERATORS[self.operation](self.limit if isclose(saw, self.limit) else saw, self.limit)

    def check(self, catalogue: Metrics) -> None:
        """Raise ThresholdError if this metric, tag, aggregate or unit cannot be; needs no samples."""
        try:
            metric = catalogue.declared(self.selector.metric)
        except MetricError as error:
            raise ThresholdError(str(error), error.fix) from None
        if metric.tags is not None:
            for tag, _ in self.selector.tags:
                if tag != "window" and tag not in metric.tags:
                    raise _unknown(f"metric {metric.name!r} has no tag", tag, metric.tags)
        if self.aggregate not in AGGREGATES[metric.kind]:
            known = ", ".join("p(N)" if name == "p" else name for name in AGGREGATES[metric.kind])
            raise ThresholdError(
                f"{self.aggregate!r} cannot be asked of {metric.name!r}, which is a {metric.kind}",
                f"one of {known}",
            )
        self._check_unit(metric)

    def _check_unit(self, metric: Declared) -> None:
        measure = _measure(metric, self.aggregate)
        if measure is Seconds and self.unit == "" and self.limit:
            number = f"{self.limit:g}"
            raise ThresholdError(f"{number} of what?", f"write {number}ms or {number}s")
        if measure is Seconds and self.unit == "%":
            raise ThresholdError(f"{metric.name!r} is a time, not a share", "write for example 20ms")
        if measure is not Seconds and self.unit not in ("", "%"):
            raise ThresholdError(f"{self.aggregate} of {metric.name!r} is not a time", "leave the unit out")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a threshold holds and what it saw; `saw` is None, and `holds` false, if nothing was measured."""

    threshold: Threshold
    holds: bool
    saw: Plain
    series: Tags = ()
    """Of a gauge with several series: the one that was seen."""

    @property
    def text(self) -> str:
        """As in a report: ``sip.setup_time{actor=fleet}: p(95) < 800ms: saw 912 ms``."""
        saw = "nothing was measured" if self.saw is None else f"saw {show(self.saw)}"
        where = (
            " (" + ", ".join(f"{name}={value}" for name, value in self.series) + ")" if self.series else ""
        )
        return f"{self.threshold.key}: {self.threshold.text}: {saw}{where}"


def parse(key: str, item: object) -> Threshold:
    """One item of the list under `key`: a condition, or ``{expr: ..., abort: true, after: 10s}``.

    Raises ThresholdError.
    """
    selector = parse_key(key)
    if isinstance(item, str):
        return _condition(key, selector, item)
    if not isinstance(item, Mapping):
        raise ThresholdError(f"a threshold is a text, not {type(item).__name__}", _EXAMPLE)
    for word in item:
        if word not in ("expr", "abort", "after"):
            raise _unknown("a threshold has no", str(word), ("expr", "abort", "after"))
    text, abort, after = item.get("expr"), item.get("abort", False), item.get("after", "0s")
    if not isinstance(text, str):
        raise ThresholdError("a threshold needs expr", 'write {expr: "p(95) < 800ms", abort: true}')
    if not isinstance(abort, bool):
        raise ThresholdError(f"abort is true or false, not {abort!r}", "write abort: true")
    return _condition(key, selector, text, abort=abort, after=_duration("after", str(after)))


def parse_key(text: str) -> Selector:
    """``metric{tag=value,tag2="v 2",window=10s}``; raises ThresholdError."""
    match = _KEY.fullmatch(text.strip()) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise ThresholdError(f"cannot read the metric {text[:MAX_LENGTH]!r}", "write name or name{tag=value}")
    tags: dict[str, str] = {}
    window = None
    for part in _TAG_SPLIT.split(match[2]) if match[2] is not None else ():
        tag = _TAG.fullmatch(part)
        if tag is None:
            raise ThresholdError(f"cannot read the tag {part.strip()!r} of {text!r}", "write tag=value")
        name, value = tag[1], tag[2].strip("\"'")
        if name in tags:
            raise ThresholdError(f"tag {name!r} is there twice", "a series has one value for each tag")
        if name == "window":
            window = _duration("window", value)
            if not window:
                raise ThresholdError("a window has a length", "write for example window=10s")
            value = window_tag(window)
        tags[name] = value
    return Selector(match[1], tuple(sorted(tags.items())), window)


def _condition(
    key: str, selector: Selector, text: str, *, abort: bool = False, after: float = 0.0
) -> Threshold:
    match = _CONDITION.fullmatch(text.strip()) if len(text) <= MAX_LENGTH else None
    if match is None:
        raise ThresholdError(f"cannot read {text[:MAX_LENGTH]!r}", f"{_EXAMPLE}: aggregate, operator, value")
    name, written = match["name"], match["percent"]
    if name not in _KNOWN:
        raise _unknown("there is no aggregate", name, _KNOWN)
    if match["operation"] not in OPERATORS:
        raise ThresholdError(f"there is no operator {match['operation']!r}", f"one of {', '.join(OPERATORS)}")
    if (name == "p") is not (written is not None):
        fix = "write p(95)" if name == "p" else f"write {name} without brackets"
        raise ThresholdError(f"{name!r} {'needs' if name == 'p' else 'takes no'} number in brackets", fix)
    percent = _percent(written) if written is not None else 50.0
    value = _VALUE.fullmatch(match["value"].strip())
    if value is None:
        raise ThresholdError(f"cannot read the value {match['value']!r}", "write a number, with ms, s or %")
    unit = value["unit"] or ""
    if unit and unit not in UNITS:
        raise _unknown("there is no unit", unit, tuple(UNITS))
    limit = float(value["number"]) * (UNITS[unit] if unit else 1.0)
    return Threshold(
        key, text.strip(), selector, name, percent, match["operation"], limit, unit, abort, after
    )


def _percent(text: str) -> float:
    number = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*", text, re.ASCII)
    if number is None or float(number[1]) > 100:
        raise ThresholdError(f"{text!r} is no percentile", "a number from 0 to 100, as in p(95) or p(99.9)")
    return float(number[1])


def _duration(name: str, text: str) -> float:
    match = _VALUE.fullmatch(text)
    if match is None or match["unit"] not in UNITS or match["unit"] == "%" or match["number"][0] == "-":
        raise ThresholdError(f"{name} is a time, not {text!r}", f"write for example {name}: 10s")
    return float(match["number"]) * UNITS[match["unit"]]


def _unknown(message: str, word: str, known: tuple[str, ...]) -> ThresholdError:
    near = get_close_matches(word.lower(), known, n=1)
    names = ", ".join("p(N)" if name == "p" else name for name in known) or "none"
    return ThresholdError(f"{message} {word!r}", f"did you mean {near[0]!r}?" if near else f"one of {names}")


def evaluate(threshold: Threshold, metrics: Metrics, elapsed: float) -> Verdict:
    """Judge at any moment, `elapsed` seconds into the run (only a counter's rate needs them).

    Raises ThresholdError as `Threshold.check` does.
    """
    threshold.check(metrics)
    metric = metrics.declared(threshold.selector.metric)
    found = metrics.select(metric.name, threshold.selector.tags)
    measure = _measure(metric, threshold.aggregate)
    if metric.kind is Kind.GAUGE and threshold.aggregate == "value":
        return _each(threshold, found, measure)
    saw = _observe(threshold, metric.kind, found, elapsed)
    if saw is None:
        return Verdict(threshold, False, None)
    whole = threshold.aggregate == "count" and saw == int(saw)
    return Verdict(threshold, threshold.holds(saw), int(saw) if whole else measure(saw))


def evaluate_all(thresholds: Iterable[Threshold], metrics: Metrics, elapsed: float) -> list[Verdict]:
    """The verdicts at the end of a run, in the order of the file."""
    return [evaluate(threshold, metrics, elapsed) for threshold in thresholds]


def first_abort(thresholds: Iterable[Threshold], metrics: Metrics, elapsed: float) -> Verdict | None:
    """The first threshold with `abort` that has samples and fails now: the run should end."""
    for threshold in thresholds:
        if threshold.abort and elapsed >= threshold.after:
            verdict = evaluate(threshold, metrics, elapsed)
            if not verdict.holds and verdict.saw is not None:
                return verdict
    return None


def _each(threshold: Threshold, found: list[Series], measure: type[float]) -> Verdict:
    """A gauge's last values: the first series that fails decides, otherwise the last one is shown."""
    verdict = Verdict(threshold, False, None)
    for series in found:
        good = threshold.holds(series.number.value)
        tags = series.tags if len(found) > 1 else ()
        verdict = Verdict(threshold, good, measure(series.number.value), tags)
        if not good:
            break
    return verdict


def _observe(threshold: Threshold, kind: Kind, found: list[Series], elapsed: float) -> float | None:
    aggregate = threshold.aggregate
    if kind is Kind.TREND:
        trend = Trend.of(series.trend for series in found)
        match aggregate:
            case "avg":
                return trend.average()
            case "min":
                return trend.minimum()
            case "max":
                return trend.maximum()
            case "count":
                return trend.count
        return trend.percentile(threshold.percent)
    total = sum(series.number.value for series in found)
    if kind is Kind.COUNTER:
        if aggregate == "rate":
            return total / elapsed if elapsed > 0 else None
        return total  # none were counted is a count
    if kind is Kind.GAUGE:
        bounds = [getattr(series.number, f"{aggregate}imum") for series in found]
        return (min if aggregate == "min" else max)(bounds, default=None)
    samples = sum(series.number.count for series in found)
    if aggregate == "count":
        return samples
    return total / samples if samples else None


def _measure(metric: Declared, aggregate: str) -> type[float]:
    """What the observed number is a number of."""
    if aggregate == "count" or (metric.kind is Kind.COUNTER and aggregate == "rate"):
        return float
    return Ratio if metric.kind is Kind.RATE else metric.measure
