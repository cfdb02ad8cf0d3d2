"""The virtual router of a site: between the tunnel and the LAN, both ways, without touching an address.

It forwards only what belongs: from the LAN only sources of the site's prefixes (BCP 38), from the tunnel only
destinations in them. Everything else dies counted. It is a router hop: TTL goes down by one in each direction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from struct import Struct, error

from connectors.proto.side import PacketSide, Watch
from edge.proto.ip import (
    TCP,
    UDP,
    Header,
    RateLimit,
    Unreachable,
    check_addresses,
    decrement_ttl,
    echo_reply,
    fragment_ipv4,
    parse_untrusted,
    tcp_reset,
    time_exceeded,
    too_big,
    unreachable,
)
from edge.proto.types import BadPacket, DropReason

# version+IHL+TOS, total length, identification, fragment bits + TTL + protocol, checksum, both addresses
_unpack4 = Struct(">HHHIHQ").unpack_from
_FRAGMENTS = 0x3FFF0000  # of the fourth: the bits that a whole packet has clear
_SHAPE = 0xFFFF00FF  # of the fourth: all but the TTL
_LEAST = {UDP: 28, TCP: 40}

SHAPES = 4096  # remembered in each direction
ICMP_RATE = 100.0
ICMP_BURST = 20.0


NO_LIMIT = 1 << 16
NO_ADDRESS = bytes((192, 0, 0, 8))
"""The source of errors of a router that has no IPv4 address (RFC 7600, R-22)."""


class SiteRouter:
    """`lan` is the site's side; `routes` its prefixes; `on_lan` the router's own addresses on the LAN.

    `addresses` are its own in the virtual network. From both sides it answers pings to all of them: so the PoP
    knows that it is alive. Errors come from the first one of the side and the family, else from one of the other side
    (RFC 1812 4.3.2.4). `mtu` is that of the tunnel, in bytes of an IP packet.
    """

    def __init__(
        self,
        lan: PacketSide,
        routes: list[IPv4Network | IPv6Network],
        *,
        on_lan: Sequence[bytes] = (),
        addresses: Sequence[bytes] = (),
        mtu: int = NO_LIMIT,
    ) -> None:
        self.lan = lan
        self.drops: Counter[DropReason] = Counter()
        self.packets_to_lan = 0
        self.packets_to_tunnel = 0
        self.watch: Watch | None = None
        """Told of every packet at the tunnel, while somebody looks on."""
        self._mtu = mtu
        self._own = frozenset((*addresses, *on_lan))
        # By length of an address.
        self._on_lan = {len(address): address for address in reversed((*on_lan, *addresses))}
        self._in_tunnel = {len(address): address for address in reversed((*addresses, *on_lan))}
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
        # Shapes (addresses, fragment bits and protocol) that the long way has found good, in each direction.
        self._inward: set[tuple[int, int]] = set()
        self._outward: set[tuple[int, int]] = set()
        self._now = 0.0

    def serves(self, address: bytes) -> bool:
        """True if `address` lies in one of the site's prefixes."""
        value = int.from_bytes(address, "big")
        return any(len(address) == size and value >> bits == prefix for size, prefix, bits in self._routes)

    def handle_packets(self, packets: list[bytearray], now: float) -> None:
        self._now = now
        watch = self.watch
        # Before the hop, and why they went no further; of each packet, by its identity.
        came = None if watch is None else {id(packet): (bytes(packet), "") for packet in packets}
        accepted = []
        for packet in packets:
            if _hop_known(packet, self._inward):
                accepted.append(packet)
                continue
            try:
                header = self._parse(packet)
                if header.destination in self._own:
                    self._to_tunnel += self._answers(packet, header, now)
                    raise BadPacket(DropReason.LOCAL)
                self._hop(packet, header, now, back_to_lan=False)
                if not self.serves(header.destination):
                    raise BadPacket(DropReason.NO_ROUTE)
                accepted.append(packet)
                _remember(packet, header, self._inward)
            except BadPacket as bad:
                self.drops[bad.reason] += 1
                if came is not None:
                    came[id(packet)] = (came[id(packet)][0], bad.reason)
        if watch is not None and came is not None:  # before anybody on the LAN sees them
            for copy, reason in came.values():
                watch.came(copy, reason, now)
        self.packets_to_lan += len(accepted)
        self.lan.handle_packets(accepted, now)

    def handle_timeout(self, now: float) -> None:
        self._now = now
        self.lan.handle_timeout(now)

    def poll_timeout(self) -> float:
        return self.lan.poll_timeout()

    def poll_packets(self) -> list[bytearray]:
        self._collect(self._now)
        out = self._to_tunnel
        if not out:
            return []
        self._to_tunnel = []
        if self.watch is not None:
            for packet in out:
                self.watch.went(bytes(packet), "", self._now)
        return out

    def _collect(self, now: float) -> None:
        for packet in self.lan.poll_packets():
            if len(packet) <= self._mtu and _hop_known(packet, self._outward):
                self.packets_to_tunnel += 1
                self._to_tunnel.append(packet)
                continue
            try:
                header = self._parse(packet)
                if header.destination in self._own:
                    self.lan.handle_packets(self._answers(packet, header, now), now)
                    raise BadPacket(DropReason.LOCAL)
                self._hop(packet, header, now, back_to_lan=True)
                if not self.serves(header.source):
                    raise BadPacket(DropReason.SPOOFED_SOURCE)
                pieces = self._fitting(packet, header, now)
                self.packets_to_tunnel += len(pieces)
                self._to_tunnel += pieces
                _remember(packet, header, self._outward)
            except BadPacket as bad:
                self.drops[bad.reason] += 1
                if self.watch is not None and bad.reason is not DropReason.LOCAL:
                    self.watch.went(bytes(packet), bad.reason, now)

    @staticmethod
    def _parse(packet: bytearray) -> Header:
        header = parse_untrusted(packet)
        del packet[header.total_length :]
        check_addresses(header)
        return header

    def _answers(self, packet: bytearray, header: Header, now: float) -> list[bytearray]:
        """To what is for the router itself: of a ping its echo; there is nothing else here to talk to."""
        answer = echo_reply(packet, header)
        if answer is None and header.protocol in (TCP, UDP) and self._icmp_rate.allow(now):
            if header.protocol == TCP:
                answer = tcp_reset(packet, header)
            else:
                answer = unreachable(packet, header, header.destination, Unreachable.PORT)
        return [] if answer is None else [answer]

    def _hop(self, packet: bytearray, header: Header, now: float, *, back_to_lan: bool) -> None:
        if header.ttl <= 1:
            self._time_exceeded(packet, header, now, back_to_lan=back_to_lan)
            raise BadPacket(DropReason.TTL_EXCEEDED)
        decrement_ttl(packet)

    def _fitting(self, packet: bytearray, header: Header, now: float) -> list[bytearray]:
        """`packet` as the tunnel takes it; whoever must not be cut is told the MTU (RFC 1191 3)."""
        if len(packet) <= self._mtu:
            return [packet]
        if header.version == 4 and not header.dont_fragment:
            return fragment_ipv4(packet, self._mtu)
        own = self._on_lan.get(len(header.source), NO_ADDRESS)
        if len(own) == len(header.source) and self._icmp_rate.allow(now):
            answer = too_big(packet, header, own, self._mtu)
            if answer is not None:
                self.lan.handle_packets([answer], now)
        raise BadPacket(DropReason.TOO_BIG)

    def _time_exceeded(self, packet: bytearray, header: Header, now: float, *, back_to_lan: bool) -> None:
        own = (self._on_lan if back_to_lan else self._in_tunnel).get(len(header.source))
        if own is None or not self._icmp_rate.allow(now):
            return
        answer = time_exceeded(packet, header, own)
        if answer is None:
            return
        if back_to_lan:
            self.lan.handle_packets([answer], now)
        else:
            self._to_tunnel.append(answer)


def _hop_known(packet: bytearray, shapes: set[tuple[int, int]]) -> bool:
    """One hop for a good IPv4 packet of a known shape; False, with nothing done, for every other."""
    try:
        word0, total, ident, bits, check, addresses = _unpack4(packet)
    except error:
        return False
    if (
        (addresses, bits & _SHAPE) not in shapes
        or word0 >> 8 != 0x45
        or not _LEAST[bits & 0xFF] <= total <= len(packet)
        or bits & 0xFE00 == 0  # TTL 0 or 1
        or (word0 + total + ident + bits + check + addresses) % 0xFFFF
    ):
        return False
    if total < len(packet):
        del packet[total:]
    if check < 0xFE00:  # as decrement_ttl, where nothing carries
        packet[8] -= 1
        packet[10] += 1
    else:
        decrement_ttl(packet)
    return True


def _remember(packet: bytearray, header: Header, shapes: set[tuple[int, int]]) -> None:
    if header.version == 4 and header.header_length == 20 and header.protocol in _LEAST:
        _, _, _, bits, _, addresses = _unpack4(packet)
        if not bits & _FRAGMENTS:
            if len(shapes) >= SHAPES:
                shapes.clear()
            shapes.add((addresses, bits & _SHAPE))
