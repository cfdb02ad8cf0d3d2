"""Metrics keep what was added, by tags, within bounded memory."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.checks.metrics import Declared, Kind, MetricError, Metrics, Trend, window_tag
from scenarios.checks.values import Seconds
from scenarios.proto.histogram import Histogram

DELAY = Declared("udp.delay", Kind.TREND, Seconds, ("from", "to"))
SENT = Declared("udp.sent", Kind.COUNTER)
LIVE = Declared("calls.live", Kind.GAUGE)
GOOD = Declared("calls.good", Kind.RATE)
FLOATS = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50)


@settings(deadline=None)
@given(FLOATS)
def test_a_trend_knows_what_the_statistics_module_knows(values: list[float]) -> None:
    trend = Trend()
    for value in values:
        trend.add(value)
    near = {"rel_tol": 1e-9, "abs_tol": 1e-6}
    assert math.isclose(trend.average() or 0.0, statistics.fmean(values), **near)
    assert math.isclose(trend.percentile(50) or 0.0, statistics.median(values), **near)
    assert (trend.minimum(), trend.maximum(), trend.count) == (min(values), max(values), len(values))
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    for number, cut in enumerate(cuts, 1):
        assert math.isclose(trend.percentile(5 * number) or 0.0, cut, **near)


def test_after_many_samples_a_trend_is_within_one_per_cent() -> None:
    trend, values = Trend(exact=100), [0.02 + 0.0001 * n for n in range(1000)]
    for n, value in enumerate(values):
        trend.add(value)
        assert trend.is_exact is (n < 100)
    for percent in (1, 50, 95, 99):
        exact = statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
        assert math.isclose(trend.percentile(percent) or 0.0, exact, rel_tol=0.01)
    assert (trend.minimum(), trend.maximum(), trend.count) == (values[0], values[-1], 1000)
    assert math.isclose(trend.average() or 0.0, statistics.fmean(values))


def test_several_trends_are_judged_as_one() -> None:
    short, long = Trend(exact=10), Trend(exact=10)
    for n in range(5):
        short.add(n)
    for n in range(20):
        long.add(100 + n)
    assert Trend.of([short, short]).is_exact
    assert Trend.of([short, short]).percentile(50) == 2
    both = Trend.of([short, long])
    assert not both.is_exact
    assert (both.count, both.minimum(), both.maximum()) == (25, 0, 119)
    assert Trend.of([]).percentile(50) is None


def test_too_many_exact_samples_are_not_copied_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scenarios.checks.metrics.MAX_EXACT_TOGETHER", 9)
    trend = Trend()
    for n in range(5):
        trend.add(n)
    assert not Trend.of([trend, trend]).is_exact


def test_series_are_selected_by_the_tags_that_they_have() -> None:
    metrics = Metrics([DELAY])
    metrics.add("udp.delay", 0.1, **{"from": "alice", "to": "hq/pbx"})
    metrics.add("udp.delay", 0.2, **{"to": "hq/pbx", "from": "alice"})
    metrics.add("udp.delay", 0.3, **{"from": "bob", "to": "hq/pbx"})
    assert [s.trend.count for s in metrics.select("udp.delay")] == [2, 1]
    assert [s.trend.count for s in metrics.select("udp.delay", {"from": "bob"})] == [1]
    assert [s.trend.count for s in metrics.select("udp.delay", {"to": "hq/pbx"})] == [2, 1]
    assert metrics.select("udp.delay", {"from": "eve"}) == []


def test_pieces_of_a_run_are_only_seen_by_who_asks_for_that_window() -> None:
    metrics = Metrics([DELAY])
    metrics.add("udp.delay", 0.1, to="a")
    metrics.add("udp.delay", 0.5, to="a", window=window_tag(10.0))
    metrics.add("udp.delay", 0.6, to="a", window=window_tag(1.0))
    assert [s.trend.maximum() for s in metrics.select("udp.delay", {"to": "a"})] == [0.1]
    assert [s.trend.maximum() for s in metrics.select("udp.delay", {"window": "10s"})] == [0.5]


def test_counters_gauges_and_rates() -> None:
    metrics = Metrics([SENT, LIVE, GOOD])
    for value in (1, 2.5):
        metrics.add("udp.sent", value)
    for value in (3, 9, 4):
        metrics.add("calls.live", value)
    for value in (True, False, True, 7):
        metrics.add("calls.good", value)
    (sent,), (live,), (good,) = (metrics.select(m) for m in ("udp.sent", "calls.live", "calls.good"))
    assert sent.number.value == 3.5
    assert (live.number.value, live.number.minimum, live.number.maximum) == (4, 3, 9)
    assert (good.number.value, good.number.count) == (3, 4)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["udp.delay", "udp.sent", "calls.live", "calls.good"])
def test_what_is_no_number_is_counted_and_left_out(name: str, value: float) -> None:
    metrics = Metrics([DELAY, SENT, LIVE, GOOD])
    metrics.add(name, value)
    assert metrics.rejected == {name: 1}
    assert metrics.select(name) == []


def test_a_counter_does_not_fall() -> None:
    metrics = Metrics([SENT, LIVE])
    metrics.add("udp.sent", 5)
    metrics.add("udp.sent", -1)
    metrics.add("calls.live", -1)
    assert metrics.select("udp.sent")[0].number.value == 5
    assert metrics.rejected == {"udp.sent": 1}
    assert metrics.select("calls.live")[0].number.value == -1


def test_series_are_capped_and_what_comes_later_still_counts_in_the_whole() -> None:
    metrics = Metrics([SENT], max_series=3)
    for n in range(10):
        metrics.add("udp.sent", 1, source=str(n))
    assert len(metrics.select("udp.sent")) == 4
    assert metrics.overflowed == {"udp.sent": 7}
    assert sum(s.number.value for s in metrics.select("udp.sent")) == 10
    metrics.add("udp.sent", 1, source="0")
    assert metrics.select("udp.sent", {"source": "0"})[0].number.value == 2


def test_unknown_names_are_mistakes_with_a_way_out() -> None:
    metrics = Metrics([DELAY])
    with pytest.raises(MetricError, match=r"no metric 'udp\.dealy'") as info:
        metrics.add("udp.dealy", 1)
    assert info.value.fix == "did you mean 'udp.delay'?"
    with pytest.raises(MetricError, match="no tag 'form'") as info:
        metrics.add("udp.delay", 1, form="alice")
    assert info.value.fix == "known: from, to"
    with pytest.raises(MetricError, match="no metric 'x'"):
        metrics.select("x")


def test_a_metric_is_declared_one_way() -> None:
    metrics = Metrics([DELAY])
    metrics.declare(*("udp.delay", Kind.TREND, Seconds, ("from", "to")))
    with pytest.raises(MetricError, match="declared twice"):
        metrics.declare("udp.delay", Kind.GAUGE)
    assert metrics.declared("udp.delay") == DELAY


def test_a_trend_takes_what_was_counted_elsewhere() -> None:
    metrics = Metrics([DELAY, SENT])
    counted = Histogram()
    for value in (1.0, 2.0, 3.0):
        counted.add(value)
    metrics.add("udp.delay", 10.0)
    metrics.add_histogram("udp.delay", counted)
    metrics.add_histogram("udp.delay", Histogram(), to="nobody")
    (series,) = metrics.select("udp.delay")
    assert (series.trend.count, series.trend.minimum(), series.trend.maximum()) == (4, 1.0, 10.0)
    assert series.trend.average() == 4.0
    assert series.trend.percentile(50) == pytest.approx(2.5, rel=0.01)
    with pytest.raises(MetricError, match="a counter"):
        metrics.add_histogram("udp.sent", counted)
