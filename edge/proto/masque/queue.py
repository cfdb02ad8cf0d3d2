"""HTTP datagrams that wait to be sent: bounded, and the oldest dies first, since late voice is worth less than new.

It lies in front of the queues of QUIC and TCP libraries, which are unbounded and never drop.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable

from edge.proto.types import DropReason


class DatagramQueue:
    """Of one stream. `drops` outlives ``clear``: who counts packets may keep the queue after its stream is gone."""

    __slots__ = ("_limit", "_waiting", "drops")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[bytes] = deque()
        self.drops: Counter[DropReason] = Counter()

    def __len__(self) -> int:
        return len(self._waiting)

    def extend(self, payloads: Iterable[bytes], room: int) -> None:
        """Queue what is at most `room` octets long; what is longer, or too much, is a counted drop."""
        waiting = self._waiting
        for payload in payloads:
            if len(payload) > room:
                self.drops[DropReason.TOO_BIG] += 1
            else:
                waiting.append(payload)
        excess = len(waiting) - self._limit
        if excess > 0:
            for _ in range(excess):
                waiting.popleft()
            self.drops[DropReason.QUEUE_FULL] += excess

    def take(self, most: int) -> list[bytes]:
        """The oldest, at most `most` of them."""
        waiting = self._waiting
        if most >= len(waiting):
            taken = list(waiting)
            waiting.clear()
            return taken
        return [waiting.popleft() for _ in range(most)]

    def take_octets(self, most: int, overhead: int) -> list[bytes]:
        """The oldest whose sizes, and `overhead` for each, are together at most `most` octets."""
        waiting, taken = self._waiting, []
        while waiting and len(waiting[0]) + overhead <= most:
            most -= len(waiting[0]) + overhead
            taken.append(waiting.popleft())
        return taken

    def clear(self, reason: DropReason) -> None:
        """All that waits dies."""
        if self._waiting:
            self.drops[reason] += len(self._waiting)
            self._waiting.clear()
