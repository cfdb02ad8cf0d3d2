"""The bounded histogram is within its stated error of the exact answer, whatever comes in."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.proto.histogram import ERROR, LARGEST, MAX_BUCKETS, SMALLEST, Histogram, average, percentile

NUMBERS = st.floats(-1e9, 1e9).filter(lambda x: x == 0 or abs(x) > SMALLEST)


def filled(values: list[float]) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram


@settings(deadline=None)
@given(st.lists(NUMBERS, min_size=2, max_size=60))
def test_exact_percentiles_are_those_of_the_statistics_module(values: list[float]) -> None:
    ordered = sorted(values)
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    scale = max(map(abs, values))
    for percent, cut in enumerate(cuts, 1):
        assert math.isclose(percentile(ordered, percent), cut, rel_tol=1e-9, abs_tol=scale * 1e-9)
    assert math.isclose(percentile(ordered, 50), statistics.median(values), abs_tol=scale * 1e-12)
    assert (percentile(ordered, 0), percentile(ordered, 100)) == (ordered[0], ordered[-1])
    assert math.isclose(average(values), statistics.fmean(values), rel_tol=1e-12, abs_tol=scale * 1e-12)


def test_of_nothing_there_is_no_percentile() -> None:
    with pytest.raises(ValueError):
        percentile([], 50)
    with pytest.raises(ValueError):
        average([])
    assert Histogram().percentile(50) is None
    assert Histogram().average is None


@settings(deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=60), st.floats(0, 100))
def test_percentiles_of_buckets_are_within_the_stated_error(values: list[float], percent: float) -> None:
    histogram, ordered = filled(values), sorted(values)
    position = percent / 100 * (len(values) - 1)
    around = [ordered[math.floor(position)], ordered[math.ceil(position)]]
    slack = ERROR * max(map(abs, around)) * (1 + 1e-9)
    got = histogram.percentile(percent)
    assert got is not None
    assert abs(got - percentile(ordered, percent)) <= slack
    assert ordered[0] <= got <= ordered[-1]
    assert (histogram.count, histogram.minimum, histogram.maximum) == (len(values), ordered[0], ordered[-1])


@settings(deadline=None)
@given(st.lists(NUMBERS, max_size=30), st.lists(NUMBERS, max_size=30))
def test_two_merged_are_one_that_saw_all(left: list[float], right: list[float]) -> None:
    merged, whole = filled(left), filled(left + right)
    merged.merge(filled(right))
    assert (merged.count, merged.minimum, merged.maximum) == (whole.count, whole.minimum, whole.maximum)
    assert [merged.percentile(p) for p in (0, 5, 50, 95, 100)] == [
        whole.percentile(p) for p in (0, 5, 50, 95, 100)
    ]


def test_its_memory_is_bounded_whatever_is_added() -> None:
    histogram = Histogram()
    for exponent in range(-3240, 3080):
        for sign in (1, -1):
            histogram.add(sign * 10.0 ** (exponent / 10))
    assert histogram.buckets <= MAX_BUCKETS
    assert histogram.maximum is not None and histogram.maximum > LARGEST
    assert histogram.buckets == MAX_BUCKETS or histogram.buckets < 2000


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    histogram = Histogram()
    with pytest.raises(ValueError):
        histogram.add(value)
    assert (histogram.count, histogram.buckets) == (0, 0)
