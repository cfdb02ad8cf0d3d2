"""Which way is tried, kept and left, second by second."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.proto.choice import (
    ATTEMPT,
    BETTER,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PROVEN,
    STAGGER,
    Choice,
    Health,
)
from edge.proto.types import NEVER

IDLE, TRYING, UP, QUIET, FAILED = Health.IDLE, Health.TRYING, Health.UP, Health.QUIET, Health.FAILED


class Run:
    """Ways whose health the test sets; `log` is what was begun (+n) and ended (-n), and when."""

    def __init__(self, count=3, jitter=0.5):
        self.now = 100.0
        self.health = [IDLE] * count
        self.choice = Choice(count, jitter=lambda: jitter)
        self.log = []
        self.decide()

    def decide(self):
        begin, end = self.choice.decide(self.health, self.now)
        for number in end:
            self.health[number] = IDLE
        for number in begin:
            self.health[number] = TRYING
        at = round(self.now - 100.0, 3)
        self.log += [(at, f"-{number}") for number in end] + [(at, f"+{number}") for number in begin]

    def run(self, seconds):
        """Time passes, and nothing else."""
        until = self.now + seconds
        while (at := self.choice.next(self.health)) <= until:
            assert at > self.now, "it turns on the spot"
            self.now = at
            self.decide()
        self.now = until

    def becomes(self, number, health):
        self.health[number] = health
        self.decide()

    def taken(self):
        log, self.log = self.log, []
        return log


def begun(log):
    return [(at, int(what[1:])) for at, what in log if what[0] == "+"]


def test_ways_are_begun_one_after_the_other_as_long_as_none_is_up():
    """RFC 8305 section 5."""
    run = Run()
    run.run(2 * STAGGER)
    assert run.taken() == [(0, "+0"), (STAGGER, "+1"), (2 * STAGGER, "+2")]
    assert run.choice.active is None


def test_the_first_that_is_up_carries_packets_and_worse_ones_end():
    run = Run()
    run.run(STAGGER)
    run.becomes(0, UP)
    assert run.choice.active == 0 and run.taken()[-1] == (STAGGER, "-1")
    run.run(3600)
    assert run.taken() == [] and run.choice.switches == 0


def test_a_worse_one_that_is_up_first_carries_packets_until_the_better_one_is():
    run = Run()
    run.run(STAGGER + 0.1)
    run.becomes(1, UP)
    assert run.choice.active == 1
    run.run(1.0)
    run.becomes(0, UP)
    assert run.choice.active == 0 and run.choice.switches == 1
    assert [what for _, what in run.taken()] == ["+0", "+1", "-1"]


def test_a_way_that_fails_at_once_does_not_make_the_next_one_wait():
    run = Run()
    run.run(0.1)
    run.becomes(0, FAILED)
    assert run.taken() == [(0, "+0"), (0.1, "-0"), (0.1, "+1")]


def test_an_attempt_has_so_long():
    run = Run(1)
    run.run(ATTEMPT)
    assert run.taken() == [(0, "+0"), (ATTEMPT, "-0")]


@pytest.mark.parametrize("jitter", [0.0, 0.999])
def test_pauses_double_and_are_spread(jitter):
    run = Run(1, jitter)
    pauses = []
    for _ in range(9):
        run.becomes(0, FAILED)
        pauses.append(run.choice.next(run.health) - run.now)
        run.run(pauses[-1])
        assert run.health[0] is TRYING
    wanted = [min(FIRST_PAUSE * 2**n, LONGEST_PAUSE) * (0.5 + jitter) for n in range(9)]
    assert pauses == pytest.approx(wanted)


def test_what_had_worked_is_tried_again_at_once():
    run = Run(1)
    run.becomes(0, UP)
    run.run(PROVEN)
    run.becomes(0, FAILED)
    assert run.taken() == [(0, "+0"), (PROVEN, "-0"), (PROVEN, "+0")]


def test_a_pop_that_accepts_and_hangs_up_at_once_is_not_asked_in_a_loop():
    run = Run(1)
    while run.now < 100 + 600:
        run.becomes(0, UP)
        run.run(0.01)
        run.becomes(0, FAILED)
        while run.health[0] is not TRYING:
            run.run(1.0)
    assert len(begun(run.taken())) < 20


def test_when_the_active_one_is_quiet_the_next_is_begun_and_the_quiet_one_kept_until_that_is_up():
    run = Run()
    run.becomes(0, UP)
    run.run(60)
    run.taken()
    run.becomes(0, QUIET)
    assert run.choice.active == 0  # better than nothing
    assert run.taken() == [(60, "+1")]
    run.run(1.0)
    assert run.taken() == []
    run.becomes(0, UP)  # it is heard again
    assert run.choice.active == 0 and run.taken() == [(61, "-1")]


def test_a_better_way_is_tried_again_and_taken_when_it_is_back():
    run = Run(2)
    run.run(0.1)
    run.becomes(0, FAILED)
    run.becomes(1, UP)
    run.taken()
    run.run(BETTER)
    assert begun(run.taken()) == [(BETTER + 0.1, 0)]
    run.becomes(0, UP)
    assert run.choice.active == 0


def test_a_better_way_that_stays_away_is_tried_ever_more_seldom():
    run = Run(2)
    run.becomes(0, FAILED)
    run.becomes(1, UP)
    run.run(3600)
    starts = [at for at, number in begun(run.taken()) if number == 0]
    pauses = [later - earlier for earlier, later in pairwise(starts)]
    assert len(starts) < 70
    assert max(pauses) <= LONGEST_PAUSE + ATTEMPT + BETTER
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE + ATTEMPT)


def test_after_the_fall_of_the_active_one_all_others_may_be_tried():
    run = Run(2)
    run.becomes(0, FAILED)
    run.becomes(1, UP)
    run.run(5)
    run.becomes(1, FAILED)
    assert run.choice.active is None
    assert {number for _, number in begun(run.taken())} == {0, 1}


def test_a_way_whose_beginning_fails_is_looked_at_again():
    """Its failure is no event of the network: nothing else would call."""
    choice = Choice(1, jitter=lambda: 0.5)
    assert choice.decide([IDLE], 100.0) == ([0], [])
    assert choice.next([FAILED]) <= 100.0
    assert choice.decide([FAILED], 100.0) == ([], [0])
    assert 100.0 < choice.next([IDLE]) < 102.0


@given(
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(list(Health)), st.floats(0, 30)), max_size=60),
)
@settings(max_examples=300, deadline=None, derandomize=True)
def test_whatever_ways_do_time_goes_on_and_the_best_that_is_up_is_active(count, happenings):
    run = Run(count)
    for number, health, seconds in happenings:
        way = number % count
        if run.health[way] is not IDLE:
            run.becomes(way, health)
        run.run(seconds)
        up = [n for n, how in enumerate(run.health) if how is UP]
        quiet = [n for n, how in enumerate(run.health) if how is QUIET]
        assert run.choice.active == next(iter(up + quiet), None)
        if run.choice.active is None:
            assert run.choice.next(run.health) < NEVER, "it never comes back"
    starts = len(begun(run.log))
    assert starts <= 4 * count * (len(happenings) + 1) + (run.now - 100.0)


def test_a_way_that_went_quiet_is_left_as_soon_as_another_works_and_tried_anew_later():
    ways = Choice(2, jitter=lambda: 0.5)
    ways.decide([IDLE, IDLE], 0.0)
    ways.decide([UP, IDLE], 0.1)
    assert ways.decide([QUIET, IDLE], 50.0) == ([1], [])
    assert ways.decide([QUIET, TRYING], 50.1) == ([], [])
    assert ways.active == 0, "it is better than nothing"
    assert ways.decide([QUIET, UP], 50.2) == ([], [0])
    assert ways.active == 1
    again = ways.next([IDLE, UP])
    assert again == 50.2 + BETTER
    assert ways.decide([IDLE, UP], again) == ([0], [])
    assert ways.decide([UP, UP], again + 0.1) == ([], [1])
    assert (ways.active, ways.switches) == (0, 2)


def test_of_two_better_ways_the_best_has_its_time_before_the_next_is_begun_beside_it():
    run = Run(3)
    run.becomes(0, FAILED)
    run.becomes(1, FAILED)
    run.becomes(2, UP)
    run.taken()
    run.run(BETTER + STAGGER + 0.1)
    assert [(at, number) for at, number in begun(run.taken()) if at >= BETTER] == [
        (BETTER, 0),
        (BETTER + STAGGER, 1),
    ]
    run.becomes(0, UP)
    assert run.choice.active == 0 and {what for _, what in run.taken()} == {"-1", "-2"}
