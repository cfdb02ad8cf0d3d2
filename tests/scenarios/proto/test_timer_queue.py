import random
import tracemalloc

from edge.proto.types import NEVER
from scenarios.proto.timer_queue import TimerQueue


def drain(queue, now):
    found = []
    while (key := queue.pop_due(now)) is not None:
        found.append(key)
    return found


def test_in_order_of_time_then_of_setting():
    queue = TimerQueue()
    for key, at in (("c", 2.0), ("b", 1.0), ("a", 1.0), ("d", 3.0)):
        queue.set(key, at)
    assert queue.next() == 1.0
    assert drain(queue, 2.0) == ["b", "a", "c"]
    assert queue.next() == 3.0


def test_moving_and_cancelling():
    queue = TimerQueue()
    queue.set("a", 1.0)
    queue.set("b", 2.0)
    queue.set("a", 3.0)
    queue.cancel("b")
    queue.set("c", NEVER)
    assert drain(queue, 2.9) == []
    assert drain(queue, 3.0) == ["a"]
    assert queue.next() == NEVER


def test_against_a_plain_dictionary():
    rng, queue, plain = random.Random(5), TimerQueue(), {}
    for step in range(5000):
        key = rng.randrange(20)
        if rng.random() < 0.1:
            queue.cancel(key)
            plain.pop(key, None)
        else:
            plain[key] = step + rng.randrange(200)
            queue.set(key, plain[key])
        assert queue.next() == min(plain.values(), default=NEVER)
        for due in drain(queue, step):
            assert plain.pop(due) <= step


def test_all_that_is_due_at_once_is_what_is_due_one_by_one():
    rng, one, other = random.Random(6), TimerQueue(), TimerQueue()
    for step in range(3000):
        for queue in (one, other):
            state = rng.getstate()
            for _ in range(3):
                key, at = rng.randrange(20), step + rng.randrange(50)
                queue.cancel(key) if rng.random() < 0.2 else queue.set(key, at)
            if queue is one:
                rng.setstate(state)
        assert one.pop_all(step) == drain(other, step)
        assert one.due <= one.next() == other.next()


def test_moving_a_deadline_costs_no_memory():
    queue = TimerQueue()
    tracemalloc.start()
    try:
        for step in range(20_000):
            queue.set("a", 1e6 + step)
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
