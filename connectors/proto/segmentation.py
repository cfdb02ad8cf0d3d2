"""Packets as a TUN device with offloads gives them, and packets as a tunnel takes them.

The kernel may hand over one packet of up to 64 KiB that stands for many, and leave checksums to whoever gets it: a
header in front says so (``struct virtio_net_hdr``, virtio 1.2 section 5.1.6). ``unwrap`` does what a card would.
"""

from __future__ import annotations

from struct import Struct, pack_into, unpack_from

from edge.proto.ip import TCP, UDP, checksum
from edge.proto.types import BadPacket, DropReason

HEADER_SIZE = 10
NO_OFFLOAD = bytes(HEADER_SIZE)
"""The header of a packet that is whole."""

_header = Struct(
    "=BBHHHH"
)  # flags, type, header length, segment size, where the checksum starts, and its place

NEEDS_CHECKSUM = 1  # from `start` to the end; the field holds the sum of the pseudo-header
_NONE, _TCP4, _TCP6, _UDP = 0, 1, 4, 5
_ECN = 0x80  # the first segment alone keeps CWR (RFC 3168 section 6.1.2)

_FIN, _PSH, _CWR = 0x01, 0x08, 0x80
_MAX_SEGMENTS = 1024  # 64 KiB in pieces of a sane size


def unwrap(frame: bytearray) -> list[bytearray]:
    """Whole packets, in order, from `frame`, a header and what it describes; BadPacket if the two do not fit.

    `frame` is used up.
    """
    if len(frame) <= HEADER_SIZE:
        raise BadPacket(DropReason.BAD_LENGTH, "no packet behind the header")
    flags, kind, _, size, start, place = _header.unpack_from(frame)
    del frame[:HEADER_SIZE]
    kind &= ~_ECN
    if kind == _NONE:
        if flags & NEEDS_CHECKSUM:
            _complete(frame, start, place)
        return [frame]
    return _split(frame, kind, size, start)


def _complete(packet: bytearray, start: int, place: int) -> None:
    """Put in the checksum of what begins at `start`; its field has the pseudo-header's sum, not complemented."""
    field = start + place
    if field + 2 > len(packet):
        raise BadPacket(DropReason.BAD_LENGTH, "a checksum outside of its packet")
    value = checksum(memoryview(packet)[start:])
    # 0 means none in UDP (RFC 768); for the others the two zeros are the same number
    pack_into("!H", packet, field, value or 0xFFFF)


def _split(packet: bytearray, kind: int, size: int, start: int) -> list[bytearray]:
    """Segments with `size` octets of payload each; the last may be shorter."""
    version = packet[0] >> 4
    protocol = UDP if kind == _UDP else TCP
    least = 8 if protocol == UDP else 20
    if (
        kind not in (_TCP4, _TCP6, _UDP)
        or version not in (4, 6)
        or (kind == _TCP4 and version != 4)
        or (kind == _TCP6 and version != 6)
        or start < (20 if version == 4 else 40)
        or start + least > len(packet)
    ):
        raise BadPacket(DropReason.BAD_HEADER, "segmentation of something else")
    end = start + (8 if protocol == UDP else (packet[start + 12] >> 4) * 4)
    payload = len(packet) - end
    if end < start + least or payload <= 0 or size == 0 or -(-payload // size) > _MAX_SEGMENTS:
        raise BadPacket(DropReason.BAD_LENGTH, "segmentation")
    addresses = packet[12:20] if version == 4 else packet[8:40]
    segments = []
    for at in range(0, payload, size):
        segment = packet[:end] + packet[end + at : end + at + size]
        last = at + size >= payload
        _address_header(segment, version, at // size)
        if protocol == UDP:
            pack_into("!H", segment, start + 4, len(segment) - start)
            field = start + 6
        else:
            _tcp_header(segment, start, at, first=at == 0, last=last)
            field = start + 16
        pack_into("!H", segment, field, 0)
        length = len(segment) - start
        # 65,536 is 1 modulo 65,535: the pseudo-header (RFC 9293 3.1) may stand in front as whole words
        pseudo = addresses + protocol.to_bytes(2, "big") + length.to_bytes(2, "big")
        pack_into("!H", segment, field, checksum(pseudo + memoryview(segment)[start:]) or 0xFFFF)
        segments.append(segment)
    return segments


def _address_header(segment: bytearray, version: int, number: int) -> None:
    """The IP header of segment `number`: its own length, identification (RFC 6864) and checksum."""
    if version == 6:
        pack_into("!H", segment, 4, len(segment) - 40)
        return
    (identification,) = unpack_from("!H", segment, 4)
    pack_into("!HH", segment, 2, len(segment), (identification + number) & 0xFFFF)
    pack_into("!H", segment, 10, 0)
    pack_into("!H", segment, 10, checksum(memoryview(segment)[: (segment[0] & 0xF) * 4]))


def _tcp_header(segment: bytearray, start: int, offset: int, *, first: bool, last: bool) -> None:
    (sequence,) = unpack_from("!I", segment, start + 4)
    pack_into("!I", segment, start + 4, (sequence + offset) & 0xFFFFFFFF)
    if not last:
        segment[start + 13] &= ~(_FIN | _PSH) & 0xFF
    if not first:
        segment[start + 13] &= ~_CWR & 0xFF
