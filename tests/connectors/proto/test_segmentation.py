"""What a network card would do with a packet that the kernel left to it."""

from __future__ import annotations

from struct import pack, pack_into, unpack_from

import pytest

from connectors.proto.segmentation import HEADER_SIZE, NO_OFFLOAD, unwrap
from edge.proto.ip import TCP, UDP, checksum, parse_untrusted, transport_checksum
from edge.proto.types import BadPacket

V4 = (bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)))
V6 = (bytes.fromhex("fd00" + "00" * 13 + "01"), bytes.fromhex("fd00" + "00" * 13 + "02"))
TCP4, TCP6, UDP_L4, ECN = 1, 4, 5, 0x80
FIN, PSH, ACK, CWR = 0x01, 0x08, 0x10, 0x80


def ip(version: int, protocol: int, segment: bytes) -> bytearray:
    if version == 6:
        return bytearray(pack("!IHBB16s16s", 6 << 28, len(segment) & 0xFFFF, protocol, 64, *V6) + segment)
    header = bytearray(pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(segment), 7, 0x4000, 64, protocol, 0, *V4))
    pack_into("!H", header, 10, checksum(header))
    return header + segment


def tcp(payload: bytes, *, flags: int = ACK, sequence: int = 1000, options: bytes = b"") -> bytes:
    return (
        pack("!HHIIBBHHH", 5000, 80, sequence, 1, (20 + len(options)) << 2, flags, 500, 0, 0)
        + options
        + payload
    )


def framed(packet: bytes, *, kind: int, size: int, start: int, place: int = 16, flags: int = 1) -> bytearray:
    return bytearray(pack("=BBHHHH", flags, kind, 0, size, start, place) + packet)


def is_right(packet: bytearray) -> bool:
    header = parse_untrusted(packet)  # judges the lengths, and the checksum of the IPv4 header
    segment = packet[header.header_length :]
    return (
        header.total_length == len(packet)
        and transport_checksum(header.source, header.destination, header.protocol, segment) == 0
    )


def test_a_whole_packet_is_itself():
    packet = ip(4, TCP, tcp(b"whole"))
    assert unwrap(bytearray(NO_OFFLOAD + packet)) == [packet]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize(("protocol", "place"), [(TCP, 16), (UDP, 6)])
def test_a_checksum_is_completed(version: int, protocol: int, place: int):
    segment = (
        bytearray(tcp(b"odd")) if protocol == TCP else bytearray(pack("!HHHH", 5000, 53, 11, 0) + b"odd")
    )
    addresses = b"".join(V4 if version == 4 else V6)
    # the kernel leaves the sum of the pseudo-header in the field, not complemented
    partial = 0xFFFF - checksum(addresses + pack("!HH", protocol, len(segment)))
    pack_into("!H", segment, place, partial)
    packet = ip(version, protocol, bytes(segment))
    [whole] = unwrap(framed(packet, kind=0, size=0, start=20 if version == 4 else 40, place=place))
    assert is_right(whole)


@pytest.mark.parametrize(("version", "kind"), [(4, TCP4), (6, TCP6)])
@pytest.mark.parametrize("options", [b"", b"\x01\x01\x08\x0a" + bytes(8)])
def test_tcp_is_cut(version: int, kind: int, options: bytes):
    data = bytes(range(256)) * 10  # 2,560
    packet = ip(version, TCP, tcp(data, flags=ACK | PSH | FIN, sequence=0xFFFFFF00, options=options))
    start = 20 if version == 4 else 40
    pieces = unwrap(framed(packet, kind=kind, size=1000, start=start))
    end = start + 20 + len(options)
    assert [len(piece) - end for piece in pieces] == [1000, 1000, 560]
    assert b"".join(piece[end:] for piece in pieces) == data
    assert all(map(is_right, pieces))
    sequences = [unpack_from("!I", piece, start + 4)[0] for piece in pieces]
    assert sequences == [(0xFFFFFF00 + n) % 2**32 for n in (0, 1000, 2000)]
    assert [piece[start + 13] for piece in pieces] == [ACK, ACK, ACK | PSH | FIN]
    if version == 4:
        assert [unpack_from("!H", piece, 4)[0] for piece in pieces] == [7, 8, 9]


def test_congestion_is_told_once():
    packet = ip(4, TCP, tcp(bytes(30), flags=ACK | CWR))
    pieces = unwrap(framed(packet, kind=TCP4 | ECN, size=10, start=20))
    assert [bool(piece[33] & CWR) for piece in pieces] == [True, False, False]


@pytest.mark.parametrize("version", [4, 6])
def test_udp_is_cut(version: int):
    data = bytes(range(250))
    packet = ip(version, UDP, pack("!HHHH", 5000, 53, 8 + len(data), 0) + data)
    start = 20 if version == 4 else 40
    pieces = unwrap(framed(packet, kind=UDP_L4, size=100, start=start, place=6))
    assert [unpack_from("!H", piece, start + 4)[0] for piece in pieces] == [108, 108, 58]
    assert b"".join(piece[start + 8 :] for piece in pieces) == data
    assert all(map(is_right, pieces))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        bytes(HEADER_SIZE),
        framed(ip(4, TCP, tcp(b"x" * 30)), kind=0, size=0, start=60),  # the checksum lies outside
        framed(ip(4, TCP, tcp(b"x" * 30)), kind=TCP4, size=0, start=20),  # segments of nothing
        framed(ip(4, TCP, tcp(b"")), kind=TCP4, size=10, start=20),  # nothing to cut
        framed(ip(4, TCP, tcp(b"x" * 30)), kind=TCP6, size=10, start=20),  # of the other version
        framed(ip(4, TCP, tcp(b"x" * 30)), kind=TCP4, size=10, start=8),  # in the middle of the IP header
        framed(ip(4, TCP, tcp(b"x" * 30)), kind=TCP4, size=10, start=65),
        framed(ip(4, TCP, tcp(b"x" * 30)), kind=3, size=10, start=20),  # UFO, which nobody asked for
        framed(ip(4, TCP, tcp(b"x" * 2000)), kind=TCP4, size=1, start=20),  # thousands of crumbs
        framed(b"\x00" * 60, kind=TCP4, size=10, start=20),
    ],
)
def test_a_header_that_does_not_fit_is_refused(frame: bytes):
    with pytest.raises(BadPacket):
        unwrap(bytearray(frame))
