"""What a run measured: named metrics, each with series by tags, in bounded memory.

A *trend* keeps samples: all of the first `exact` (percentiles are then exact), afterwards a `Histogram` whose
percentiles are within 1 %. A *counter* only grows, a *gauge* holds the last value, a *rate* is the share of samples
that are not zero. The names are k6's.

``window`` is a tag with a meaning: the producer has cut the run into pieces of that length and measured each by
itself. Such series are another view of the same thing, so they are selected only by a selector that names the window.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from math import isfinite

from scenarios.proto.histogram import Histogram, average, percentile

EXACT_SAMPLES = 5000
MAX_SERIES = 1000
MAX_EXACT_TOGETHER = 100_000
"""Samples of several series that are put together for one exact percentile; of more, it is within 1 %."""

Tags = tuple[tuple[str, str], ...]
"""Sorted by name."""


class Kind(StrEnum):
    TREND = "trend"
    COUNTER = "counter"
    GAUGE = "gauge"
    RATE = "rate"


def window_tag(seconds: float) -> str:
    """The value of the tag ``window`` for pieces of that length: ``10s``."""
    return f"{seconds:g}s"


class MetricError(Exception):
    """A metric that nobody declared, or that is declared otherwise; `fix` says what to write instead."""

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Declared:
    """A metric's kind, its measure (`Seconds`, `Ratio`, or `float` for a plain number) and tag names."""

    name: str
    kind: Kind
    measure: type[float] = float
    tags: tuple[str, ...] | None = None
    """None: any."""


class Trend:
    """Samples of one series, or of several that were put together."""

    __slots__ = ("_exact", "_histogram", "_samples")

    def __init__(self, exact: int = EXACT_SAMPLES) -> None:
        self._exact = exact
        self._samples = array("d")
        self._histogram: Histogram | None = None

    @property
    def count(self) -> int:
        return self._histogram.count if self._histogram else len(self._samples)

    @property
    def is_exact(self) -> bool:
        return self._histogram is None

    def add(self, value: float) -> None:
        if self._histogram is not None:
            self._histogram.add(value)
            return
        self._samples.append(value)
        if len(self._samples) > self._exact:
            self._histogram = self._as_histogram()
            self._samples = array("d")

    def merge(self, histogram: Histogram) -> None:
        """Add all samples of `histogram`; from then on this trend is no longer exact."""
        if self._histogram is None:
            self._histogram = self._as_histogram()
            self._samples = array("d")
        self._histogram.merge(histogram)

    def minimum(self) -> float | None:
        return self._histogram.minimum if self._histogram else min(self._samples, default=None)

    def maximum(self) -> float | None:
        return self._histogram.maximum if self._histogram else max(self._samples, default=None)

    def average(self) -> float | None:
        if self._histogram is not None:
            return self._histogram.average
        return average(self._samples) if self._samples else None

    def percentile(self, percent: float) -> float | None:
        if self._histogram is not None:
            return self._histogram.percentile(percent)
        return percentile(sorted(self._samples), percent) if self._samples else None

    @classmethod
    def of(cls, trends: Iterable[Trend]) -> Trend:
        """All samples of `trends` in one; exact if each of them is and they are not too many."""
        trends = list(trends)
        whole = cls()
        few = sum(trend.count for trend in trends) <= MAX_EXACT_TOGETHER
        if few and all(trend.is_exact for trend in trends):
            for trend in trends:
                whole._samples.extend(trend._samples)
            return whole
        whole._histogram = Histogram()
        for trend in trends:
            whole._histogram.merge(trend._histogram or trend._as_histogram())
        return whole

    def _as_histogram(self) -> Histogram:
        histogram = Histogram()
        for sample in self._samples:
            histogram.add(sample)
        return histogram


@dataclass(slots=True)
class Number:
    """A counter's total, a gauge's last value, or how many samples of a rate are not zero."""

    value: float = 0.0
    count: int = 0
    minimum: float | None = None
    maximum: float | None = None

    def set(self, value: float) -> None:
        self.value = value
        self.count += 1
        self.minimum = value if self.minimum is None else min(self.minimum, value)
        self.maximum = value if self.maximum is None else max(self.maximum, value)


