"""When ways to the PoP are begun: one after the other, and none beside one that has just been begun."""

from connectors.proto.choice import STAGGER, Choice, Health

IDLE, TRYING, UP, FAILED = Health.IDLE, Health.TRYING, Health.UP, Health.FAILED


def choice() -> Choice:
    return Choice(2, jitter=lambda: 0.5)


def test_the_preferred_way_has_a_head_start() -> None:
    ours = choice()
    assert ours.decide([IDLE, IDLE], 0.0) == ([0], [])
    assert ours.next([TRYING, IDLE]) == STAGGER
    assert ours.decide([TRYING, IDLE], STAGGER - 0.001) == ([], [])
    assert ours.decide([TRYING, IDLE], STAGGER) == ([1], [])


def test_the_next_way_is_not_begun_once_the_preferred_one_is_up() -> None:
    ours = choice()
    ours.decide([IDLE, IDLE], 0.0)
    assert ours.decide([UP, IDLE], 0.1) == ([], [])
    assert ours.active == 0
    assert ours.decide([UP, IDLE], STAGGER) == ([], [])


def test_the_next_way_is_begun_at_once_when_the_preferred_one_fails() -> None:
    ours = choice()
    ours.decide([IDLE, IDLE], 0.0)
    assert ours.decide([FAILED, IDLE], 0.1) == ([1], [0])


def test_a_new_attempt_of_the_preferred_way_has_a_head_start_as_well() -> None:
    ours = choice()
    ours.decide([IDLE, IDLE], 0.0)
    ours.decide([FAILED, IDLE], 0.1)
    begin, _ = ours.decide([IDLE, FAILED], 10.0)
    assert begin == [0]
