"""What is wrong with a leg that does not arrive, in words, and the commands that mend it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal, NamedTuple

from scenarios.proto.return_path import Fate, Ground, Leg, NextHop, Step, trace
from scenarios.proto.route_table import Device, Hop, Network, Route, RouteTable, network_text

MOST_REPAIRS = 8
"""Of one leg: a table that needs more is not worth mending."""


class Repair(NamedTuple):
    """One entry of the table of a machine."""

    machine: str
    word: Literal["add", "replace"]
    route: Route

    def __str__(self) -> str:
        """Such as: on router:hq: ip route add 100.96.0.0/12 via 10.0.50.10."""
        network, via = self.route.network, self.route.via
        command = "ip route" if len(network[0]) == 4 else "ip -6 route"
        to = "default" if not network[1] else network_text(network)
        text = f"on {self.machine}: {command} {self.word} {to}"
        if via is None:
            return f"{text} dev eth0"
        return f"{text} via {ip_address(via)}" + (" dev eth0 onlink" if self.route.onlink else "")


class Advice(NamedTuple):
    """What is wrong, and what has to be done about it."""

    says: str
    repairs: tuple[Repair, ...]
    """All that it takes until the packet arrives, in the order of its way."""


def advise(ground: Ground, leg: Leg, next_hop: NextHop, *, answers: bool) -> Advice:
    """`answers`: whether the packet is an answer, else a request; only the words differ."""
    return Advice(_says(ground, leg, answers=answers), tuple(_repairs(ground, leg, next_hop)))


# -- what has to be done


def _repairs(ground: Ground, leg: Leg, next_hop: NextHop) -> list[Repair]:
    """Mend the last machine that is wrong, and follow the packet again: the next one may be wrong, too."""
    made: list[Repair] = []

    def mended(machine: str, destination: bytes) -> Hop | None:
        before = next_hop(machine, destination)
        own = RouteTable(repair.route for repair in reversed(made) if repair.machine == machine)
        after = own.lookup(destination)
        if before is None or after is None or before.network is None or after.network is None:
            return after or before
        return after if after.network[1] >= before.network[1] else before

    start, destination = leg.steps[0].machine, leg.destination
    while not leg.arrives and len(made) < MOST_REPAIRS:
        repair = _repair(ground, _culprit(ground, leg), destination, mended)
        if any((each.machine, each.route) == (repair.machine, repair.route) for each in made):
            break  # it does not help
        made.append(repair)
        leg = trace(ground, start, destination, mended)
    return made


def _culprit(ground: Ground, leg: Leg) -> Step:
    """The machine with the wrong table: a router is to blame only where it is the one that needs routes."""
    last = leg.steps[-1]
    blameless = last.machine == ground.router and ground.mode != "intermediate-gateway"
    return leg.steps[0] if blameless else last


def _repair(ground: Ground, step: Step, destination: bytes, next_hop: NextHop) -> Repair:
    machine, hop = step
    wrong = None if hop is None else hop.network
    if destination in ground.owners:  # a neighbour, to whom somebody has written a detour
        return Repair(machine, "replace", Route(wrong or (destination, len(destination) * 8)))
    everything: Network = (bytes(len(destination)), 0)
    missing, right = ground.entry(destination), ground.gateways[len(destination)]
    by_default = machine != ground.router and ground.mode == "default-gateway"
    if machine != ground.router and ground.mode == "intermediate-gateway":
        own = (each for each in ground.addresses(ground.router) if len(each) == len(destination))
        router = next(own, None)  # None: it forwards none of that IP version, and a host has to do without
        by_default, right = router is not None, router or right
    word: Literal["add", "replace"]
    if wrong is not None and (wrong != everything or by_default):
        word, network = "replace", wrong
    else:  # an entry that is right for all else stays: a longer prefix goes before it
        word, network = "add", everything if hop is None and by_default else missing
    onlink = not _is_on_link(right, next_hop(machine, right))
    return Repair(machine, word, Route(network, via=right, onlink=onlink))


def _is_on_link(address: bytes, hop: Hop | None) -> bool:
    """Whether the kernel takes `address`, which has this hop, for a next hop; else it has to be told.

    A link-local one is on every link, so the kernel is told which one is meant.
    """
    known = hop is not None and hop.device is Device.LAN and hop.via is None
    return known and not ip_address(address).is_link_local


# -- what is wrong


def _says(ground: Ground, leg: Leg, *, answers: bool) -> str:
    start = leg.steps[0]
    verb = "answers" if answers else "sends to"
    what = network_text(ground.entry(leg.destination))
    sender = f"{_name(ground, start.machine)} {verb} {ip_address(leg.destination)}"
    if start.hop is not None:
        sender += f" via {ip_address(start.hop.via)}" if start.hop.via else " on its own link"
    match leg.fate:
        case Fate.INTERNET:
            return f"{sender}: {_to_the_internet(ground, leg)}"
        case Fate.NO_ROUTE:
            who = "it" if len(leg.steps) == 1 else _name(ground, leg.steps[-1].machine)
            return f"{sender}: {who} has no route to {what}"
        case Fate.NO_ROUTER:
            return f"{sender}: {_beyond(ground, leg)}{leg.end} has that address, and forwards nothing"
        case Fate.CIRCLE:
            return f"{sender}: it goes in circles"
        case Fate.OTHER:
            who = "it" if len(leg.steps) == 1 else _name(ground, leg.steps[-1].machine)
            return f"{sender}: {who} has a route into an interface that a program made"
        case _:
            return f"{sender}: {_nobody(ground, leg)}"


def _to_the_internet(ground: Ground, leg: Leg) -> str:
    entry = None if leg.steps[0].hop is None else leg.steps[0].hop.network
    if ground.mode == "default-gateway" or (ground.mode == "per-host" and entry is not None and entry[1]):
        return "that is the router, which sends it to the Internet, and not the connector"
    lacking = "the router" if ground.mode == "intermediate-gateway" else leg.steps[0].machine
    return (
        f"{lacking} has no route to {network_text(ground.entry(leg.destination))}, so it goes to the Internet"
    )


def _nobody(ground: Ground, leg: Leg) -> str:
    hop = leg.steps[-1].hop
    if hop is None or hop.via is None:
        return f"nobody on the LAN has {ip_address(leg.destination)}"
    return f"{_beyond(ground, leg)}nobody has that address"


def _beyond(ground: Ground, leg: Leg) -> str:
    """What the last machine does, if it is not the one that has sent the packet."""
    machine, hop = leg.steps[-1]
    if len(leg.steps) == 1 or hop is None or hop.via is None:
        return ""
    return f"{_name(ground, machine)} sends it to {ip_address(hop.via)}, and "


def _name(ground: Ground, machine: str) -> str:
    if machine == ground.router:
        return f"the router of {machine.partition(':')[2]}"
    own = ", ".join(str(ip_address(address)) for address in ground.addresses(machine))
    return f"{machine} ({own})" if own else machine
