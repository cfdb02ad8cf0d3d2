"""Which connection to look at next: one armed deadline per connection in a heap.

A deadline that moves later costs nothing: the armed one stays, fires too early, and is armed anew where it belongs.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Generic, Protocol, TypeVar

from edge.proto.types import NEVER

COMPACT_AFTER = 1024  # entries that no longer count


class Timed(Protocol):
    armed_at: float
    """Of the one entry that counts; NEVER if none does."""


T = TypeVar("T", bound=Timed)


class Agenda(Generic[T]):
    __slots__ = ("_heap", "_sequence", "_stale")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._sequence = 0
        self._stale = 0

    def __len__(self) -> int:
        """Entries that are kept, those that no longer count included."""
        return len(self._heap)

    def arm(self, item: T, at: float) -> None:
        """Wake `item` at `at` or before."""
        if at < item.armed_at:
            if item.armed_at != NEVER:
                self._outdated()
            item.armed_at = at
            self._sequence += 1
            heappush(self._heap, (at, self._sequence, item))

    def next(self) -> float:
        """When somebody is due; NEVER if nobody is."""
        heap = self._heap
        while heap and heap[0][0] != heap[0][2].armed_at:
            heappop(heap)
            self._stale -= 1
        return heap[0][0] if heap else NEVER

    def due(self, now: float) -> T | None:
        """Somebody whose deadline has come, no longer armed; None if there is nobody."""
        if self.next() > now:
            return None
        _, _, item = heappop(self._heap)
        item.armed_at = NEVER
        return item

    def forget(self, item: T) -> None:
        """A connection must not stay alive for a deadline that no longer matters."""
        if item.armed_at != NEVER:
            item.armed_at = NEVER
            self._outdated()

    def _outdated(self) -> None:
        self._stale += 1
        if self._stale > COMPACT_AFTER and self._stale * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[0] == entry[2].armed_at]
            heapify(self._heap)
            self._stale = 0
