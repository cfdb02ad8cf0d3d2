"""What lies behind one or several tunnels: a device, or a site whose hosts have one gateway at a time.

A site may have several connectors. Which one the hosts send to is settled as by a first-hop redundancy protocol (VRRP,
RFC 9568) that tracks the tunnels: the first in order that works, and it stays so until it fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from edge.proto.types import NEVER
from scenarios.proto.host import Host
from scenarios.proto.lan import Lan
from scenarios.proto.routed_lan import RoutedLan

TRACKING_TIME = 1.0
"""Seconds without a sign of life from its tunnel after which a gateway that has a stand-in gives up its role."""

ZOMBIE = "zombie"
"""Why packets die at a connector whose tunnel is alive, and which forwards nothing."""


class Port:
    """The packet side of one tunnel. Whoever drives the tunnel drives what is inside too."""

    __slots__ = ("_now", "_outgoing", "_premises", "heard_at", "name", "on_zombie", "running", "zombie")

    def __init__(self, premises: Premises, name: str) -> None:
        self.name = name
        self.running = False
        """Whether the process behind this port is there: the fabric says so."""
        self.zombie = False
        """Its tunnel is alive, but it forwards nothing, either way."""
        self.on_zombie: Callable[[Sequence[bytearray], float], None] | None = None
        """Told what it then keeps from the tunnel, while somebody looks on."""
        self.heard_at = -NEVER
        """When its tunnel last brought anything."""
        self._premises = premises
        self._outgoing: list[bytearray] = []
        self._now = 0.0

    def take(self, packets: list[bytearray]) -> None:
        """Carry `packets` with the next turn."""
        self._outgoing += packets

    def lose(self, reason: str, packets: Sequence[bytearray]) -> None:
        """They died at the far end of the tunnel."""
        self._premises.lose(reason, packets)

    def handle_packets(self, packets: list[bytearray], now: float) -> None:
        self.heard_at = self._now = now
        if self.zombie:
            self._premises.lose(ZOMBIE, packets)
        elif packets:
            self._premises.inside.handle_packets(packets, now)

    def handle_timeout(self, now: float) -> None:
        self._now = now
        self._premises.inside.handle_timeout(now)

    def poll_packets(self) -> list[bytearray]:
        self._premises.collect(self._now, self)
        out = self._outgoing
        if not out:
            return []
        self._outgoing = []
        if self.zombie:
            self._premises.lose(ZOMBIE, out)
            if self.on_zombie is not None:
                self.on_zombie(out, self._now)
            return []
        return out

    def poll_timeout(self) -> float:
        """The deadlines inside, if this is the gateway; others need not wake for them."""
        return self._premises.inside.poll_timeout() if self._premises.gateway is self else NEVER


class Premises:
    """`names` are the tunnels, in order of preference."""

    def __init__(self, inside: Host | Lan, names: Sequence[str]) -> None:
        self.inside = inside
        self.ports = {name: Port(self, name) for name in names}
        self._only = next(iter(self.ports.values())) if len(self.ports) == 1 else None
        self.counters: Counter[str] = Counter()
        self.on_lost: Callable[[str, Sequence[bytes]], None] | None = None
        """Told what died between the hosts and their tunnel, by counter, while somebody watches."""
        self.gateway: Port | None = None
        self.on_waiting: Callable[[Port], None] | None = None
        """Called when a port has got something to carry, and nobody is just about to ask it."""
        if isinstance(inside, RoutedLan):
            inside.on_lost = self.lose

    @property
    def hosts(self) -> list[Host]:
        return self.inside.hosts if isinstance(self.inside, Lan) else [self.inside]

    def touch(self, host: Host) -> None:
        """Somebody gave `host` something to do."""
        if isinstance(self.inside, Lan):
            self.inside.touch(host)

    def elect(self, now: float) -> Port | None:
        """The gateway from `now` on; None while no tunnel's process runs."""
        ports = self.ports.values()
        present = self.gateway
        if self._only is not None:
            self.gateway = self._only if self._only.running else None
        elif present is None or not present.running or present.heard_at + TRACKING_TIME < now:
            running = [port for port in ports if port.running]
            alive = [port for port in running if port.heard_at + TRACKING_TIME >= now]
            if present is None or not present.running or alive:
                self.gateway = next(iter(alive or running), None)
        return self.gateway

    def collect(self, now: float, asking: Port | None = None) -> None:
        """Give what the inside has to say to the gateway; without one it is lost."""
        packets = self.inside.poll_packets()
        if packets:
            gateway = self.elect(now)
            if gateway is None:
                self.lose("no_gateway", packets)
            else:
                gateway.take(packets)
                if gateway is not asking and self.on_waiting is not None:
                    self.on_waiting(gateway)

    def lose(self, reason: str, packets: Sequence[bytearray]) -> None:
        """Packets that nobody carries."""
        self.counters[reason] += len(packets)
        if packets and self.on_lost is not None:
            self.on_lost(reason, [bytes(packet) for packet in packets])

    def run(self, now: float) -> None:
        """A turn of the inside by itself: for times when no tunnel is there to drive it."""
        self.inside.handle_timeout(now)
        self.collect(now)
