"""One armed deadline per connection."""

from edge.io.quic.agenda import COMPACT_AFTER, Agenda
from edge.proto.types import NEVER


class Item:
    def __init__(self):
        self.armed_at = NEVER


def test_the_earliest_comes_first_and_once():
    agenda, one, other = Agenda(), Item(), Item()
    assert agenda.next() == NEVER
    agenda.arm(one, 5.0)
    agenda.arm(other, 3.0)
    agenda.arm(one, 2.0)
    agenda.arm(one, 9.0)  # later: the armed one stays, and is armed anew when it fires
    assert agenda.next() == 2.0
    assert agenda.due(1.0) is None
    assert agenda.due(10.0) is one
    assert agenda.due(10.0) is other
    assert agenda.due(10.0) is None


def test_who_is_forgotten_does_not_come():
    agenda, one, other = Agenda(), Item(), Item()
    agenda.arm(one, 1.0)
    agenda.arm(other, 2.0)
    agenda.forget(one)
    agenda.forget(one)
    assert agenda.due(10.0) is other
    assert agenda.next() == NEVER


def test_moving_earlier_for_ever_keeps_little():
    agenda, items = Agenda(), [Item() for _ in range(10)]
    for n in range(20 * COMPACT_AFTER):
        agenda.arm(items[n % 10], 1e9 - n)
        assert agenda.next() == 1e9 - n
        assert len(agenda) <= 2 * COMPACT_AFTER
    order = [agenda.due(2e9) for _ in range(11)]
    assert order[:10] == items[::-1]
    assert order[10] is None
