"""What the interface of a tunnel needs on this machine, and what of that the machine already uses otherwise.

Routes go into the main table, where the longest prefix decides between them and the machine's own. Two kinds cannot:
prefixes that hold an address of the PoP, since the tunnel's own packets would be sent into the tunnel; and a default
route, since the machine has or will have one. They go into a table of their own, and rules in front send what is for
the PoP by the main table or, while that has no way, nowhere; and after that whatever the main table knows better.
Nothing of it needs a mark on packets, so that the reverse path filter (RFC 3704) sees the same routes as we do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import NamedTuple, TypeAlias

from connectors.proto.split_tunnel import Network, subtract

HostAddress: TypeAlias = IPv4Address | IPv6Address
AddressOnInterface: TypeAlias = IPv4Interface | IPv6Interface


class Lookup(Enum):
    """Where a rule sends packets."""

    MAIN = auto()  # table
    NOWHERE = auto()  # unreachable
    OWN = auto()  # table of the tunnel


class Rule(NamedTuple):
    """A policy rule of routing, in the order in which they are asked; `step` counts from 0.

    Packets for `to`, or all, go by `lookup`; the main table's prefixes of up to `ignore_length` do not count then.
    """

    version: int
    step: int
    lookup: Lookup
    to: HostAddress | None = None
    ignore_length: int | None = None


POP_STEPS = 2
"""Of these are the rules for packets to the PoP."""
STEPS = 4


@dataclass(frozen=True, slots=True)
class InterfacePlan:
    """`addresses` are this end's own, `routes` lead into the tunnel; `pops` are reached beside it."""

    mtu: int
    addresses: tuple[HostAddress, ...]
    routes: tuple[Network, ...]
    pops: tuple[HostAddress, ...]

    @property
    def main(self) -> tuple[Network, ...]:
        """Routes of the main table."""
        return tuple(route for route in self.routes if not self._is_apart(route))

    @property
    def own(self) -> tuple[Network, ...]:
        """Routes of a table of its own."""
        return tuple(route for route in self.routes if self._is_apart(route))

    @property
    def rules(self) -> tuple[Rule, ...]:
        """None without an own table."""
        rules: list[Rule] = []
        for version in (4, 6):
            lengths = [route.prefixlen for route in self.own if route.version == version]
            if not lengths:
                continue
            pops = [pop for pop in self.pops if pop.version == version]
            rules += [Rule(version, 0, Lookup.MAIN, to=pop) for pop in pops]
            # Without it, a machine that has lost its way to the PoP would wrap what it has wrapped, again and again.
            rules += [Rule(version, 1, Lookup.NOWHERE, to=pop) for pop in pops]
            rules.append(Rule(version, 2, Lookup.MAIN, ignore_length=min(lengths)))
            rules.append(Rule(version, 3, Lookup.OWN))
        return tuple(rules)

    def source(self, version: int) -> HostAddress | None:
        """What this machine calls itself when it sends into the tunnel."""
        return next((address for address in self.addresses if address.version == version), None)

    def _is_apart(self, route: Network) -> bool:
        return not route.prefixlen or any(pop.version == route.version and pop in route for pop in self.pops)


def plan(
    addresses: Iterable[HostAddress],
    include: Iterable[Network],
    exclude: Iterable[Network],
    pops: Iterable[HostAddress],
    *,
    mtu: int,
) -> InterfacePlan:
    """`include` less `exclude`. Loopback and link-local addresses of the PoP are never routed, so need no care."""
    cared = [pop for pop in pops if not pop.is_loopback and not pop.is_link_local]
    return InterfacePlan(mtu, tuple(addresses), subtract(include, exclude), tuple(dict.fromkeys(cared)))


class Neighbour(NamedTuple):
    """An address of another interface of this machine."""

    interface: str
    address: AddressOnInterface


class Clash(NamedTuple):
    """What cannot be as planned. `route` is the one that is in the way, if it is one."""

    message: str
    fix: str
    route: Network | None = None


def clashes(
    wanted: InterfacePlan, neighbours: Sequence[Neighbour], main_table: Iterable[Network] = ()
) -> list[Clash]:
    """What of `wanted` the machine already uses: an address of its own, a network that it is in, a route."""
    found = []
    for address in wanted.addresses:
        for interface, other in neighbours:
            if other.version != address.version:
                continue
            if other.ip == address:
                found.append(
                    Clash(
                        f"{address}, this end's address in the virtual network, is on {interface} already",
                        f"stop what uses it, such as another tunnel:  ip address show dev {interface}",
                    )
                )
            elif address in other.network:
                found.append(
                    Clash(
                        f"{address}, this end's address in the virtual network, lies in {other.network}, the network "
                        f"of {interface}",
                        "another `pool:` for the virtual network, or another prefix on that interface",
                    )
                )
    own = set(wanted.addresses)
    if any(other.ip in own for _, other in neighbours):
        return found  # the same tunnel, most likely: its routes are in the way too, and to exclude them is no remedy
    taken = set(main_table)
    for route in wanted.routes:
        near = next((n for n in neighbours if _inside(route, n.address.network)), None)
        if near is not None:
            where = near.address.network
            found.append(
                Clash(
                    f"{route} would go into the tunnel, and {near.interface} of this machine is in "
                    + ("it" if route == where else f"{where}, which holds it"),
                    f"--exclude {route}, which keeps it out of the tunnel; or renumber one of the two",
                    route,
                )
            )
        elif route in taken and route in wanted.main:
            found.append(
                Clash(
                    f"{route} would go into the tunnel, and this machine has another route for it",
                    f"--exclude {route}, or delete the other:  ip route show {route}",
                    route,
                )
            )
    return found


def _inside(route: Network, network: Network) -> bool:
    """Single addresses are nobody's network."""
    if network.prefixlen == network.max_prefixlen or network.is_link_local:
        return False
    if isinstance(route, IPv4Network):
        return isinstance(network, IPv4Network) and network.supernet_of(route)
    return isinstance(network, IPv6Network) and network.supernet_of(route)
