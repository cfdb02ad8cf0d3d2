"""RTP packets (RFC 3550 section 5): bytes to fields and back."""

from __future__ import annotations

import struct
from typing import NamedTuple

from edge.proto.types import BadPacket, DropReason

VERSION = 2
HEADER_LENGTH = 12
MAX_CSRC = 15

_HEADER = struct.Struct("!BBHII")
_EXTENSION = struct.Struct("!HH")

unpack_header = _HEADER.unpack_from
"""First octet, marker and payload type, sequence number, timestamp, SSRC: of a buffer, from an offset on."""
PLAIN = 0x80
"""The first octet of a packet without CSRC, extension and padding."""

# RFC 5761 section 4: RTCP packet types 192-223 look like these payload types with the marker bit set.
_RTCP_TYPES = range(192, 224)


class Extension(NamedTuple):
    """The header extension of RFC 3550 section 5.3.1; `data` is a whole number of 32-bit words."""

    profile: int
    data: bytes


class RtpPacket(NamedTuple):
    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False
    csrc: tuple[int, ...] = ()
    extension: Extension | None = None

    def to_bytes(self, *, pad_to: int = 0) -> bytes:
        """The packet as sent, its length padded to a multiple of `pad_to` octets (at most 255) if given."""
        first = VERSION << 6 | len(self.csrc)
        body = b"".join(source.to_bytes(4, "big") for source in self.csrc)
        if self.extension is not None:
            profile, data = self.extension
            if len(data) % 4:
                raise ValueError("an RTP header extension is a whole number of 32-bit words")
            first |= 0x10
            body += _EXTENSION.pack(profile, len(data) // 4) + data
        body += self.payload
        if pad_to and (padding := -(HEADER_LENGTH + len(body)) % pad_to):
            first |= 0x20
            body += bytes(padding - 1) + bytes((padding,))
        second = self.payload_type | (0x80 if self.marker else 0)
        return _HEADER.pack(first, second, self.sequence, self.timestamp, self.ssrc) + body


def pack_simple(
    payload_type: int, marker: bool, sequence: int, timestamp: int, ssrc: int, payload: bytes
) -> bytes:
    """A packet without CSRC, extension and padding: what a phone sends fifty times a second."""
    second = payload_type | 0x80 if marker else payload_type
    return _HEADER.pack(PLAIN, second, sequence, timestamp, ssrc) + payload


def parse_untrusted(data: bytes) -> RtpPacket:
    """The packet in `data`; every length that it claims is checked against what is there."""
    if len(data) < HEADER_LENGTH:
        raise BadPacket(DropReason.BAD_LENGTH, "shorter than an RTP header")
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    if first >> 6 != VERSION:
        raise BadPacket(DropReason.BAD_VERSION, "not RTP version 2")
    if second in _RTCP_TYPES:
        raise BadPacket(DropReason.BAD_HEADER, "an RTCP packet type where a payload type belongs")
    payload_type, marker = second & 0x7F, second > 0x7F
    if first == PLAIN:
        return RtpPacket(payload_type, sequence, timestamp, ssrc, bytes(data[HEADER_LENGTH:]), marker)
    start, end = HEADER_LENGTH, len(data)
    csrc: tuple[int, ...] = ()
    if count := first & 0x0F:
        if start + 4 * count > end:
            raise BadPacket(DropReason.BAD_LENGTH, "CSRC list runs past the end")
        csrc = struct.unpack_from(f"!{count}I", data, start)
        start += 4 * count
    extension = None
    if first & 0x10:
        if start + 4 > end:
            raise BadPacket(DropReason.BAD_LENGTH, "header extension runs past the end")
        profile, words = _EXTENSION.unpack_from(data, start)
        start += 4
        if start + 4 * words > end:
            raise BadPacket(DropReason.BAD_LENGTH, "header extension runs past the end")
        extension = Extension(profile, bytes(data[start : start + 4 * words]))
        start += 4 * words
    if first & 0x20:
        padding = data[-1]
        # The count includes itself, so it is at least 1, and it may not eat the header.
        if padding == 0 or start + padding > end:
            raise BadPacket(DropReason.BAD_LENGTH, "padding count does not fit")
        end -= padding
    return RtpPacket(payload_type, sequence, timestamp, ssrc, bytes(data[start:end]), marker, csrc, extension)
