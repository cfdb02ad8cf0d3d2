"""The queue of datagrams that wait."""

from edge.proto.masque.queue import DatagramQueue
from edge.proto.types import DropReason

ROOM = 10


def payloads(*numbers):
    return [bytes([n]) for n in numbers]


def test_datagrams_leave_in_order():
    queue = DatagramQueue(8)
    queue.extend(payloads(1, 2, 3), ROOM)
    assert queue.take(2) == payloads(1, 2)
    queue.extend(payloads(4), ROOM)
    assert len(queue) == 2
    assert queue.take(5) == payloads(3, 4)
    assert queue.take(1) == []
    assert not queue.drops


def test_the_oldest_dies_first():
    queue = DatagramQueue(3)
    queue.extend(payloads(1, 2), ROOM)
    queue.extend(payloads(3, 4, 5), ROOM)
    assert queue.drops == {DropReason.QUEUE_FULL: 2}
    assert queue.take(3) == payloads(3, 4, 5)


def test_a_burst_beyond_the_limit_kills_its_own_head():
    queue = DatagramQueue(2)
    queue.extend(payloads(1), ROOM)
    queue.extend(payloads(2, 3, 4), ROOM)
    assert queue.take(9) == payloads(3, 4)


def test_what_is_too_large_does_not_wait():
    queue = DatagramQueue(4)
    queue.extend([bytes(ROOM), bytes(ROOM + 1), b"x"], ROOM)
    assert queue.take(4) == [bytes(ROOM), b"x"]
    assert queue.drops == {DropReason.TOO_BIG: 1}


def test_as_many_as_fit_into_so_many_octets():
    queue = DatagramQueue(4)
    queue.extend([bytes(3), bytes(3), bytes(3)], ROOM)
    assert queue.take_octets(9, overhead=1) == [bytes(3)] * 2
    assert queue.take_octets(3, overhead=1) == []
    assert len(queue) == 1


def test_what_is_cleared_has_died_and_stays_counted():
    queue = DatagramQueue(4)
    queue.extend(payloads(1, 2, 3), ROOM)
    queue.clear(DropReason.TUNNEL_DOWN)
    queue.clear(DropReason.TUNNEL_DOWN)
    assert len(queue) == 0
    assert queue.drops == {DropReason.TUNNEL_DOWN: 3}
