"""A router of a LAN, by its route table: the ordinary one, which knows nothing of tunnels, or a connector."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

from edge.proto.ip import (
    Header,
    RateLimit,
    Unreachable,
    decrement_ttl,
    echo_reply,
    parse_untrusted,
    time_exceeded,
    unreachable,
)
from edge.proto.types import BadPacket
from scenarios.proto.route_table import Hop, RouteTable

ICMP_RATE, ICMP_BURST = 100.0, 20.0

Lose: TypeAlias = Callable[[str, bytearray], None]
"""Told the reason and the packet when one dies."""


class Forwarded(NamedTuple):
    """A packet on its way, and where to."""

    packet: bytearray
    hop: Hop


class LanRouter:
    """`addresses` are its own on the LAN, one for each IP version."""

    def __init__(self, addresses: Iterable[bytes], table: RouteTable) -> None:
        self.addresses = frozenset(addresses)
        self.table = table
        self._own = {len(address): address for address in self.addresses}
        self._icmp_rate = RateLimit(ICMP_RATE, ICMP_BURST)

    def forward(self, packet: bytearray, now: float, lose: Lose) -> list[Forwarded]:
        """One hop for `packet`; or an answer to who sent it, if there is one and a way to there."""
        try:
            header = parse_untrusted(packet)
        except BadPacket:
            lose("bad_packet", packet)
            return []
        if header.destination in self.addresses:
            lose("for_the_router", packet)
            return self._answer(echo_reply(packet, header), header)
        hop = self.table.lookup(header.destination)
        if header.ttl <= 1:
            lose("ttl_exceeded", packet)
            return self._tell(time_exceeded(packet, header, self._own.get(len(header.source))), header, now)
        if hop is None:
            lose("network_unreachable", packet)
            return self._unreachable(packet, header, now, Unreachable.NO_ROUTE)
        decrement_ttl(packet)
        return [Forwarded(packet, hop)]

    def no_neighbour(self, packet: bytearray, now: float) -> list[Forwarded]:
        """Nobody on the LAN answers for the next hop of a packet that this router has forwarded."""
        return self._unreachable(packet, parse_untrusted(packet), now, Unreachable.HOST)

    def _unreachable(
        self, packet: bytearray, header: Header, now: float, why: Unreachable
    ) -> list[Forwarded]:
        own = self._own.get(len(header.source))
        return self._tell(unreachable(packet, header, own, why), header, now)

    def _tell(self, error: bytearray | None, about: Header, now: float) -> list[Forwarded]:
        """Errors are limited (RFC 1812 4.3.2.8), answers are not."""
        return self._answer(error, about) if error is not None and self._icmp_rate.allow(now) else []

    def _answer(self, packet: bytearray | None, to: Header) -> list[Forwarded]:
        hop = None if packet is None else self.table.lookup(to.source)
        return [] if packet is None or hop is None else [Forwarded(packet, hop)]
