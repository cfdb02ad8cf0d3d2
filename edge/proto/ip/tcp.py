"""TCP segments (RFC 9293): build one, look into one, refuse one."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from edge.proto.ip.addresses import is_ordinary
from edge.proto.ip.build import build_packet
from edge.proto.ip.checksum import transport_checksum
from edge.proto.ip.header import Header
from edge.proto.ip.transport import TCP

FIN = 0x01
SYN = 0x02
RST = 0x04
PSH = 0x08
ACK = 0x10

_HEADER = Struct("!HHIIBBHHH")
_VIEW = Struct("!4xIIBBH")


class Segment(NamedTuple):
    """The fields of a segment beside its ports."""

    sequence: int
    acknowledgment: int
    flags: int
    window: int
    options: memoryview
    payload: memoryview


def build_tcp(
    source: bytes,
    destination: bytes,
    sport: int,
    dport: int,
    *,
    sequence: int,
    acknowledgment: int = 0,
    flags: int,
    window: int = 0xFFFF,
    options: bytes = b"",
    payload: bytes | bytearray | memoryview = b"",
    ttl: int = 64,
    ident: int = 0,
    dont_fragment: bool = True,
) -> bytearray:
    """A segment in an IPv4 or IPv6 packet; `options` come padded to a multiple of 4 bytes."""
    if len(options) & 3 or len(options) > 40:
        raise ValueError("options are at most 40 bytes and a multiple of 4")
    offset = (20 + len(options)) << 2
    segment = bytearray(
        _HEADER.pack(
            sport, dport, sequence & 0xFFFFFFFF, acknowledgment & 0xFFFFFFFF, offset, flags, window, 0, 0
        )
    )
    segment += options
    segment += payload
    segment[16:18] = transport_checksum(source, destination, TCP, segment).to_bytes(2, "big")
    return build_packet(source, destination, TCP, segment, ttl=ttl, ident=ident, dont_fragment=dont_fragment)


def tcp_segment(packet: bytes | bytearray | memoryview, header: Header) -> Segment:
    """The segment of an unfragmented TCP packet that `parse_untrusted` accepted."""
    view = memoryview(packet)[header.header_length : header.total_length]
    sequence, acknowledgment, offset, flags, window = _VIEW.unpack_from(view)
    data = offset >> 4 << 2
    return Segment(sequence, acknowledgment, flags, window, view[20:data], view[data:])


def tcp_reset(packet: bytes | bytearray | memoryview, header: Header) -> bytearray | None:
    """What a closed port answers (RFC 9293 3.10.7.1), or None where nothing may be answered."""
    if header.protocol != TCP or header.is_fragment or header.tcp_flags & RST or not is_ordinary(header):
        return None
    view = memoryview(packet)[header.header_length : header.total_length]
    if transport_checksum(header.source, header.destination, TCP, view):
        return None
    segment = tcp_segment(packet, header)
    if segment.flags & ACK:
        sequence, acknowledgment, flags = segment.acknowledgment, 0, RST
    else:
        length = len(segment.payload) + bool(segment.flags & SYN) + bool(segment.flags & FIN)
        sequence, acknowledgment, flags = 0, segment.sequence + length, RST | ACK
    return build_tcp(
        header.destination,
        header.source,
        header.destination_port,
        header.source_port,
        sequence=sequence,
        acknowledgment=acknowledgment,
        flags=flags,
        window=0,
    )
