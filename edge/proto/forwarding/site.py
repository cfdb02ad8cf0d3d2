"""A site: its connectors (replicas) as one logical attachment. Routes lead here, and packets to the active replica.

The most preferred replica begins. When the active one is lost, the most preferred that is alive takes over, and keeps
the traffic: one that comes back is a standby, so that a path that comes and goes moves the traffic once. After an
outage of all, and a moment longer, who answers is taken without delay and preference counts again. While none is
alive, packets for the site die: never would they go to whoever has a shorter prefix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edge.proto.forwarding.replica import ProbeSettings, Replica, ReplicaState
from edge.proto.types import NEVER

if TYPE_CHECKING:
    from edge.proto.forwarding.attachment import Attachment
    from edge.proto.forwarding.verdict import Party
    from edge.proto.forwarding.vnet import VirtualNetwork


class ReplicaChanged(NamedTuple):
    """`replica` was in another state `before`."""

    replica: Replica
    before: ReplicaState
    after: ReplicaState


class Site:
    """See the module. Like an ``Attachment``, it owns prefixes, sends, is sent to, and is judged by rules.

    Rules and hooks see the most preferred replica's party, whichever has the traffic: a flow is judged alike
    before and after a failover.
    """

    __slots__ = (
        "_lost",
        "_outage",
        "_settled_at",
        "active",
        "changes",
        "egress",
        "group",
        "name",
        "prefixes",
        "replicas",
        "settings",
        "vnet",
    )

    def __init__(self, name: str, vnet: VirtualNetwork, prefixes: tuple[tuple[bytes, int], ...]) -> None:
        self.name = name
        self.vnet = vnet
        self.prefixes = prefixes
        self.group = self
        self.settings = ProbeSettings()
        self.replicas: list[Replica] = []  # in order of preference
        self.active: Replica | None = None
        self.egress: Attachment | None = None  # where packets go; None: nowhere
        self.changes: list[ReplicaChanged] = []  # for whoever watches
        self._lost: Replica | None = None  # was the latest active one
        self._outage = False
        self._settled_at = -NEVER

    def __repr__(self) -> str:
        return f"<Site {self.name} in {self.vnet.name} active={self.egress}>"

    @property
    def party(self) -> Party:
        return self.replicas[0].attachment.party

    @property
    def mtu(self) -> int:
        return self.replicas[0].attachment.mtu

    def join(self, attachment: Attachment, address: bytes | None, preference: int) -> None:
        """Add a replica. Who is active is decided by ``reform``, when all have joined and left."""
        attachment.group = self
        attachment.replica = Replica(self, attachment, address, preference)
        self.replicas.append(attachment.replica)
        self.replicas.sort(key=lambda replica: replica.preference)

    def leave(self, attachment: Attachment) -> None:
        replica = attachment.replica
        assert replica is not None
        self.replicas.remove(replica)
        attachment.group = attachment
        attachment.replica = None
        if self.active is replica:
            self._activate(None)

    def reform(self, settings: ProbeSettings) -> None:
        """Replicas have joined or left, or the settings changed. A connector without a replica is never down."""
        self.settings = settings
        if len(self.replicas) == 1:
            self.replicas[0].forget()
        if self.active is None:
            untried = (replica for replica in self.replicas if replica.untried)
            best = self._best() or next(untried, None)
            self._outage = best is None
            self._activate(best)
        self._report()

    def is_urgent(self, now: float) -> bool:
        """Whether nobody can be asked to prove itself first."""
        return self.active is None or now < self._settled_at

    def lose(self, replica: Replica, now: float) -> None:
        """`replica` shows no life any more."""
        if self.active is replica:
            self._lost = replica
            best = self._best()
            self._outage = best is None
            self._replace(best)
        self._report()

    def elect(self, now: float) -> None:
        """A replica is alive again, or for the first time."""
        best = self._best()
        assert best is not None
        if self._outage:
            self._outage = False
            self._settled_at = now + self.settings.patience
            self._replace(best)
        elif self.settings.preempt or now < self._settled_at:
            assert self.active is not None
            if self.replicas.index(best) < self.replicas.index(self.active):
                self._activate(best)
        self._report()

    def _best(self) -> Replica | None:
        return next((replica for replica in self.replicas if replica.alive), None)

    def _replace(self, best: Replica | None) -> None:
        """`best` instead of the one that was lost; a failover if that one had ever been alive."""
        if best is not None and self._lost is not None and self._lost.failed:
            self.vnet.failovers[self.name] += 1
        self._activate(best)

    def _activate(self, replica: Replica | None) -> None:
        if replica is not self.active:
            self.active = replica
            self.egress = None if replica is None else replica.attachment
            self.vnet.changed()

    def _report(self) -> None:
        for replica in self.replicas:
            if (state := replica.state) is not replica.told:
                if len(self.replicas) > 1:
                    self.changes.append(ReplicaChanged(replica, replica.told, state))
                replica.told = state
