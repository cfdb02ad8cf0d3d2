"""The event heap: order, limits, and time that never goes back."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from scenarios.fabric.sim.heap import EventHeap


@given(st.lists(st.floats(0, 10)))
def test_things_happen_in_order_and_equal_times_as_they_were_scheduled(times: list[float]) -> None:
    heap = EventHeap()
    seen: list[tuple[float, int]] = []
    for number, at in enumerate(times):
        heap.at(at, lambda number: seen.append((heap.now, number)), number)
    assert heap.run(20.0, at_most=1000)
    assert seen == sorted(zip(times, range(len(times)), strict=True))
    assert heap.now == 20.0 and heap.next() == inf


def test_what_is_overdue_happens_now_and_never_before_what_is_due() -> None:
    heap = EventHeap(5.0)
    seen: list[str] = []

    def first(_: object) -> None:
        heap.at(1.0, lambda _: seen.append("overdue"))
        seen.append("first")

    heap.at(6.0, first)
    heap.at(6.0, lambda _: seen.append("second"))
    heap.run(7.0, at_most=10)
    assert seen == ["first", "second", "overdue"]


def test_a_run_ends_early_at_its_limit_and_when_somebody_asks() -> None:
    heap = EventHeap()
    for at in (1.0, 2.0, 3.0):
        heap.at(at, lambda _: None)
    assert not heap.run(10.0, at_most=1)
    assert heap.now == 1.0
    heap.at(1.5, lambda _: heap.stop())
    assert not heap.run(10.0, at_most=10)
    assert heap.now == 1.5
    assert heap.run(2.5, at_most=10)
    assert heap.now == 2.5, "the time that was asked for, though nothing happened then"
    assert heap.run(inf, at_most=10)
    assert heap.now == 3.0, "there is no infinite time"
    assert heap.done == 4


def test_what_was_due_while_it_slept_is_due_then_in_order() -> None:
    heap = EventHeap()
    happened: list[tuple[str, float]] = []
    for at, name in ((2.0, "second"), (1.0, "first"), (9.0, "later")):
        heap.at(at, lambda name: happened.append((name, heap.now)), name)
    heap.skip(5.0)
    assert heap.now == 5.0
    assert sorted(at for at, _ in heap.pending()) == [5.0, 5.0, 9.0]
    heap.run(5.0, at_most=10)
    assert happened == [("first", 5.0), ("second", 5.0)]
    heap.skip(3.0)  # never backwards
    assert heap.now == 5.0
