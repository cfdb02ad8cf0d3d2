"""Whether an answer finds its way back to the connector, judged from the route tables on the way.

One side of a flow is a *leg*: from an actor through the machines of its LAN to the connector of its site. A request
takes the leg of who sends it, its answer that of who gets it; what is between two connectors is one tunnel each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple, TypeAlias

from scenarios.proto.route_table import Device, Hop, Network

NextHop: TypeAlias = Callable[[str, bytes], Hop | None]
"""Where a machine sends what is for an address; None: nowhere."""

Mode: TypeAlias = Literal["default-gateway", "intermediate-gateway", "per-host"]

MOST_HOPS = 16
"""After which a leg goes in circles."""

INTERNET, POP = "the Internet", "PoP"
"""What is on paths besides machines."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The LAN of a site, as far as paths through it go."""

    mode: Mode
    owners: Mapping[bytes, str]
    """Who answers for an address."""
    gateways: Mapping[int, bytes]
    """By the size of an address, that of the connector."""
    connectors: Collection[str]
    router: str | None
    remote: Sequence[Network]
    """What ought to go to the connector."""

    def addresses(self, machine: str | None) -> list[bytes]:
        """Of a machine of the LAN."""
        return [address for address, owner in self.owners.items() if owner == machine]

    def entry(self, address: bytes) -> Network:
        """The part of `remote` that holds an address: what a route to the connector is missing for."""
        number, size = int.from_bytes(address), len(address)
        holding = [
            (network, length)
            for network, length in self.remote
            if len(network) == size
            and number >> (size * 8 - length) == int.from_bytes(network) >> (size * 8 - length)
        ]
        return max(holding, key=lambda each: each[1], default=(address, size * 8))


class Fate(Enum):
    """How a leg ends."""

    CONNECTOR = "connector"
    DELIVERED = "delivered"  # the destination is on the same LAN
    INTERNET = "internet"
    NO_ROUTE = "no route"
    NOBODY = "nobody"  # has the address of the next hop
    NO_ROUTER = "no router"  # is at the address of the next hop, but a host
    CIRCLE = "circle"
    OTHER = "other"  # an interface that a program made


class Step(NamedTuple):
    """What one machine does with the packet."""

    machine: str
    hop: Hop | None


@dataclass(frozen=True, slots=True)
class Leg:
    """The way of a packet for `destination` through a LAN."""

    destination: bytes
    steps: tuple[Step, ...]
    fate: Fate
    end: str
    """Where it ends: the connector, the destination, or whoever should not have got it; empty for nobody."""

    @property
    def arrives(self) -> bool:
        return self.fate in (Fate.CONNECTOR, Fate.DELIVERED)

    @property
    def names(self) -> list[str]:
        """The machines that it passes, its end included."""
        last = INTERNET if self.fate is Fate.INTERNET else self.end
        return [*(step.machine for step in self.steps), *([last] if last else [])]


def trace(ground: Ground, start: str, destination: bytes, next_hop: NextHop) -> Leg:
    """Follow what `start`, a machine of the LAN, sends to `destination`."""
    steps: list[Step] = []
    machine = start

    def leg(fate: Fate, end: str = "") -> Leg:
        return Leg(destination, tuple(steps), fate, end)

    while len(steps) < MOST_HOPS:
        hop = next_hop(machine, destination)
        steps.append(Step(machine, hop))
        if hop is None:
            return leg(Fate.NO_ROUTE)
        if hop.device is Device.INTERNET:
            return leg(Fate.INTERNET)
        if hop.device is Device.TUNNEL:
            return leg(Fate.CONNECTOR)
        if hop.device is Device.OTHER:
            return leg(Fate.OTHER)
        neighbour = hop.via or destination
        owner = ground.owners.get(neighbour)
        if owner is None:
            return leg(Fate.NOBODY)
        if neighbour == destination:
            return leg(Fate.DELIVERED, owner)
        if owner in ground.connectors:
            if _puts_back(ground, next_hop(owner, destination), destination):
                steps.append(Step(owner, None))
                return leg(Fate.DELIVERED, ground.owners[destination])
            return leg(Fate.CONNECTOR, owner)
        if owner != ground.router:
            return leg(Fate.NO_ROUTER, owner)
        machine = owner
    return leg(Fate.CIRCLE, machine)


def _puts_back(ground: Ground, hop: Hop | None, destination: bytes) -> bool:
    """Whether a connector with this hop sends a packet on to a neighbour of who sent it."""
    on_link = hop is not None and hop.device is Device.LAN and hop.via is None
    return on_link and ground.owners.get(destination) not in (None, *ground.connectors)
