"""Values as people read them beside an expectation."""

from __future__ import annotations

import pytest

from scenarios.checks import Plain, Ratio, Seconds, Secret, show
from scenarios.checks.values import LONGEST


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "true"),
        (Seconds(0.04), "40 ms"),
        (Ratio(0.5), "50.0 %"),
        (2.5, "2.5"),
        (["a", 1], '["a", 1]'),
        ({"a": None}, "{a: none}"),
        ("plain ü", '"plain ü"'),
        ("one\ntwo\x1b[31m\x00\x9b", r'"one\ntwo\x1b[31m\x00\x9b"'),
    ],
)
def test_a_value_is_one_line_that_moves_no_cursor(value: Plain, text: str) -> None:
    assert show(value) == text


def test_of_a_long_text_the_beginning_and_the_end_are_shown() -> None:
    text = show("a" * 5000 + "z")
    assert text.startswith('"aaa') and text.endswith('z"') and "4701 characters" in text
    assert len(text) < LONGEST + 50


def test_a_secret_is_what_it_is_and_never_shown() -> None:
    secret = Secret("sesame")
    assert str(secret) == "sesame"
    assert (
        "sesame" not in show(secret) + show([secret]) + show({"word": secret}) + repr(secret) + f"{[secret]}"
    )
