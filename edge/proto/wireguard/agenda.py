"""Which tunnel to look at next: one armed deadline per tunnel in a heap.

Traffic moves timers later all the time, which costs nothing here: the armed deadline stays, fires too early, and is
armed anew where it really belongs. Only a deadline that moves earlier is pushed.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush

from edge.proto.types import NEVER, Deadline
from edge.proto.wireguard.tunnel import Tunnel

COMPACT_AFTER = 64  # removed tunnels, in a heap of
COMPACT_ALWAYS = 1024  # more than this many entries


class Agenda:
    """Deadlines of many tunnels. ``Tunnel.armed_at`` is the one entry of a tunnel that counts."""

    __slots__ = ("_heap", "_removed", "_sequence")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Tunnel]] = []
        self._sequence = 0
        self._removed = 0

    def arm(self, tunnel: Tunnel) -> None:
        """Take note if the tunnel's earliest timer is before what is armed."""
        at = tunnel.timers.earliest()
        if at < tunnel.armed_at:
            tunnel.armed_at = at
            self._sequence += 1
            heappush(self._heap, (at, self._sequence, tunnel))

    def earliest(self) -> Deadline:
        at = self.next()
        return Deadline(at, self._heap[0][2].timers.deadline().why if self._heap else "idle")

    def next(self) -> float:
        """When somebody is due; NEVER if nobody is."""
        heap = self._heap
        while heap:
            at, _, tunnel = heap[0]
            if at == tunnel.armed_at:
                return at
            heappop(heap)  # superseded by an earlier deadline of the same tunnel
        return NEVER

    def due(self, now: float) -> Tunnel | None:
        """A tunnel whose deadline has passed, no longer armed; None if there is none."""
        if self.next() > now:
            return None
        _, _, tunnel = heappop(self._heap)
        tunnel.armed_at = NEVER
        return tunnel

    def forget(self, tunnel: Tunnel) -> None:
        """Keys of a removed peer must not wait in the heap for a deadline that no longer matters."""
        tunnel.armed_at = NEVER
        self._removed += 1
        if self._removed > COMPACT_AFTER or len(self._heap) < COMPACT_ALWAYS:
            self._heap = [entry for entry in self._heap if entry[0] == entry[2].armed_at]
            heapify(self._heap)
            self._removed = 0
