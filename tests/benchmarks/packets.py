"""The inner packets of the bench: IPv4 and UDP with right checksums, numbered."""

from __future__ import annotations

import ipaddress
import struct

HEADERS = 28
UDP = 17


def udp(source: str, destination: str, size: int, number: int, port: int = 4000) -> bytes:
    """A whole packet of `size` bytes from `source` to `destination`."""
    src, dst = ipaddress.IPv4Address(source).packed, ipaddress.IPv4Address(destination).packed
    payload = struct.pack("!Q", number).ljust(size - HEADERS, b"x")
    length = 8 + len(payload)
    segment = struct.pack("!HHHH", port, 4001, length, 0) + payload
    pseudo = src + dst + struct.pack("!BBH", 0, UDP, length)
    segment = segment[:6] + struct.pack("!H", checksum(pseudo + segment) or 0xFFFF) + segment[8:]
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, UDP, 0) + src + dst
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + segment


def same_but_for_the_hop(before: bytes, after: bytes) -> bool:
    """Whether a router did its duty and no more: TTL one less, header checksum right, the rest untouched."""
    return (
        after[8] == before[8] - 1
        and checksum(after[:20]) == 0
        and after[:8] + after[9:10] + after[12:] == before[:8] + before[9:10] + before[12:]
    )


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
