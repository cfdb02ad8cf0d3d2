"""The one queue of a simulated world: what happens next, keyed (time, sequence); equal times keep their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from math import inf
from typing import Any

Happening = Callable[[Any], None]
"""Called with its argument when its time has come; may schedule more, never earlier than now."""


class EventHeap:
    """Virtual time in seconds. Not a task, not a thread: ``run`` does what is due and returns."""

    __slots__ = ("_heap", "_sequence", "_stop", "done", "now")

    def __init__(self, now: float = 0.0) -> None:
        self.now = now
        self.done = 0  # events
        self._heap: list[tuple[float, int, Happening, Any]] = []
        self._sequence = 0
        self._stop = False

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, when: float, happening: Happening, argument: Any = None) -> None:
        """Call `happening` at `when`; what is overdue happens now, after what is already due."""
        self._sequence += 1
        heappush(self._heap, (when if when > self.now else self.now, self._sequence, happening, argument))

    def next(self) -> float:
        """When the next event is due; infinite if there is none."""
        return self._heap[0][0] if self._heap else inf

    def pending(self) -> Iterator[tuple[float, Happening]]:
        """What is to happen, in no order."""
        for at, _, happening, _ in self._heap:
            yield at, happening

    def skip(self, until: float) -> None:
        """As for a machine that slept: what was due before `until` is due then, in its order."""
        late = []
        while self._heap and self._heap[0][0] < until:
            late.append(heappop(self._heap))
        self.now = max(self.now, until)
        for _, _, happening, argument in late:
            self.at(self.now, happening, argument)

    def stop(self) -> None:
        """Let ``run`` return after the present event: somebody outside has to have a look."""
        self._stop = True

    def run(self, until: float, *, at_most: int) -> bool:
        """Do what is due up to and including `until`, in order.

        False if it returned early: after `at_most` events, or because of ``stop``. Then `now` is the time of the last
        event; else it is `until`, if that is finite.
        """
        heap, done = self._heap, 0
        self._stop = False
        while heap and heap[0][0] <= until:
            self.now, _, happening, argument = heappop(heap)
            happening(argument)
            done += 1
            if self._stop or done >= at_most:
                self.done += done
                return False
        self.done += done
        if until < inf:
            self.now = until
        return True
