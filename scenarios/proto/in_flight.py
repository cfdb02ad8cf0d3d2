"""Packets between the ends of paths: when they come out, and how many there may be."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Generic, TypeVar

from edge.proto.types import NEVER
from scenarios.proto.link import Link

E = TypeVar("E")

PACKETS = 65536
BYTES = 64 << 20
"""On one way at one time; more is a counted drop, as a path that only delays has no queue."""


class Way(Generic[E]):
    """One direction of the path of the far end `end`. `up`: to the PoP."""

    __slots__ = ("bytes", "end", "link", "packets", "up")

    def __init__(self, end: E, link: Link, *, up: bool) -> None:
        self.end = end
        self.link = link
        self.up = up
        self.packets = 0  # on their way now
        self.bytes = 0

    def has_room(self, packets: int, size: int) -> bool:
        """Whether so many more may go, `size` bytes together."""
        return self.packets + packets <= PACKETS and self.bytes + size <= BYTES


class InFlight(Generic[E]):
    """Batches by the time at which they come out; equal times keep the order in which they were sent."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Way[E], list[bytearray], int]] = []
        self._sequence = 0
        self.packets = 0

    @property
    def due(self) -> float:
        """When the next batch comes out; NEVER if there is none."""
        return self._heap[0][0] if self._heap else NEVER

    def push(self, at: float, way: Way[E], packets: list[bytearray]) -> bool:
        """Keeps `packets`, unless there is no room for all of them."""
        size = sum(map(len, packets))
        count = len(packets)
        if not way.has_room(count, size):
            return False
        self._sequence += 1
        heappush(self._heap, (at, self._sequence, way, packets, size))
        way.packets += count
        way.bytes += size
        self.packets += count
        return True

    def pop(self, now: float) -> tuple[Way[E], list[bytearray]] | None:
        """The next batch that has come out by `now`."""
        if not self._heap or self._heap[0][0] > now:
            return None
        _, _, way, packets, size = heappop(self._heap)
        way.packets -= len(packets)
        way.bytes -= size
        self.packets -= len(packets)
        return way, packets
