"""HTTP datagrams of one stream that wait to be sent: a bounded queue in which the oldest dies first.

A tunnel's packets get worthless while they wait, so a queue that is full gives up what has waited longest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice

from edge.proto.masque.carrier import QUEUE_LIMIT


class DatagramQueue:
    """At most `limit` datagrams. `dropped` counts those that died here, ever."""

    __slots__ = ("_waiting", "dropped", "limit")

    def __init__(self, limit: int = QUEUE_LIMIT) -> None:
        self.limit = limit
        self.dropped = 0
        self._waiting: deque[bytes] = deque(maxlen=limit)

    def __len__(self) -> int:
        return len(self._waiting)

    def extend(self, payloads: Iterable[bytes]) -> int:
        """Append in order; returns how many had to die for that, old ones first."""
        before = len(self._waiting)
        payloads = payloads if isinstance(payloads, list) else list(payloads)
        self._waiting.extend(payloads)
        died = before + len(payloads) - len(self._waiting)
        self.dropped += died
        return died

    def take(self, n: int) -> list[bytes]:
        """Remove and return up to `n` of the oldest, in order."""
        waiting = self._waiting
        if n >= len(waiting):
            taken = list(waiting)
            waiting.clear()
            return taken
        taken = list(islice(waiting, n))
        for _ in taken:
            waiting.popleft()
        return taken

    def clear(self) -> int:
        """Forget what waits; returns how many died, which `dropped` counts too."""
        died = len(self._waiting)
        self._waiting.clear()
        self.dropped += died
        return died
