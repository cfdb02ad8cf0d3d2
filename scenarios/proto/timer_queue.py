"""Many deadlines, one wake-up: a heap with lazy removal."""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

from edge.proto.types import NEVER

K = TypeVar("K", bound=Hashable)


class TimerQueue(Generic[K]):
    """Deadlines by key. Equal deadlines come out in the order in which they were set."""

    def __init__(self) -> None:
        self.due = NEVER
        """When to look again: never later than the next deadline, earlier if that was taken back or moved."""
        self._entries: dict[K, tuple[float, int, K]] = {}  # those in the heap that count
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0

    def set(self, key: K, at: float) -> None:
        """(Re)arm; NEVER disarms."""
        if at == NEVER:
            self._entries.pop(key, None)
            return
        old = self._entries.get(key)
        if old is not None and old[0] == at:
            return
        self._sequence += 1
        self._entries[key] = entry = (at, self._sequence, key)
        heappush(self._heap, entry)
        if at < self.due:
            self.due = at
        if len(self._heap) > 2 * len(self._entries) + 64:  # mostly superseded entries
            self._heap = list(self._entries.values())
            heapify(self._heap)

    def cancel(self, key: K) -> None:
        self._entries.pop(key, None)

    def next(self) -> float:
        """The next deadline, to the float."""
        heap, entries = self._heap, self._entries
        while heap:
            entry = heap[0]
            if entries.get(entry[2]) is entry:
                self.due = entry[0]
                return entry[0]
            heappop(heap)
        self.due = NEVER
        return NEVER

    def pop_all(self, now: float) -> list[K]:
        """Take every key whose time has come, each once, in order."""
        if self.due > now:
            return []
        heap, entries, due = self._heap, self._entries, NEVER
        found = []
        while heap:
            entry = heap[0]
            at, _, key = entry
            if entries.get(key) is entry:
                if at > now:
                    due = at
                    break
                del entries[key]
                found.append(key)
            heappop(heap)
        self.due = due
        return found

    def pop_due(self, now: float) -> K | None:
        """Take one key whose time has come."""
        if self.due > now or self.next() > now:
            return None
        _, _, key = heappop(self._heap)
        del self._entries[key]
        self.next()
        return key
