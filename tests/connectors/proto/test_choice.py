"""Which way to the PoP is tried, kept and left."""

from __future__ import annotations

from connectors.proto.choice import BETTER, STAGGER, Choice, Health

IDLE, TRYING, UP, QUIET = Health.IDLE, Health.TRYING, Health.UP, Health.QUIET


def choice(count: int = 2) -> Choice:
    return Choice(count, jitter=lambda: 0.5)


def test_ways_are_begun_one_after_the_other() -> None:
    ways = choice(3)
    assert ways.decide([IDLE, IDLE, IDLE], 0.0) == ([0], [])
    assert ways.decide([TRYING, IDLE, IDLE], 1.0) == ([], [])
    assert ways.decide([TRYING, IDLE, IDLE], STAGGER) == ([1], [])
    assert ways.next([TRYING, TRYING, IDLE]) == 2 * STAGGER
    assert ways.decide([TRYING, TRYING, IDLE], 2 * STAGGER) == ([2], [])


def test_a_way_that_went_quiet_is_left_as_soon_as_another_works_and_tried_anew_later() -> None:
    ways = choice()
    ways.decide([IDLE, IDLE], 0.0)
    ways.decide([UP, IDLE], 0.1)
    assert ways.decide([QUIET, IDLE], 50.0) == ([1], [])
    assert ways.decide([QUIET, TRYING], 50.1) == ([], [])
    assert ways.active == 0, "it is better than nothing"
    assert ways.decide([QUIET, UP], 50.2) == ([], [0])
    assert ways.active == 1
    assert ways.next([IDLE, UP]) == 50.0 + BETTER
    assert ways.decide([IDLE, UP], 50.0 + BETTER) == ([0], [])
    assert ways.decide([UP, UP], 65.1) == ([], [1])
    assert (ways.active, ways.switches) == (0, 2)
