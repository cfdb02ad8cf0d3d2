"""Which packet an ICMP error of somebody else talks about (RFC 5927)."""

from __future__ import annotations

from edge.proto.ip.extensions import walk_untrusted
from edge.proto.ip.header import Header
from edge.proto.ip.icmp.messages import (
    DESTINATION_UNREACHABLE,
    FRAGMENTATION_NEEDED,
    V6_PACKET_TOO_BIG,
    V6_REDIRECT,
    is_error,
)
from edge.proto.ip.transport import HEADER_MINIMUM, ICMP, ICMPV6, NOTHING, Upper
from edge.proto.types import BadPacket, DropReason

MINIMUM_MTU = {4: 576, 6: 1280}
"""What every path of this network carries: a report of less is an attack (RFC 5927 7, RFC 8201 4)."""


def quoted_untrusted(packet: bytes | bytearray | memoryview, header: Header) -> Header | None:
    """The header of the packet that an ICMP error quotes; None if `header` is no error.

    The quote may be cut after 8 bytes of the upper layer; checksum, length and TTL are not judged. Nothing
    here translates addresses, so an error for a host must quote a packet *from* that host.
    """
    if not is_error(header):
        return None
    quote = memoryview(packet)[header.header_length + 8 : header.total_length]
    inner = _parse_ipv4(quote) if header.version == 4 else _parse_ipv6(quote)
    if inner.fragment_offset or _is_never_answered(inner):
        raise BadPacket(DropReason.ICMP_UNSOLICITED, "about a packet that nobody answers")
    if inner.source != header.destination:
        raise BadPacket(DropReason.ICMP_UNSOLICITED, "quotes a packet that its addressee did not send")
    return inner


def reported_mtu(packet: bytes | bytearray | memoryview, header: Header) -> int | None:
    """The MTU that a packet-too-big message reports, whatever it says; None for other messages."""
    at = header.header_length
    if header.version == 4:
        if (header.icmp_type, header.icmp_code) != (DESTINATION_UNREACHABLE, FRAGMENTATION_NEEDED):
            return None
        return packet[at + 6] << 8 | packet[at + 7]
    if header.icmp_type != V6_PACKET_TOO_BIG:
        return None
    return int.from_bytes(packet[at + 4 : at + 8], "big")


def _is_never_answered(inner: Header) -> bool:
    return is_error(inner) or (inner.protocol == ICMPV6 and inner.icmp_type == V6_REDIRECT)


def _parse_ipv4(quote: memoryview) -> Header:
    if len(quote) < 20:
        raise BadPacket(DropReason.BAD_LENGTH, "quote")
    if quote[0] >> 4 != 4:
        raise BadPacket(DropReason.BAD_VERSION, "quote")
    at = (quote[0] & 0xF) << 2
    if at < 20:
        raise BadPacket(DropReason.BAD_HEADER, "quote")
    word = quote[6] << 8 | quote[7]
    offset = (word & 0x1FFF) << 3
    protocol = quote[9]
    return Header(
        4,
        at,
        quote[2] << 8 | quote[3],
        quote[8],
        protocol,
        bytes(quote[12:16]),
        bytes(quote[16:20]),
        *_upper(quote, at, 4, protocol),
        bool(word & 0x4000),
        at,
        offset,
        bool(word & 0x2000),
        quote[4] << 8 | quote[5],
    )


def _parse_ipv6(quote: memoryview) -> Header:
    if len(quote) < 40:
        raise BadPacket(DropReason.BAD_LENGTH, "quote")
    if quote[0] >> 4 != 6:
        raise BadPacket(DropReason.BAD_VERSION, "quote")
    protocol, at, start, offset, more, identification = walk_untrusted(quote, quote[6], len(quote))
    return Header(
        6,
        at,
        40 + (quote[4] << 8 | quote[5]),
        quote[7],
        protocol,
        bytes(quote[8:24]),
        bytes(quote[24:40]),
        *_upper(quote, at, 6, protocol),
        True,
        start,
        offset,
        more,
        identification,
    )


def _upper(quote: memoryview, at: int, version: int, protocol: int) -> Upper:
    """Ports, or ICMP type and code, from the 8 bytes that every error quotes (RFC 792)."""
    if protocol not in HEADER_MINIMUM or protocol == (ICMPV6 if version == 4 else ICMP):
        return NOTHING
    if len(quote) < at + 8:
        raise BadPacket(DropReason.BAD_LENGTH, "quote ends before the ports")
    if protocol in (ICMP, ICMPV6):
        return Upper(0, 0, quote[at], quote[at + 1], 0)
    return Upper(quote[at] << 8 | quote[at + 1], quote[at + 2] << 8 | quote[at + 3], -1, -1, 0)