@dataclass(slots=True)
class Series:
    """One metric with one set of tags. `trend` of a trend, `number` of the other kinds."""

    tags: Tags
    trend: Trend
    number: Number


class Metrics:
    """Declared metrics and what was added to them, in the order in which series began."""

    def __init__(
        self,
        declared: Iterable[Declared] = (),
        *,
        exact: int = EXACT_SAMPLES,
        max_series: int = MAX_SERIES,
    ) -> None:
        self.catalogue: dict[str, Declared] = {}
        self.rejected: Counter[str] = Counter()
        """Values that are not finite, or would make a counter fall, by metric."""
        self.overflowed: Counter[str] = Counter()
        """Values by metric whose tags came after `max_series` others: they count in the whole, without tags."""
        self._exact = exact
        self._max_series = max_series
        self._series: dict[str, dict[Tags, Series]] = {}
        for metric in declared:
            self.declare(metric.name, metric.kind, metric.measure, metric.tags)

    def declare(
        self, name: str, kind: Kind, measure: type[float] = float, tags: tuple[str, ...] | None = None
    ) -> None:
        """Make `name` known; the same twice is fine, raises MetricError if it differs from before."""
        new = Declared(name, kind, measure, tags)
        old = self.catalogue.setdefault(name, new)
        if old != new:
            raise MetricError(f"metric {name!r} is declared twice, as {old.kind} and as {kind}")
        self._series.setdefault(name, {})

    def declared(self, name: str) -> Declared:
        """Raises MetricError, with the nearest name, if there is none."""
        if name not in self.catalogue:
            near = get_close_matches(name, list(self.catalogue), n=1)
            known = ", ".join(sorted(self.catalogue)) or "nothing"
            raise MetricError(
                f"there is no metric {name!r}", f"did you mean {near[0]!r}?" if near else f"known: {known}"
            )
        return self.catalogue[name]

    def add(self, name: str, value: float, /, **tags: str) -> None:
        """Add a sample to a trend or rate, `value` to a counter, or set a gauge.

        Raises MetricError for a metric or tag that is not declared: that is a mistake in a program.
        """
        metric = self.declared(name)
        if not isfinite(value) or (metric.kind is Kind.COUNTER and value < 0):
            self.rejected[name] += 1
            return
        series = self._of(metric, tuple(sorted(tags.items())))
        if metric.kind is Kind.TREND:
            series.trend.add(value)
        elif metric.kind is Kind.GAUGE:
            series.number.set(value)
        elif metric.kind is Kind.COUNTER:
            series.number.set(series.number.value + value)
        else:
            series.number.set(series.number.value + bool(value))

    def add_histogram(self, name: str, histogram: Histogram, /, **tags: str) -> None:
        """Add to a trend what was counted elsewhere. Raises MetricError as `add` does."""
        metric = self.declared(name)
        if metric.kind is not Kind.TREND:
            raise MetricError(f"metric {name!r} is a {metric.kind}, which takes no histogram")
        if histogram.count:
            self._of(metric, tuple(sorted(tags.items()))).trend.merge(histogram)

    def select(self, name: str, tags: Mapping[str, str] | Tags = ()) -> list[Series]:
        """The series that have all of `tags`; those of a window only if `tags` name it. Raises MetricError."""
        self.declared(name)
        wanted = dict(tags)
        found = []
        for series in self._series[name].values():
            have = dict(series.tags)
            if have.get("window") == wanted.get("window") and wanted.items() <= have.items():
                found.append(series)
        return found

    def _of(self, metric: Declared, tags: Tags) -> Series:
        known = self._series[metric.name]
        series = known.get(tags)
        if series is not None:
            return series
        if metric.tags is not None:
            for tag, _ in tags:
                if tag not in metric.tags and tag != "window":
                    raise MetricError(
                        f"metric {metric.name!r} has no tag {tag!r}", f"known: {', '.join(metric.tags)}"
                    )
        if len(known) >= self._max_series:
            self.overflowed[metric.name] += 1
            tags = tuple(tag for tag in tags if tag[0] == "window")
        return known.setdefault(tags, Series(tags, Trend(self._exact), Number()))
