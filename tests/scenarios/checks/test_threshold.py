"""Thresholds read k6's grammar, judge metrics by it, and do not pass for want of samples."""

from __future__ import annotations

import contextlib
import math
import statistics
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.checks.expression import ExpressionError
from scenarios.checks.metrics import Declared, Kind, Metrics
from scenarios.checks.threshold import (
    Selector,
    ThresholdError,
    evaluate,
    evaluate_all,
    first_abort,
    parse,
    parse_key,
)
from scenarios.checks.values import Ratio, Seconds

CATALOGUE = [
    Declared("sip.setup_time", Kind.TREND, Seconds, ("actor", "call")),
    Declared("rtp.mos", Kind.TREND, float, ("call",)),
    Declared("rtp.loss", Kind.GAUGE, Ratio, ("call", "to")),
    Declared("steps.failed", Kind.COUNTER, float, ()),
    Declared("calls.good", Kind.RATE),
    Declared("calls.talk", Kind.COUNTER, Seconds),
]


def measured() -> Metrics:
    metrics = Metrics(CATALOGUE)
    for n in range(1, 101):
        metrics.add("sip.setup_time", n / 1000, actor="fleet")
    for mos in (4.4, 4.2, 4.0):
        metrics.add("rtp.mos", mos, call="call")
    metrics.add("rtp.mos", 2.6, call="call", window="10s")
    metrics.add("rtp.loss", 0.01, call="call", to="alice")
    metrics.add("rtp.loss", 0.05, call="call", to="bob")
    metrics.add("rtp.loss", 0.03, call="call", to="bob")
    for good in (1, 1, 1, 0):
        metrics.add("calls.good", good)
    return metrics


@pytest.mark.parametrize(
    ("key", "text", "holds", "saw"),
    [
        ("sip.setup_time{actor=fleet}", "p(95) < 800ms", True, 0.09505),
        ("sip.setup_time", "p(95)<95ms", False, 0.09505),
        ("sip.setup_time", "med <= 0.0505s", True, 0.0505),
        ("sip.setup_time", "avg == 50.5ms", True, 0.0505),
        ("sip.setup_time", "min >= 1ms", True, 0.001),
        ("sip.setup_time", "max > 100ms", False, 0.1),
        ("sip.setup_time", "p(0) > 0", True, 0.001),
        ("sip.setup_time", "p(100) < 1s", True, 0.1),
        ("sip.setup_time", "count != 99", True, 100),
        ("sip.setup_time", "p(99.9) < 1m", True, 0.099901),
        ("rtp.mos{call=call}", "avg >= 4.2", True, 4.2),
        ("rtp.mos{call=call}", "min >= 2.7", True, 4.0),
        ("rtp.mos{call=call,window=10s}", "min >= 2.7", False, 2.6),
        ("rtp.mos{window=10000ms}", "count == 1", True, 1),
        ("rtp.loss{to=alice}", "value < 4%", True, 0.01),
        ("rtp.loss{to=bob}", "max < 4%", False, 0.05),
        ("rtp.loss", "min == 0.01", True, 0.01),
        ("steps.failed", "value == 0", True, 0.0),
        ("steps.failed", "count == 0", True, 0),
        ("steps.failed", "rate < 1", True, 0.0),
        ("calls.good", "rate >= 75%", True, 0.75),
        ("calls.good", "value > 0.75", False, 0.75),
        ("calls.good", "count == 4", True, 4),
    ],
)
def test_thresholds_judge_what_was_measured(key: str, text: str, holds: bool, saw: float) -> None:
    verdict = evaluate(parse(key, text), measured(), elapsed=10.0)
    assert isinstance(verdict.saw, int | float) and math.isclose(verdict.saw, saw)
    assert verdict.holds is holds


def test_a_verdict_reads_well() -> None:
    metrics = measured()
    assert evaluate(parse("sip.setup_time{actor=fleet}", "p(95) < 80ms"), metrics, 1.0).text == (
        "sip.setup_time{actor=fleet}: p(95) < 80ms: saw 95 ms"
    )
    assert evaluate(parse("rtp.loss{call=call}", "value < 2%"), metrics, 1.0).text == (
        "rtp.loss{call=call}: value < 2%: saw 3.0 % (call=call, to=bob)"
    )
    assert evaluate(parse("rtp.mos{call=other}", "avg > 4"), metrics, 1.0).text == (
        "rtp.mos{call=other}: avg > 4: nothing was measured"
    )
    assert evaluate(parse("calls.good", "rate < 50%"), metrics, 1.0).text.endswith("saw 75.0 %")
    metrics.add("sip.setup_time", 2.0)
    assert evaluate(parse("sip.setup_time", "max < 1s"), metrics, 1.0).text.endswith("saw 2.00 s")
    metrics.add("calls.talk", 2.5)
    assert evaluate(parse("calls.talk", "value < 2s"), metrics, 5.0).text.endswith("saw 2.50 s")
    assert evaluate(parse("calls.talk", "count < 2"), metrics, 5.0).text.endswith("saw 2.5")
    assert evaluate(parse("calls.talk", "rate < 0.1"), metrics, 5.0).text.endswith("saw 0.5")
    for _ in range(12345):
        metrics.add("steps.failed", 1)
    assert evaluate(parse("steps.failed", "count < 1"), metrics, 9.0).text.endswith("saw 12345")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("rtp.mos{call=none}", "avg < 1"),
        ("rtp.mos{call=none}", "p(50) != 1"),
        ("rtp.loss{call=none}", "value < 4%"),
        ("rtp.loss{call=none}", "max < 4%"),
        ("calls.good{actor=none}", "rate < 50%"),
    ],
)
def test_what_was_not_measured_does_not_pass(key: str, text: str) -> None:
    verdict = evaluate(parse(key, text), measured(), elapsed=10.0)
    assert (verdict.holds, verdict.saw) == (False, None)


