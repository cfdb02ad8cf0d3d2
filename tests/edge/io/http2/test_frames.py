"""The guard in front of the HTTP/2 library: what it lets through, and what it takes out."""

from __future__ import annotations

import pytest

from edge.io.http2.frames import Abuse, FrameGuard, Goaway
from tests.edge.io.http2.rude import DATA, GOAWAY, PING, RST_STREAM, SETTINGS, frame

BEFORE = frame(SETTINGS) + frame(DATA, 0, 1, b"before" * 9)
AFTER = frame(DATA, 0, 1, b"after" * 9) + frame(PING, 0, 0, bytes(8))
GOING = frame(GOAWAY, 0, 0, (5).to_bytes(4) + (2).to_bytes(4) + b"bye")
TWICE = BEFORE + GOING + GOING + AFTER + GOING


@pytest.mark.parametrize("piece", range(1, len(TWICE) + 1))
def test_goaway_is_taken_out_wherever_it_is_cut(piece):
    guard = FrameGuard(24)
    whole = b"p" * 24 + TWICE
    passed, found = b"", []
    for start in range(0, len(whole), piece):
        data, goaways = guard.filter(whole[start : start + piece], 0.0)
        passed += data
        found += goaways
    assert passed == b"p" * 24 + BEFORE + AFTER
    assert found == [Goaway(5, 2, b"bye")] * 3


def test_what_is_all_for_the_library_is_not_copied():
    data = BEFORE + AFTER
    assert FrameGuard(0).filter(data, 0.0)[0] is data


def test_a_header_that_is_not_whole_waits():
    guard = FrameGuard(0)
    assert guard.filter(BEFORE + AFTER[:8], 0.0) == (BEFORE, [])
    assert guard.filter(AFTER[8:], 0.0) == (AFTER, [])


def test_a_budget_fills_again():
    guard = FrameGuard(0)
    ping = frame(PING, 0, 0, bytes(8))
    guard.filter(ping * 256, 0.0)
    guard.filter(ping * 32, 1.0)
    with pytest.raises(Abuse, match="control frames"):
        guard.filter(ping, 1.0)


def test_resets_in_answers_are_found_among_other_frames():
    guard = FrameGuard(0)
    guard.answered((frame(PING, 1, 0, bytes(8)) + frame(RST_STREAM, 0, 1, bytes(4))) * 32)
    guard.answered(frame(PING, 1, 0, bytes(8)) * 100)
    with pytest.raises(Abuse, match="resets"):
        guard.answered(frame(PING, 1, 0, bytes(8)) + frame(RST_STREAM, 0, 1, bytes(4)))
