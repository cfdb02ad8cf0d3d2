"""What the PoP reads of an IPv4 or IPv6 packet, once, before anything is decided about it."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from edge.proto.ip.extensions import EXTENSIONS, HOP_BY_HOP, walk_untrusted
from edge.proto.ip.transport import HEADER_MINIMUM, NOTHING, TCP, upper_untrusted
from edge.proto.types import BadPacket, DropReason

_IPV4 = Struct("!BxHHHBBH4s4s")
_IPV6 = Struct("!4xHBB16s16s")

_DONT_FRAGMENT = 0x4000
_MORE_FRAGMENTS = 0x2000
_SOURCE_ROUTES = (3, 9)  # option numbers of LSRR and SSRR, without the copied flag


@dataclass(slots=True)
class Header:
    """Parsed view of one packet. Offsets count from its start; nothing of the payload is copied.

    A TTL or hop limit of 0 or 1 parses: whether the packet may go on is the forwarder's decision, since a
    packet for an address of its own needs no TTL left (RFC 1812 5.3.1).
    """

    version: int
    header_length: int  # offset of the upper-layer header, or of the data of a later fragment
    total_length: int  # bytes behind it are padding of the link
    ttl: int
    protocol: (
        int  # upper layer, behind all extension headers; of a later IPv6 fragment, what the fragment claims
    )
    source: bytes
    destination: bytes
    source_port: int  # 0 if there are no ports
    destination_port: int
    icmp_type: int  # -1 unless ICMP over IPv4 or ICMPv6 over IPv6
    icmp_code: int
    tcp_flags: int
    dont_fragment: bool  # always true for IPv6
    fragment_start: int  # of a fragment: where its data begins, which may be before header_length
    fragment_offset: int  # in bytes
    more_fragments: bool
    fragment_id: int

    @property
    def is_fragment(self) -> bool:
        """A part of a datagram. An atomic fragment (RFC 6946) is whole and therefore none."""
        return self.more_fragments or self.fragment_offset > 0


def parse_untrusted(packet: bytes | bytearray | memoryview) -> Header:
    """The view of `packet`, or BadPacket. A packet that parses has true lengths and tells its upper layer.

    Addresses are not judged here (`check_addresses`), nor is the TTL.
    """
    if len(packet) < 20:
        raise BadPacket(DropReason.BAD_LENGTH, "no room for a header")
    version = packet[0] >> 4
    if version == 4:
        return _parse_ipv4(packet)
    if version == 6:
        return _parse_ipv6(packet)
    raise BadPacket(DropReason.BAD_VERSION)


def packet_length(packet: bytes | bytearray | memoryview) -> int:
    """The length that the IP header claims, without padding; `len(packet)` if there is no header."""
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        return packet[2] << 8 | packet[3]
    if len(packet) >= 40 and packet[0] >> 4 == 6:
        return 40 + (packet[4] << 8 | packet[5])
    return len(packet)


def _parse_ipv4(packet: bytes | bytearray | memoryview) -> Header:
    first, total, identification, fragment, ttl, protocol, _, source, destination = _IPV4.unpack_from(packet)
    header_length = (first & 0xF) << 2
    if header_length < 20:
        raise BadPacket(DropReason.BAD_HEADER, "IHL")
    if not header_length <= total <= len(packet):
        raise BadPacket(DropReason.BAD_LENGTH, "total length")
    # A right header is a multiple of 0xffff (see checksum.py); it cannot be 0, it starts with the version.
    if int.from_bytes(packet[:header_length], "big") % 0xFFFF:
        raise BadPacket(DropReason.BAD_CHECKSUM)
    if header_length > 20:
        _check_options(packet, header_length)
    offset = (fragment & 0x1FFF) << 3
    more = bool(fragment & _MORE_FRAGMENTS)
    if more or offset:
        _check_fragment(protocol, offset, more, total - header_length)
    upper = NOTHING if offset else upper_untrusted(packet, header_length, total, 4, protocol, more)
    return Header(
        4,
        header_length,
        total,
        ttl,
        protocol,
        source,
        destination,
        *upper,
        bool(fragment & _DONT_FRAGMENT),
        header_length,
        offset,
        more,
        identification,
    )


def _parse_ipv6(packet: bytes | bytearray | memoryview) -> Header:
    if len(packet) < 40:
        raise BadPacket(DropReason.BAD_LENGTH, "no room for a header")
    payload, protocol, ttl, source, destination = _IPV6.unpack_from(packet)
    total = 40 + payload
    if total > len(packet) or (payload == 0 and protocol == HOP_BY_HOP):  # the latter would be a jumbogram
        raise BadPacket(DropReason.BAD_LENGTH, "payload length")
    at = start = 40
    offset = identification = 0
    more = False
    if protocol in EXTENSIONS:
        protocol, at, start, offset, more, identification = walk_untrusted(packet, protocol, total)
        if more or offset:
            _check_fragment(protocol, offset, more, total - start)
    upper = NOTHING if offset else upper_untrusted(packet, at, total, 6, protocol, more)
    return Header(
        6,
        at,
        total,
        ttl,
        protocol,
        source,
        destination,
        *upper,
        True,
        start,
        offset,
        more,
        identification,
    )


def _check_options(packet: bytes | bytearray | memoryview, end: int) -> None:
    """IPv4 options are well formed and choose no route (RFC 7126 4.3 and 4.4)."""
    at = 20
    while at < end:
        kind = packet[at]
        if kind == 0:  # end of list
            return
        if kind == 1:  # no operation
            at += 1
            continue
        if at + 1 >= end or packet[at + 1] < 2 or at + packet[at + 1] > end:
            raise BadPacket(DropReason.BAD_HEADER, "option length")
        if kind & 0x7F in _SOURCE_ROUTES:
            raise BadPacket(DropReason.SOURCE_ROUTE)
        at += packet[at + 1]


def _check_fragment(protocol: int, offset: int, more: bool, size: int) -> None:
    """A fragment fits into a datagram and cannot rewrite the upper-layer header of the first one."""
    if size == 0 or (protocol == TCP and 0 < offset < HEADER_MINIMUM[TCP]):  # RFC 1858 3.2.2 and 4.2
        raise BadPacket(DropReason.FRAGMENT_TINY)
    if more and size & 7:
        raise BadPacket(DropReason.BAD_LENGTH, "fragment is no multiple of 8")
    if offset + size > 0xFFFF:
        raise BadPacket(DropReason.BAD_LENGTH, "datagram longer than 65535")