def test_each_of_several_gauges_must_fulfil_it() -> None:
    metrics = Metrics(CATALOGUE)
    for call, loss in (("a", 0.0), ("b", 0.5), ("c", 0.0)):
        metrics.add("rtp.loss", loss, call=call)
    verdict = evaluate(parse("rtp.loss", "value < 10%"), metrics, 1.0)
    assert (verdict.holds, verdict.saw, verdict.series) == (False, 0.5, (("call", "b"),))
    assert evaluate(parse("rtp.loss", "value < 60%"), metrics, 1.0).holds
    assert evaluate(parse("rtp.loss{call=b}", "value < 10%"), metrics, 1.0).series == ()


def test_a_counter_has_a_rate_only_when_time_has_passed() -> None:
    metrics = Metrics(CATALOGUE)
    metrics.add("steps.failed", 20)
    threshold = parse("steps.failed", "rate == 2")
    assert not evaluate(threshold, metrics, 0.0).holds
    assert evaluate(threshold, metrics, 10.0).holds


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 1000), min_size=2, max_size=40), st.integers(1, 99))
def test_percentiles_are_those_of_the_statistics_module(values: list[float], percent: int) -> None:
    metrics = Metrics(CATALOGUE)
    for n, value in enumerate(values):
        metrics.add("rtp.mos", value, call=str(n % 3))  # three series, judged as one
    cut = statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
    verdict = evaluate(parse("rtp.mos", f"p({percent}) >= 0"), metrics, 1.0)
    assert isinstance(verdict.saw, float) and math.isclose(verdict.saw, cut, rel_tol=1e-9)


def test_a_run_ends_at_the_first_failure_of_a_threshold_that_says_so() -> None:
    metrics = Metrics(CATALOGUE)
    thresholds = [
        parse("rtp.mos", "avg > 4"),
        parse("rtp.mos{call=b}", {"expr": "avg > 4", "abort": True}),
        parse("rtp.mos", {"expr": "min > 2", "abort": True, "after": "10s"}),
    ]
    assert first_abort(thresholds, metrics, 0.0) is None  # nothing measured yet is no failure yet
    metrics.add("rtp.mos", 1.0, call="a")
    assert first_abort(thresholds, metrics, 9.9) is None
    failed = first_abort(thresholds, metrics, 10.0)
    assert failed is not None and failed.threshold is thresholds[2]
    metrics.add("rtp.mos", 1.0, call="b")
    failed = first_abort(thresholds, metrics, 0.0)
    assert failed is not None and failed.threshold is thresholds[1]
    assert [v.holds for v in evaluate_all(thresholds, metrics, 10.0)] == [False, False, False]


@pytest.mark.parametrize(
    ("text", "selector"),
    [
        ("steps.failed", Selector("steps.failed")),
        ("a{b=c}", Selector("a", (("b", "c"),))),
        (" a { z = 1 , b=hq/pbx } ", Selector("a", (("b", "hq/pbx"), ("z", "1")))),
        ("a{b='c, d',e=\"x=y\"}", Selector("a", (("b", "c, d"), ("e", "x=y")))),
        ("a{window=1m}", Selector("a", (("window", "60s"),), 60.0)),
    ],
)
def test_keys(text: str, selector: Selector) -> None:
    assert parse_key(text) == selector


