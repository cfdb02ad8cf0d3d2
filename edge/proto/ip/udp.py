"""UDP datagrams (RFC 768)."""

from __future__ import annotations

from struct import Struct

from edge.proto.ip.build import build_packet
from edge.proto.ip.checksum import transport_checksum
from edge.proto.ip.header import Header
from edge.proto.ip.transport import UDP

_HEADER = Struct("!HHHH")
_WHOLE = Struct("!HHHHHHQHHHH")


def build_udp(
    source: bytes,
    destination: bytes,
    sport: int,
    dport: int,
    payload: bytes | bytearray | memoryview,
    *,
    ttl: int = 64,
    ident: int = 0,
    dont_fragment: bool = True,
) -> bytearray:
    """A datagram in an IPv4 or IPv6 packet, by the length of the addresses."""
    length = 8 + len(payload)
    if length > 0xFFFF:
        raise ValueError(f"payload of {len(payload)} bytes does not fit into a datagram")
    if len(source) == len(destination) == 4 and length <= 0xFFFF - 20:
        flags = 0x4000 if dont_fragment else 0
        return _build_ipv4(source + destination, sport, dport, payload, length, ttl << 8 | UDP, ident, flags)
    datagram = bytearray(_HEADER.pack(sport, dport, length, 0))
    datagram += payload
    # 0 on the wire says that there is no checksum, so a sum of 0 is sent as its other form.
    value = transport_checksum(source, destination, UDP, datagram) or 0xFFFF
    datagram[6:8] = value.to_bytes(2, "big")
    return build_packet(source, destination, UDP, datagram, ttl=ttl, ident=ident, dont_fragment=dont_fragment)


def _build_ipv4(
    addresses: bytes,
    sport: int,
    dport: int,
    payload: bytes | bytearray | memoryview,
    length: int,
    ttl_protocol: int,
    ident: int,
    flags: int,
) -> bytearray:
    """Both headers in one piece; sums modulo 0xffff as in checksum.py. A data sum of 0 has its other form, 0xffff."""
    total = 20 + length
    words = int.from_bytes(addresses, "big")
    data = int.from_bytes(payload, "big") << (8 if len(payload) & 1 else 0)
    header_sum = 0xFFFF - ((0x4500 + total + ident + flags + ttl_protocol + words) % 0xFFFF or 0xFFFF)
    data_sum = 0xFFFF - (words + UDP + 2 * length + sport + dport + data) % 0xFFFF
    packet = bytearray(
        _WHOLE.pack(
            0x4500, total, ident, flags, ttl_protocol, header_sum, words, sport, dport, length, data_sum
        )
    )
    packet += payload
    return packet


def udp_payload(packet: bytes | bytearray | memoryview, header: Header) -> memoryview:
    """The payload of an unfragmented UDP packet, as long as the UDP header says."""
    at = header.header_length
    return memoryview(packet)[at + 8 : at + (packet[at + 4] << 8 | packet[at + 5])]
