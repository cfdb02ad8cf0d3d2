"""Picking values out of what programs write, whatever that is."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.proto.pick import DEEPEST, Pick, Unpicked, at, expression, json_path

IPERF = json.dumps(
    {
        "end": {
            "sum_received": {"bits_per_second": 12345678.9},
            "streams": [{"udp": {"lost": 0}}, {"udp": {"lost": 3}}],
        },
        "a.b": True,
        "text": "7",
    }
)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("end.sum_received.bits_per_second", 12345678.9),
        ("end.streams[1].udp.lost", 3),
        ("end.streams[-1].udp.lost", 3),
        ('["a.b"]', True),
        ("text", "7"),
        ("end.streams[0]", {"udp": {"lost": 0}}),
    ],
)
def test_a_path_leads_into_json(path: str, value: object) -> None:
    assert Pick(json_path(path)).of(IPERF) == value


@pytest.mark.parametrize("path", ["", ".", "a..b", "a.", "a[", "a[x]", "a[0]b", "[]", "a b]"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        json_path(path)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("end.sum_sent", "end has no 'sum_sent'"),
        ("end.streams[2]", "end.streams has 2 items, not 2"),
        ("end.streams.udp", "end.streams has no 'udp': it is a list"),
        ("text.more", "text has no 'more': it is text"),
        ("[0]", "the output has no 0: it is a mapping"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ended(path: str, why: str) -> None:
    with pytest.raises(Unpicked) as caught:
        Pick(json_path(path)).of(IPERF)
    assert str(caught.value) == why


@pytest.mark.parametrize(
    "text", ["", "no json", "{", '{"a": -nan}', '{"a": NaN}', "[" * 100_000, '{"a": 1} and more', "1" * 9999]
)
def test_what_is_no_json_is_no_error_of_ours(text: str) -> None:
    with pytest.raises(Unpicked, match="the output"):
        Pick(json_path("a")).of(text)


def test_what_is_picked_as_a_whole_has_a_depth_that_can_be_shown() -> None:
    deep = "[" * (DEEPEST + 2) + "]" * (DEEPEST + 2)
    with pytest.raises(Unpicked, match="nested too deeply"):
        Pick(json_path("a")).of(f'{{"a": {deep}}}')


def test_an_expression_gives_its_first_group_or_all_that_it_matches() -> None:
    text = "HTTP/1.1 301 Moved\nHTTP/1.1 200 OK\n"
    assert Pick(expression=expression(r"HTTP/1.1 (\d+)")).of(text) == "301"
    assert Pick(expression=expression(r"^HTTP/1.1 (\d+) (.*)$"), last=True).of(text) == "200"
    assert Pick(expression=expression("Moved$")).of(text) == "Moved"
    assert Pick(expression=expression(r"HTTP/1.1 (\d+)"), number=True).of(text) == 301
    with pytest.raises(Unpicked, match="nothing matches"):
        Pick(expression=expression("404")).of(text)
    with pytest.raises(Unpicked, match="the first group"):
        Pick(expression=expression("(x)?HTTP")).of(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), (" 7.5\n", 7.5), ("-1e3", -1000.0), ("+3", 3), (".5", 0.5), ("1.", 1.0)],
)
def test_text_that_shall_be_a_number(text: str, value: float) -> None:
    assert Pick(number=True).of(text) == value


@pytest.mark.parametrize("text", ["", "7 ms", "nan", "inf", "0x10", "1_000", "1" * 65, "²"])
def test_text_that_is_no_number(text: str) -> None:
    with pytest.raises(Unpicked, match="no number"):
        Pick(number=True).of(text)


def test_without_more_it_is_the_whole_text_but_for_its_last_newline() -> None:
    assert Pick().of("hello\n") == "hello"
    assert Pick().of("a\nb\n\n") == "a\nb\n"
    assert Pick(json_path("n"), number=False).of('{"n": 5}') == "5"


@pytest.mark.parametrize("text", ["(", "[", "*", "(?P<", "a{99999999999}", "[[a]]"])
def test_what_is_no_regular_expression(text: str) -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        expression(text)


@pytest.mark.parametrize("text", ['{"a": 1e999}', '{"a": [' + "9" * 400 + "]}"])
def test_a_number_that_nobody_can_compute_with(text: str) -> None:
    with pytest.raises(Unpicked, match="too large"):
        Pick(json_path("a")).of(text)
    with pytest.raises(Unpicked, match="too large"):
        Pick(number=True).of("1e999")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"a": "\ud800x"}', "?x"),
        (r'{"a": {"\ud800": [1, null, true]}}', {"?": [1, None, True]}),
        ('{"a": ' + "9" * 30 + "}", 1e30),
    ],
)
def test_what_is_picked_can_stand_in_a_report(text: str, value: object) -> None:
    picked = Pick(json_path("a")).of(text)
    assert picked == value
    assert msgspec.json.decode(msgspec.json.encode(picked)) == value


@given(st.text(), st.sampled_from(["a", "a[0].b", '["x"]']))
def test_only_unpicked_comes_out(text: str, path: str) -> None:
    for pick in (Pick(json_path(path)), Pick(expression=expression("(a)|b")), Pick(number=True)):
        try:
            pick.of(text)
        except Unpicked:
            continue


@given(
    st.recursive(
        st.none() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_every_value_of_json_is_found_again(value: object) -> None:
    wrapped = {"a": [value]}
    try:
        found = at(wrapped, ("a", 0))
    except Unpicked:
        assert json.dumps(value).count("[") + json.dumps(value).count("{") > DEEPEST
    else:
        assert found == value
