"""What is kept of the output of programs: never more than there is room for, and fit for a screen."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.proto.program_output import LONGEST_LINE, Excerpt, ProgramOutput, shown


@given(st.lists(st.binary(max_size=40)), st.integers(2, 60))
def test_the_beginning_and_the_end_are_kept_and_the_rest_is_counted(chunks: list[bytes], most: int) -> None:
    excerpt, whole = Excerpt(most), b"".join(chunks)
    for chunk in chunks:
        excerpt.add(chunk)
    half = most // 2
    assert excerpt.total == len(whole)
    assert excerpt.left_out == max(0, len(whole) - 2 * half)
    if excerpt.left_out:
        gap = f"\n[{excerpt.left_out} bytes left out]\n".encode()
        assert excerpt.text == (whole[:half] + gap + whole[-half:]).decode("utf-8", "replace")
    else:
        assert excerpt.text == whole.decode("utf-8", "replace")
        assert excerpt.end(most) == whole[-most:].decode("utf-8", "replace")


def test_a_program_that_never_stops_writing_costs_no_more_memory_than_that() -> None:
    output = ProgramOutput(1 << 16)
    chunk = b"y\n" * 4096
    for _ in range(20):
        output.add("stdout", chunk)
    tracemalloc.start()
    for _ in range(1000):
        output.add("stdout", chunk)
        output.add("stderr", chunk)
    assert tracemalloc.get_traced_memory()[0] < 1 << 20
    tracemalloc.stop()
    assert output.total == 2020 * len(chunk)


def test_both_streams_are_kept_apart_and_together() -> None:
    output = ProgramOutput()
    heard: list[bytes] = []
    output.on_data = heard.append
    output.add("stdout", b"one\n")
    output.add("stderr", b"two\n")
    output.add("stdout", b"three")
    assert [output.text(source) for source in ("stdout", "stderr", "output")] == [
        "one\nthree",
        "two\n",
        "one\ntwo\nthree",
    ]
    assert b"".join(heard) == b"one\ntwo\nthree"
    assert output.last_lines(2) == ["two", "three"]
    assert output.last_line == "three"
    assert ProgramOutput().last_line == ""


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("plain", "plain"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("10 %\r50 %\r100 %", "100 %"),
        ("done\r", "done"),
        ("a\x00b\x07", "a\ufffdb\ufffd"),
        ("\x1b]0;title\x07text\x1b(B", "text"),
        ("\x9b31m", "\ufffd31m"),
        ("x" * 500, "x" * (LONGEST_LINE - 1) + "…"),
    ],
)
def test_a_line_that_is_shown_moves_no_cursor(line: str, seen: str) -> None:
    assert shown(line) == seen


@given(st.text())
def test_no_line_does(line: str) -> None:
    assert not any(ord(character) < 32 or 127 <= ord(character) < 160 for character in shown(line))


def test_what_is_hidden_is_nowhere_however_it_comes() -> None:
    told: list[bytes] = []
    output = ProgramOutput()
    output.on_data = told.append
    output.hidden = [b"sesame", b"s3"]
    output.add("stdout", b"open ses")
    output.add("stderr", b"open ")
    output.add("stdout", b"ame\nopen ses")
    output.add("stdout", b"ames3\nsess")
    output.end("stdout")
    output.end("stderr")
    assert output.text("stdout") == "open (a secret)\nopen (a secret)(a secret)\nsess"
    assert output.text("stderr") == "open "
    whole = b"".join(told)
    assert b"sesame" not in whole and b"s3" not in whole
    assert b"sesame" not in output.text("output").encode()
