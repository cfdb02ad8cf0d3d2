"""Addresses that have no business on this wire, whatever the routes and rules say."""

from __future__ import annotations

from edge.proto.ip.header import Header
from edge.proto.types import BadPacket, DropReason

_BROADCAST = b"\xff\xff\xff\xff"
# RFC 6890: this network, loopback, link-local.
_BOGONS_IPV4 = (b"\x00", b"\x7f", b"\xa9\xfe")
# IPv6 addresses that carry an IPv4 address would walk around rules written for IPv4: a host behind a tunnel
# may unwrap them. ::/96 also holds the unspecified and the loopback address.
_BOGONS_IPV6 = (
    bytes(12),  # ::/96, IPv4-compatible (RFC 4291 2.5.5.1)
    bytes(10) + b"\xff\xff",  # ::ffff:0:0/96, IPv4-mapped
    bytes(8) + b"\xff\xff\x00\x00",  # ::ffff:0:0:0/96, IPv4-translated (RFC 2765)
    bytes.fromhex("0064ff9b") + bytes(8),  # 64:ff9b::/96, NAT64 (RFC 6052)
    bytes.fromhex("0064ff9b0001"),  # 64:ff9b:1::/48, local NAT64 (RFC 8215)
    bytes.fromhex("20010000"),  # 2001::/32, Teredo (RFC 4380)
    bytes.fromhex("2002"),  # 2002::/16, 6to4 (RFC 3056)
)


def check_addresses(header: Header) -> None:
    """Raise BadPacket(BOGON or MULTICAST) unless both addresses are ordinary unicast addresses.

    Private, shared (100.64.0.0/10), unique local and documentation prefixes are ordinary here.
    """
    source, destination = header.source, header.destination
    if header.version == 4:
        if source[0] >= 224 or source.startswith(_BOGONS_IPV4):
            raise BadPacket(DropReason.BOGON, "source")
        if destination[0] >= 224:
            group = destination[0] < 240 or destination == _BROADCAST
            raise BadPacket(DropReason.MULTICAST if group else DropReason.BOGON, "destination")
        if destination.startswith(_BOGONS_IPV4):
            raise BadPacket(DropReason.BOGON, "destination")
        return
    if source[0] == 0xFF or _is_bogon_ipv6(source):
        raise BadPacket(DropReason.BOGON, "source")
    if destination[0] == 0xFF:
        raise BadPacket(DropReason.MULTICAST, "destination")
    if _is_bogon_ipv6(destination):
        raise BadPacket(DropReason.BOGON, "destination")


def _is_bogon_ipv6(address: bytes) -> bool:
    if address[0] == 0xFE and address[1] & 0xC0 == 0x80:  # fe80::/10, link-local
        return True
    return address.startswith(_BOGONS_IPV6)


def is_ordinary(header: Header) -> bool:
    """Whether `check_addresses` lets the packet pass."""
    try:
        check_addresses(header)
    except BadPacket:
        return False
    return True
