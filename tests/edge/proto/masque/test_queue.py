"""The queue of datagrams that wait."""

from edge.proto.masque.queue import DatagramQueue


def payloads(*numbers):
    return [bytes([n]) for n in numbers]


def test_datagrams_leave_in_order():
    queue = DatagramQueue(8)
    assert queue.extend(payloads(1, 2, 3)) == 0
    assert queue.take(2) == payloads(1, 2)
    queue.extend(payloads(4))
    assert len(queue) == 2
    assert queue.take(5) == payloads(3, 4)
    assert queue.take(1) == []
    assert queue.dropped == 0


def test_the_oldest_dies_first():
    queue = DatagramQueue(3)
    queue.extend(payloads(1, 2))
    assert queue.extend(payloads(3, 4, 5)) == 2
    assert queue.dropped == 2
    assert queue.take(3) == payloads(3, 4, 5)


def test_a_burst_beyond_the_limit_kills_its_own_head():
    queue = DatagramQueue(2)
    queue.extend(payloads(1))
    assert queue.extend(payloads(2, 3, 4)) == 2
    assert queue.take(9) == payloads(3, 4)


def test_what_is_cleared_has_died():
    queue = DatagramQueue(4)
    queue.extend(iter(payloads(1, 2, 3)))
    assert queue.clear() == 3
    assert (len(queue), queue.dropped) == (0, 3)
