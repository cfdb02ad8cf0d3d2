"""Whether an answer finds its way back to the connector, judged from the route tables on the way, and what is missing.

One side of a flow is a *leg*: from an actor through the machines of its LAN to the connector of its site. A request
takes the leg of who sends it, its answer that of who gets it; what is between two connectors is one tunnel each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address
from typing import Literal, NamedTuple, TypeAlias

from scenarios.proto.route_table import Device, Hop, Network, network_text

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
    onlink: bool = False
    """Whether the connector's address is on no prefix of the LAN."""

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
            return leg(Fate.CONNECTOR, owner)
        if owner != ground.router:
            return leg(Fate.NO_ROUTER, owner)
        machine = owner
    return leg(Fate.CIRCLE, machine)


class Advice(NamedTuple):
    """What is wrong with a leg that does not arrive, in words, and what has to be done about it."""

    says: str
    fix: str
    """Such as: on router:hq: ip route add 100.96.0.0/12 via 10.0.50.10."""


def advise(ground: Ground, leg: Leg, *, answers: bool) -> Advice:
    """`answers`: whether the packet is an answer, else a request; only the words differ."""
    start, culprit = leg.steps[0], _culprit(ground, leg)
    verb = "answers" if answers else "sends to"
    what = network_text(ground.entry(leg.destination))
    sender = f"{_name(ground, start.machine)} {verb} {ip_address(leg.destination)}"
    if start.hop is not None:
        sender += f" via {ip_address(start.hop.via)}" if start.hop.via else " on its own link"
    match leg.fate:
        case Fate.INTERNET:
            says = f"{sender}: {_to_the_internet(ground, leg)}"
        case Fate.NO_ROUTE:
            who = "it" if len(leg.steps) == 1 else _name(ground, leg.steps[-1].machine)
            says = f"{sender}: {who} has no route to {what}"
        case Fate.NO_ROUTER:
            says = f"{sender}: {leg.end} has that address, and forwards nothing"
        case Fate.CIRCLE:
            says = f"{sender}: it goes in circles"
        case Fate.OTHER:
            who = "it" if len(leg.steps) == 1 else _name(ground, leg.steps[-1].machine)
            says = f"{sender}: {who} has a route into an interface that a program made"
        case _:
            says = f"{sender}: {_nobody(ground, leg)}"
    return Advice(says, _fix(ground, culprit, leg.destination))


def _to_the_internet(ground: Ground, leg: Leg) -> str:
    if ground.mode == "default-gateway":
        return "that is the router, which sends it to the Internet, and not the connector"
    lacking = "the router" if ground.mode == "intermediate-gateway" else leg.steps[0].machine
    return (
        f"{lacking} has no route to {network_text(ground.entry(leg.destination))}, so it goes to the Internet"
    )


def _culprit(ground: Ground, leg: Leg) -> Step:
    """The machine with the wrong table: a router is to blame only where it is the one that needs routes."""
    last = leg.steps[-1]
    blameless = last.machine == ground.router and ground.mode != "intermediate-gateway"
    return leg.steps[0] if blameless else last


def _fix(ground: Ground, step: Step, destination: bytes) -> str:
    machine, hop = step
    everything: Network = (bytes(len(destination)), 0)
    missing, right = ground.entry(destination), ground.gateways.get(len(destination))
    if machine != ground.router and ground.mode == "intermediate-gateway":
        right = next(
            (each for each in ground.addresses(ground.router) if len(each) == len(destination)), None
        )
    if right is None:
        return (
            f"on {machine}: nobody on the LAN could forward it; give the router an address of that IP version"
        )
    needs_default = machine != ground.router and ground.mode != "per-host"
    wrong = None if hop is None else hop.network
    if wrong is not None and (wrong != everything or needs_default):
        word, network = "replace", wrong
    else:  # an entry that is right for all else stays: a longer prefix goes before it
        word, network = "add", everything if hop is None and needs_default else missing
    tail = " dev eth0 onlink" if ground.onlink and right in ground.gateways.values() else ""
    return f"on {machine}: ip route {word} {network_text(network)} via {ip_address(right)}{tail}"


def _nobody(ground: Ground, leg: Leg) -> str:
    last = leg.steps[-1]
    if last.hop is None or last.hop.via is None:
        return f"nobody on the LAN has {ip_address(leg.destination)}"
    where = (
        ""
        if len(leg.steps) == 1
        else f"{_name(ground, last.machine)} sends it to {ip_address(last.hop.via)}, and "
    )
    return f"{where}nobody has that address"


def _name(ground: Ground, machine: str) -> str:
    if machine == ground.router:
        return f"the router of {machine.partition(':')[2]}"
    own = ", ".join(str(ip_address(address)) for address in ground.addresses(machine))
    return f"{machine} ({own})" if own else machine
