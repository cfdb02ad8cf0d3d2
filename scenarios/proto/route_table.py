"""The route table of one machine: the longest prefix that holds a destination says where its packets go next.

Networks are (address, length), the address with its host bits clear, and addresses are 4 or 16 bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from ipaddress import ip_address
from typing import NamedTuple, TypeAlias

Network: TypeAlias = tuple[bytes, int]


class Device(StrEnum):
    """The interfaces of the machines of a site."""

    LAN = "lan"
    TUNNEL = "tunnel"
    """To the PoP: of connectors and clients."""
    INTERNET = "internet"
    """Of the site's router; private packets die there."""
    OTHER = "other"
    """One that a program made: where it leads, nobody else knows."""


class Route(NamedTuple):
    """One entry of a table."""

    network: Network
    device: Device = Device.LAN
    via: bytes | None = None
    """The next hop; None: the destination itself is on the link, or the device leads to one place only."""
    onlink: bool = False
    """The next hop is on the link though no entry says so, as after ``ip route add ... onlink``."""

    def __str__(self) -> str:
        """As ``ip route`` writes it."""
        words = [network_text(self.network)]
        if self.via is not None:
            words += ["via", str(ip_address(self.via))]
        words += ["dev", self.device]
        return " ".join([*words, "onlink"] if self.onlink else words)


class Hop(NamedTuple):
    """Where a packet goes next."""

    device: Device
    via: bytes | None = None
    """None: to the destination itself, or to wherever the device leads."""
    network: Network | None = None
    """Of the entry that said so; None if nobody knows."""


class RouteTable:
    """Longest prefix first; of two entries for one network the first holds."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._entries: dict[Network, Route] = {}
        for route in routes:
            self._entries.setdefault(route.network, route)
        # Per address size, longest first: (host bits, prefix without its host bits -> the hop).
        self._lookups: dict[int, list[tuple[int, dict[int, Hop]]]] = {}
        for (address, length), route in sorted(self._entries.items(), key=lambda each: -each[0][1]):
            lengths = self._lookups.setdefault(len(address), [])
            spare = len(address) * 8 - length
            if not lengths or lengths[-1][0] != spare:
                lengths.append((spare, {}))
            number = int.from_bytes(address) >> spare
            lengths[-1][1][number] = Hop(route.device, route.via, route.network)

    def lookup(self, destination: bytes) -> Hop | None:
        """None: network unreachable."""
        number = int.from_bytes(destination)
        for spare, hops in self._lookups.get(len(destination), ()):
            hop = hops.get(number >> spare)
            if hop is not None:
                return hop
        return None

    def __iter__(self) -> Iterator[Route]:
        """In the order in which they were given."""
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RouteTable) and self._entries == other._entries

    def __hash__(self) -> int:
        return hash(frozenset(self._entries.values()))

    def __repr__(self) -> str:
        return f"RouteTable({'; '.join(map(str, self))})"


def network_text(network: Network) -> str:
    """As ``ip route`` takes it: that of everything is called default, or ::/0."""
    address, length = network
    return "default" if (len(address), length) == (4, 0) else f"{ip_address(address)}/{length}"
