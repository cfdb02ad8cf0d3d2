"""The virtual router of a site: between the tunnel and the LAN, both ways, without touching an address.

It forwards only what belongs: from the LAN only sources of the site's prefixes (BCP 38), from the tunnel only
destinations in them. Everything else dies counted. It is a router hop: TTL goes down by one in each direction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from connectors.proto.side import PacketSide
from edge.proto.ip import (
    Header,
    RateLimit,
    check_addresses,
    decrement_ttl,
    echo_reply,
    parse_untrusted,
    time_exceeded,
)
from edge.proto.types import BadPacket, DropReason

ICMP_RATE = 100.0
ICMP_BURST = 20.0


class SiteRouter:
    """`lan` is the site's side; `routes` its prefixes; `address` the router's own address on the LAN, if it has one.

    `addresses` are its own in the virtual network. From the tunnel it answers pings to all of them: so the PoP
    knows that it is alive.
    """

    def __init__(
        self,
        lan: PacketSide,
        routes: list[IPv4Network | IPv6Network],
        *,
        address: bytes | None = None,
        addresses: Sequence[bytes] = (),
    ) -> None:
        self.lan = lan
        self.drops: Counter[DropReason] = Counter()
        self.packets_to_lan = 0
        self.packets_to_tunnel = 0
        self._address = address
        self._own = frozenset((*addresses, *((address,) if address is not None else ())))
        # (address length, prefix as integer without its host bits, number of host bits)
        self._routes = [
            (
                net.max_prefixlen // 8,
                int(net.network_address) >> (net.max_prefixlen - net.prefixlen),
                net.max_prefixlen - net.prefixlen,
            )
            for net in routes
        ]
        self._icmp_rate = RateLimit(ICMP_RATE, ICMP_BURST)
        self._to_tunnel: list[bytearray] = []

    def serves(self, address: bytes) -> bool:
        """True if `address` lies in one of the site's prefixes."""
        value = int.from_bytes(address, "big")
        return any(len(address) == size and value >> bits == prefix for size, prefix, bits in self._routes)

    def handle_packets(self, packets: list[bytearray], now: float) -> None:
        accepted = []
        for packet in packets:
            try:
                header = self._parse(packet)
                if header.destination in self._own:
                    self._local(packet, header)
                self._hop(packet, header, now, back_to_lan=False)
                if not self.serves(header.destination):
                    raise BadPacket(DropReason.NO_ROUTE)
                accepted.append(packet)
            except BadPacket as bad:
                self.drops[bad.reason] += 1
        self.packets_to_lan += len(accepted)
        self.lan.handle_packets(accepted, now)
        self._collect(now)

    def handle_timeout(self, now: float) -> None:
        self.lan.handle_timeout(now)
        self._collect(now)

    def poll_timeout(self) -> float:
        return self.lan.poll_timeout()

    def poll_packets(self) -> list[bytearray]:
        out, self._to_tunnel = self._to_tunnel, []
        return out

    def _collect(self, now: float) -> None:
        for packet in self.lan.poll_packets():
            try:
                header = self._parse(packet)
                self._hop(packet, header, now, back_to_lan=True)
                if not self.serves(header.source):
                    raise BadPacket(DropReason.SPOOFED_SOURCE)
                self.packets_to_tunnel += 1
                self._to_tunnel.append(packet)
            except BadPacket as bad:
                self.drops[bad.reason] += 1

    @staticmethod
    def _parse(packet: bytearray) -> Header:
        header = parse_untrusted(packet)
        del packet[header.total_length :]
        check_addresses(header)
        return header

    def _local(self, packet: bytearray, header: Header) -> None:
        """To the router itself."""
        answer = echo_reply(packet, header)
        if answer is not None:
            self._to_tunnel.append(answer)
        raise BadPacket(DropReason.LOCAL)

    def _hop(self, packet: bytearray, header: Header, now: float, *, back_to_lan: bool) -> None:
        if header.ttl <= 1:
            self._time_exceeded(packet, header, now, back_to_lan=back_to_lan)
            raise BadPacket(DropReason.TTL_EXCEEDED)
        decrement_ttl(packet)

    def _time_exceeded(self, packet: bytearray, header: Header, now: float, *, back_to_lan: bool) -> None:
        if (
            self._address is None
            or len(self._address) != len(header.source)
            or not self._icmp_rate.allow(now)
        ):
            return
        answer = time_exceeded(packet, header, self._address)
        if answer is None:
            return
        if back_to_lan:
            self.lan.handle_packets([answer], now)
        else:
            self._to_tunnel.append(answer)
