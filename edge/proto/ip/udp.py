"""UDP datagrams (RFC 768)."""

from __future__ import annotations

from collections.abc import Callable
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
    return udp_builder(source, destination, sport, dport, ttl=ttl, dont_fragment=dont_fragment)(
        payload, ident
    )


def udp_builder(
    source: bytes, destination: bytes, sport: int, dport: int, *, ttl: int = 64, dont_fragment: bool = True
) -> Callable[[bytes | bytearray | memoryview, int], bytearray]:
    """``build_udp`` for many datagrams from one place to another: (payload, ident) to packet."""
    if len(source) == len(destination) == 4:
        return _ipv4_builder(
            source + destination, sport, dport, ttl << 8 | UDP, 0x4000 if dont_fragment else 0
        )

    def build(payload: bytes | bytearray | memoryview, ident: int) -> bytearray:
        length = 8 + len(payload)
        if length > 0xFFFF:
            raise ValueError(f"payload of {len(payload)} bytes does not fit into a datagram")
        datagram = bytearray(_HEADER.pack(sport, dport, length, 0))
        datagram += payload
        # 0 on the wire says that there is no checksum, so a sum of 0 is sent as its other form.
        value = transport_checksum(source, destination, UDP, datagram) or 0xFFFF
        datagram[6:8] = value.to_bytes(2, "big")
        return build_packet(
            source, destination, UDP, datagram, ttl=ttl, ident=ident, dont_fragment=dont_fragment
        )

    return build


def _ipv4_builder(
    addresses: bytes, sport: int, dport: int, ttl_protocol: int, flags: int
) -> Callable[[bytes | bytearray | memoryview, int], bytearray]:
    """Both headers in one piece; sums modulo 0xffff as in checksum.py. A data sum of 0 has its other form, 0xffff."""
    words = int.from_bytes(addresses, "big")
    header_words = 0x4500 + flags + ttl_protocol + words
    data_words = words + UDP + sport + dport
    pack, number = _WHOLE.pack, int.from_bytes

    def build(payload: bytes | bytearray | memoryview, ident: int) -> bytearray:
        length = 8 + len(payload)
        total = 20 + length
        if total > 0xFFFF:
            raise ValueError(f"payload of {len(payload)} bytes does not fit into a packet")
        data = number(payload, "big")
        if length & 1:
            data <<= 8
        packet = bytearray(
            pack(
                0x4500,
                total,
                ident,
                flags,
                ttl_protocol,
                0xFFFF - ((header_words + total + ident) % 0xFFFF or 0xFFFF),
                words,
                sport,
                dport,
                length,
                0xFFFF - (data_words + 2 * length + data) % 0xFFFF,
            )
        )
        packet += payload
        return packet

    return build


def udp_payload(packet: bytes | bytearray | memoryview, header: Header) -> memoryview:
    """The payload of an unfragmented UDP packet, as long as the UDP header says."""
    at = header.header_length
    return memoryview(packet)[at + 8 : at + (packet[at + 4] << 8 | packet[at + 5])]
