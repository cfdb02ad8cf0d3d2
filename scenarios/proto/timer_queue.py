"""Many deadlines, one wake-up: a heap with lazy removal."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

from edge.proto.types import NEVER

K = TypeVar("K", bound=Hashable)


class TimerQueue(Generic[K]):
    """Deadlines by key. Equal deadlines come out in the order in which they were set."""

    def __init__(self) -> None:
        self.due = NEVER
        """When to look again: never later than the next deadline, earlier if that was taken back or moved."""
        self._at: dict[K, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0

    def set(self, key: K, at: float) -> None:
        """(Re)arm; NEVER disarms."""
        if at == NEVER:
            self._at.pop(key, None)
            return
        old = self._at.get(key)
        if old is not None and old[0] == at:
            return
        self._sequence += 1
        self._at[key] = (at, self._sequence)
        heapq.heappush(self._heap, (at, self._sequence, key))
        if at < self.due:
            self.due = at
        if len(self._heap) > 2 * len(self._at) + 64:  # mostly superseded entries
            self._heap = [(at, sequence, key) for key, (at, sequence) in self._at.items()]
            heapq.heapify(self._heap)

    def cancel(self, key: K) -> None:
        self._at.pop(key, None)

    def next(self) -> float:
        """The next deadline, to the float."""
        while self._heap:
            at, sequence, key = self._heap[0]
            if self._at.get(key) == (at, sequence):
                self.due = at
                return at
            heapq.heappop(self._heap)
        self.due = NEVER
        return NEVER

    def pop_due(self, now: float) -> K | None:
        """Take one key whose time has come."""
        if self.due > now or self.next() > now:
            return None
        _, _, key = heapq.heappop(self._heap)
        del self._at[key]
        self.next()
        return key