@pytest.mark.parametrize(
    ("key", "item", "message", "fix"),
    [
        ("m", "avrg < 1", "no aggregate 'avrg'", "did you mean 'avg'?"),
        ("m", "AVG < 1", "no aggregate 'AVG'", "did you mean 'avg'?"),
        ("m", "zzz < 1", "no aggregate 'zzz'", "one of avg, min, max, med, p(N), count, rate, value"),
        ("m", "avg =< 1", "no operator '=<'", "one of <=, >=, ==, !=, <, >"),
        ("m", "avg = 1", "no operator '='", "one of"),
        ("m", "p < 1", "'p' needs number", "write p(95)"),
        ("m", "avg(5) < 1", "'avg' takes no number", "write avg without brackets"),
        ("m", "p(101) < 1", "'101' is no percentile", "from 0 to 100"),
        ("m", "p(-1) < 1", "'-1' is no percentile", "from 0 to 100"),
        ("m", "p() < 1", "'' is no percentile", "from 0 to 100"),
        ("m", "avg < fast", "cannot read the value 'fast'", "write a number"),
        ("m", "avg < 1 and avg > 0", "cannot read the value", "write a number"),
        ("m", "avg < 5msec", "no unit 'msec'", "did you mean 'ms'?"),
        ("m", "800ms", "cannot read '800ms'", "p(95) < 800ms"),
        ("m", "avg <", "cannot read 'avg <'", "p(95) < 800ms"),
        ("m", "avg < 1" + " " * 300, "cannot read", "p(95) < 800ms"),
        ("m", 5, "is a text, not int", "p(95) < 800ms"),
        ("m", {"abort": True}, "needs expr", "write {expr:"),
        ("m", {"expr": "avg < 1", "abrot": True}, "has no 'abrot'", "did you mean 'abort'?"),
        ("m", {"expr": "avg < 1", "abort": "yes"}, "true or false", "write abort: true"),
        ("m", {"expr": "avg < 1", "after": "5"}, "after is a time", "10s"),
        ("m", {"expr": "avg < 1", "after": "-5s"}, "after is a time", "10s"),
        ("1m", "avg < 1", "cannot read the metric '1m'", "name{tag=value}"),
        ("m{a=b", "avg < 1", "cannot read the metric", "name{tag=value}"),
        ("m" * 201, "avg < 1", "cannot read the metric", "name{tag=value}"),
        ("m{a}", "avg < 1", "cannot read the tag 'a'", "write tag=value"),
        ("m{}", "avg < 1", "cannot read the tag ''", "write tag=value"),
        ("m{a=b,a=c}", "avg < 1", "'a' is there twice", "one value"),
        ("m{window=ten}", "avg < 1", "window is a time", "10s"),
        ("m{window=0s}", "avg < 1", "a window has a length", "10s"),
        ("m{window=5%}", "avg < 1", "window is a time", "10s"),
    ],
)
def test_mistakes_say_what_is_wrong_and_what_to_write(key: str, item: object, message: str, fix: str) -> None:
    with pytest.raises(ThresholdError) as info:
        parse(key, item)
    assert message in str(info.value)
    assert fix in info.value.fix


@pytest.mark.parametrize(
    ("key", "text", "message", "fix"),
    [
        ("sip.setup_tme", "avg < 1s", "no metric 'sip.setup_tme'", "did you mean 'sip.setup_time'?"),
        ("sip.setup_time{actr=x}", "avg < 1s", "no tag 'actr'", "did you mean 'actor'?"),
        ("steps.failed{call=x}", "count < 1", "no tag 'call'", "one of none"),
        ("sip.setup_time", "value < 1s", "'value' cannot be asked", "avg, min, max, med, p(N), count"),
        ("calls.good", "p(95) < 1", "'p' cannot be asked", "rate, value, count"),
        ("rtp.loss", "rate < 1", "'rate' cannot be asked", "value, min, max"),
        ("steps.failed", "avg < 1", "'avg' cannot be asked", "count, value, rate"),
        ("sip.setup_time", "p(95) < 800", "800 of what?", "write 800ms or 800s"),
        ("sip.setup_time", "p(95) < 80%", "is a time, not a share", "20ms"),
        ("sip.setup_time", "count < 80ms", "count of 'sip.setup_time' is not a time", "leave the unit out"),
        ("rtp.mos", "avg > 4s", "avg of 'rtp.mos' is not a time", "leave the unit out"),
    ],
)
def test_a_threshold_fits_its_metric(key: str, text: str, message: str, fix: str) -> None:
    threshold = parse(key, text)
    for judge in (threshold.check, lambda m: evaluate(threshold, m, 1.0)):
        with pytest.raises(ThresholdError) as info:
            judge(Metrics(CATALOGUE))
        assert message in str(info.value)
        assert fix in info.value.fix


@settings(deadline=None)
@given(st.text(string.printable, max_size=30), st.text("avgp()<>=!0123456789.ms% {}", max_size=20))
def test_no_other_exception_leaves_the_parser(key: str, text: str) -> None:
    for item in (text, {"expr": text}, {"expr": text, "after": key}, {key: text}):
        with contextlib.suppress(ExpressionError):
            parse(key, item)
        with contextlib.suppress(ExpressionError):
            parse("metric{tag=value}", item)
