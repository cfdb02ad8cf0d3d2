"""Put a header with the right lengths and checksums in front of a payload."""

from __future__ import annotations

from struct import Struct

from edge.proto.ip.checksum import checksum

IPV4_HEADER = Struct("!BBHHHBBH4s4s")
IPV6_HEADER = Struct("!IHBB16s16s")


def build_packet(
    source: bytes,
    destination: bytes,
    protocol: int,
    payload: bytes | bytearray | memoryview,
    *,
    ttl: int = 64,
    ident: int = 0,
    dont_fragment: bool = True,
    traffic_class: int = 0,
) -> bytearray:
    """A packet without options; the family follows from the length of the addresses.

    `ident` and `dont_fragment` are for IPv4 only.
    """
    if len(source) != len(destination) or len(source) not in (4, 16):
        raise ValueError("addresses are 4 or 16 bytes long and of one family")
    size = len(payload)
    if size > (0xFFFF - 20 if len(source) == 4 else 0xFFFF):
        raise ValueError(f"payload of {size} bytes does not fit into a packet")
    if len(source) == 16:
        packet = bytearray(
            IPV6_HEADER.pack(6 << 28 | traffic_class << 20, size, protocol, ttl, source, destination)
        )
    else:
        flags = 0x4000 if dont_fragment else 0
        packet = bytearray(
            IPV4_HEADER.pack(
                0x45, traffic_class, 20 + size, ident, flags, ttl, protocol, 0, source, destination
            )
        )
        packet[10:12] = checksum(packet).to_bytes(2, "big")
    packet += payload
    return packet
