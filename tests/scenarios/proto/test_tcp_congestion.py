"""The retransmission timeout and the congestion window, by the numbers of their RFCs."""

from __future__ import annotations

import pytest

from scenarios.proto.tcp_congestion import Congestion, RetransmissionTimeout

MSS = 1000


def test_the_timeout_follows_what_is_measured_between_its_limits() -> None:
    timeout = RetransmissionTimeout(initial=1.0, minimum=0.2, maximum=60.0)
    assert timeout.value == 1.0
    timeout.measured(0.5)
    assert (timeout.smoothed, timeout.value) == (0.5, 1.5)  # RFC 6298 2.2
    timeout.measured(0.9)
    assert timeout.smoothed == pytest.approx(0.55)
    assert timeout.value == pytest.approx(0.55 + 4 * (0.75 * 0.25 + 0.25 * 0.4))  # 2.3
    for _ in range(200):
        timeout.measured(0.01)
    assert timeout.value == 0.2
    timeout.measured(500.0)
    assert timeout.value == 60.0


def test_the_timeout_doubles_up_to_its_limit_until_something_is_measured() -> None:
    timeout = RetransmissionTimeout(initial=1.0, minimum=0.2, maximum=60.0)
    values = []
    for _ in range(8):
        values.append(timeout.value)
        timeout.back_off()
    assert values == [1, 2, 4, 8, 16, 32, 60, 60]
    timeout.measured(0.1)
    assert timeout.value == pytest.approx(0.3)


def window(size: int = 0) -> Congestion:
    made = Congestion(MSS, 0)
    if size:
        made.window = made.threshold = size
    return made


def test_the_window_begins_at_4380_bytes_and_grows_by_two_segments_for_an_acknowledgment_at_most() -> None:
    assert [Congestion(mss, 0).window for mss in (500, 1380, 3000)] == [2000, 4380, 6000]
    congestion = window()
    before = congestion.window
    congestion.acknowledged(3000, 3000, 0, limited=True)
    assert congestion.window == before + 2 * MSS
    congestion.acknowledged(3100, 100, 0, limited=True)
    assert congestion.window == before + 2 * MSS + 100


def test_a_window_that_is_not_used_up_does_not_grow() -> None:
    congestion = window()
    before = congestion.window
    congestion.acknowledged(1000, 1000, 0, limited=False)
    assert congestion.window == before


def test_above_the_threshold_it_grows_by_one_segment_for_each_window() -> None:
    congestion = window(10 * MSS)
    for number in range(10):
        congestion.acknowledged(number * MSS, MSS, 0, limited=True)
    assert 10.9 * MSS < congestion.window <= 11 * MSS


def test_three_duplicates_halve_and_the_end_of_recovery_deflates() -> None:
    congestion = window(10 * MSS)
    assert [congestion.duplicate(MSS, 11 * MSS, 10 * MSS) for _ in range(5)] == [
        False,
        False,
        True,
        False,
        False,
    ]
    assert (congestion.threshold, congestion.window) == (5 * MSS, 10 * MSS)  # 5 + 3, and 2 more duplicates
    assert congestion.acknowledged(3 * MSS, 2 * MSS, 8 * MSS, limited=True)  # partial: the next hole
    assert (congestion.recovering, congestion.window) == (True, 9 * MSS)
    assert not congestion.acknowledged(11 * MSS, 8 * MSS, 2 * MSS, limited=True)
    assert (congestion.recovering, congestion.window) == (False, 3 * MSS)


def test_duplicates_about_what_was_sent_before_a_loss_start_nothing() -> None:
    congestion = window(10 * MSS)
    congestion.timed_out(11 * MSS, 10 * MSS, again=False)
    assert not any(congestion.duplicate(11 * MSS, 20 * MSS, 5 * MSS) for _ in range(5))
    congestion.acknowledged(12 * MSS, MSS, 4 * MSS, limited=True)
    assert any(congestion.duplicate(12 * MSS, 20 * MSS, 5 * MSS) for _ in range(5))


def test_a_timeout_begins_anew_but_halves_once() -> None:
    congestion = window(10 * MSS)
    congestion.timed_out(11 * MSS, 10 * MSS, again=False)
    assert (congestion.window, congestion.threshold) == (MSS, 5 * MSS)
    congestion.timed_out(11 * MSS, 4 * MSS, again=True)
    assert (congestion.window, congestion.threshold) == (MSS, 5 * MSS)
    congestion.timed_out(11 * MSS, MSS, again=False)
    assert congestion.threshold == 2 * MSS


def test_a_pause_forgets_a_large_window() -> None:
    congestion = window(100 * MSS)
    congestion.idle()
    assert congestion.window == 4 * MSS
    congestion = window(1 * MSS)
    congestion.idle()
    assert congestion.window == MSS
