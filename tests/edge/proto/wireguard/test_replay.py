"""The replay window against the kernel's published step list and against a set that forgets nothing."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.wireguard.replay import WINDOW, ReplayWindow
from edge.proto.wireguard.timers import REJECT_AFTER_MESSAGES as LIMIT

W = WINDOW + 1
YES, NO = True, False

# Counter and answer, one window throughout: the steps of the kernel's selftest/counter.c.
STEPS = [
    *[(0, YES), (1, YES), (1, NO), (9, YES), (8, YES), (7, YES), (7, NO)],
    *[(W, YES), (W - 1, YES), (W - 1, NO), (W - 2, YES), (2, YES), (2, NO)],
    *[(W + 16, YES), (3, NO), (W + 16, NO), (4 * W, YES), (3 * W + 1, YES), (10, NO)],
    *[(3 * W, NO), (3 * W - 1, NO), (3 * W + 2, YES), (3 * W + 1, NO), (0, NO)],
    *[(LIMIT, NO), (LIMIT - 1, YES), (LIMIT, NO), (LIMIT - 1, NO), (LIMIT - 2, YES)],
    *[(LIMIT + 1, NO), (LIMIT + 2, NO), (LIMIT - 2, NO), (LIMIT - 3, YES), (0, NO)],
]

# The bulk runs of the same test: counters that are all accepted, then a few with their answers.
BULK = {
    "up, then zero": (range(1, W), [(0, YES), (0, NO)]),
    "up, zero too old": (range(2, W + 1), [(1, YES), (0, NO)]),
    "down to zero": (range(W - 1, -1, -1), []),
    "down from one more": (range(W, 0, -1), [(0, NO)]),
    "down, then up by one": (range(W - 1, 0, -1), [(W, YES), (0, NO)]),
    "down, zero in time, then up": (range(W - 1, 0, -1), [(0, YES), (W, YES)]),
}


def test_published_steps():
    window = ReplayWindow()
    for number, (counter, answer) in enumerate(STEPS, 1):
        assert window.would_accept(counter) is answer, f"step {number}"
        assert window.accept(counter) is answer, f"step {number}"


@pytest.mark.parametrize("name", BULK)
def test_published_bulk_runs(name):
    counters, then = BULK[name]
    window = ReplayWindow()
    assert all(window.accept(counter) for counter in counters)
    assert [(counter, window.accept(counter)) for counter, _ in then] == then


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.integers(-40, 40),
            st.integers(-WINDOW - 3, -WINDOW + 3),
            st.integers(WINDOW - 3, WINDOW + 3),
            st.sampled_from([2**20, 2**40]),
        ),
        max_size=60,
    ),
    st.booleans(),
)
def test_same_answers_as_a_set(moves, inline):
    """Counters near the greatest one, near the end of the window, and far ahead; runs in between."""
    window = ReplayWindow()
    seen: set[int] = set()
    greatest = -1
    for move in moves:
        counters = [greatest + move, *range(greatest + 1, greatest + 4)] if move % 2 else [greatest + move]
        for counter in counters:
            if counter < 0:
                continue
            expected = counter not in seen and counter >= greatest - WINDOW
            assert window.would_accept(counter) is expected
            if inline and counter == window.next:
                window.next = counter + 1
            else:
                assert window.accept(counter) is expected
            if expected:
                seen.add(counter)
                greatest = max(greatest, counter)
            assert window.next == greatest + 1


@pytest.mark.parametrize("gap", [1, 2, 70, WINDOW - 1, WINDOW, WINDOW + 1])
def test_gap_after_a_run_forgets_nothing_in_the_window(gap):
    window = ReplayWindow()
    run = 2 * WINDOW
    assert all(window.accept(counter) for counter in range(run))
    greatest = run - 1 + gap
    assert window.accept(greatest)
    fresh = {counter for counter in range(greatest + 1) if window.would_accept(counter)}
    assert fresh == set(range(max(run, greatest - WINDOW), greatest))


def test_gap_after_a_very_long_run():
    """A hot loop has counted up for hours: the first gap must not make an integer of that many bits."""
    window = ReplayWindow()
    window.next = 2**50
    assert window.accept(2**50 + 5)
    assert not window.accept(2**50 - 1)
    assert window.accept(2**50 + 1)
    assert not window.accept(2**50 - WINDOW + 100)


def test_gap_to_the_end_of_the_counters():
    window = ReplayWindow()
    assert window.accept(0)
    assert window.accept(LIMIT - 1)
    assert not window.accept(0)
