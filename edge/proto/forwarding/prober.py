"""When to probe which replica: one deadline per replica in a heap, in phases, so that many do not come at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush

from edge.proto.forwarding.attachment import Attachment
from edge.proto.forwarding.replica import ProbeSettings, Replica
from edge.proto.forwarding.site import ReplicaChanged, Site
from edge.proto.types import NEVER, Deadline

PHASES = 16  # of an interval


class Prober:
    """Probes the replicas of all sites that have more than one. `rng(n)` gives secret random bytes."""

    def __init__(self, rng: Callable[[int], bytes]) -> None:
        self._rng = rng
        self._settings = ProbeSettings()
        self._due: dict[Replica, float] = {}
        self._heap: list[tuple[float, int, Replica]] = []
        self._count = 0
        self._changes: list[ReplicaChanged] = []

    def watch(self, sites: Iterable[Site], settings: ProbeSettings) -> None:
        """From now on probe these, after replicas have joined or left."""
        before, self._due = self._due, {}
        self._settings = settings
        for site in sites:
            site.changes = self._changes
            site.reform(settings)
            if len(site.replicas) > 1:
                for replica in site.replicas:
                    self._due[replica] = before.get(replica, -NEVER)
        self._heap = [(at, n, replica) for n, (replica, at) in enumerate(self._due.items())]
        heapify(self._heap)
        self._count = len(self._heap)

    def poll_timeout(self) -> Deadline:
        """When to call ``handle_timeout``."""
        return Deadline(self.next_timeout(), "probe-replicas")

    def next_timeout(self) -> float:
        """As ``poll_timeout``, without its reason."""
        return self._heap[0][0] if self._heap else NEVER

    def handle_timeout(self, now: float) -> list[tuple[Attachment, bytearray]]:
        """Judge every replica whose interval is over; returns the next probes. Calling early is harmless."""
        probes = []
        heap = self._heap
        interval = self._settings.interval
        while heap and heap[0][0] <= now:
            at, _, replica = heappop(heap)
            self._count += 1
            if at == -NEVER:
                next_at = now + interval * (self._count % PHASES) / PHASES
            else:
                next_at = now + interval
                replica.end_interval(now)
                if (probe := self._probe(replica, now)) is not None:
                    probes.append((replica.attachment, probe))
            self._due[replica] = next_at
            heappush(heap, (next_at, self._count, replica))
        return probes

    def poll_changes(self) -> list[ReplicaChanged]:
        """The states that changed since the last call, in order."""
        if not self._changes:
            return []
        changes = self._changes.copy()
        self._changes.clear()
        return changes

    def _probe(self, replica: Replica, now: float) -> bytearray | None:
        if replica.address is None:
            return None
        vnet = replica.attachment.vnet
        gateway = vnet.gateway4 if len(replica.address) == 4 else vnet.gateway6
        return None if gateway is None else replica.probe(gateway, now, self._rng)
