"""Errors that we originate (RFC 1812 4.3, RFC 4443 2.4).

Each function returns a complete packet from `source`, an address of ours of the packet's family; None if we
have no such address or nothing may be said.
"""

from __future__ import annotations

from enum import Enum

from edge.proto.ip.addresses import is_ordinary
from edge.proto.ip.header import Header
from edge.proto.ip.icmp.messages import (
    DESTINATION_UNREACHABLE,
    FRAGMENTATION_NEEDED,
    TIME_EXCEEDED,
    V6_DESTINATION_UNREACHABLE,
    V6_PACKET_TOO_BIG,
    V6_REDIRECT,
    V6_TIME_EXCEEDED,
    build_message,
    is_error,
)

_INTERNETWORK_CONTROL = 0xC0  # RFC 1812 4.3.2.5: errors travel with precedence 6
# An error is never fragmented on its way: RFC 1812 4.3.2.3, RFC 4443 2.4 (c).
_ERROR_MAXIMUM = {4: 576, 6: 1280}


class Unreachable(Enum):
    """Why a destination cannot be reached; the value holds the code of ICMP and that of ICMPv6."""

    NO_ROUTE = (0, 0)
    HOST = (1, 3)
    PORT = (3, 4)
    ADMIN_PROHIBITED = (13, 1)
    SOURCE_POLICY = (13, 5)  # the source address may not come from there; ICMP has no code of its own


def may_answer(header: Header) -> bool:
    """Whether an ICMP error about this packet is allowed (RFC 1812 4.3.2.7, RFC 4443 2.4 (e)).

    Never about an error or redirect, a later fragment, or a packet whose source or destination is no host.
    """
    if is_error(header) or header.fragment_offset:
        return False
    if header.version == 6 and header.icmp_type == V6_REDIRECT:
        return False
    return is_ordinary(header)


def time_exceeded(packet: bytes | bytearray, header: Header, source: bytes | None) -> bytearray | None:
    """The TTL or hop limit ran out. Call it before the TTL is touched: the packet is quoted as it came."""
    kind = TIME_EXCEEDED if header.version == 4 else V6_TIME_EXCEEDED
    return _error(packet, header, source, kind, 0, 0)


def unreachable(
    packet: bytes | bytearray, header: Header, source: bytes | None, code: Unreachable = Unreachable.NO_ROUTE
) -> bytearray | None:
    """The packet goes no further, and why."""
    if header.version == 4:
        return _error(packet, header, source, DESTINATION_UNREACHABLE, code.value[0], 0)
    return _error(packet, header, source, V6_DESTINATION_UNREACHABLE, code.value[1], 0)


def admin_prohibited(packet: bytes | bytearray, header: Header, source: bytes | None) -> bytearray | None:
    """A rule forbids it."""
    return unreachable(packet, header, source, Unreachable.ADMIN_PROHIBITED)


def too_big(packet: bytes | bytearray, header: Header, source: bytes | None, mtu: int) -> bytearray | None:
    """The next hop takes `mtu` bytes. None for an IPv4 packet that may be fragmented (RFC 1191 4)."""
    if header.version == 6:
        return _error(packet, header, source, V6_PACKET_TOO_BIG, 0, mtu)
    if not header.dont_fragment:
        return None
    return _error(packet, header, source, DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED, min(mtu, 0xFFFF))


def _error(
    packet: bytes | bytearray, header: Header, source: bytes | None, kind: int, code: int, rest: int
) -> bytearray | None:
    if source is None or not may_answer(header):
        return None
    room = _ERROR_MAXIMUM[header.version] - (28 if header.version == 4 else 48)
    quote = memoryview(packet)[: min(header.total_length, room)]
    return build_message(source, header.source, kind, code, rest, quote, traffic_class=_INTERNETWORK_CONTROL)
