"""The view of a packet: lengths, versions, checksums (P20), options (P10), protocols in protocols (P22)."""

import pytest

from edge.proto.ip import (
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    build_icmp_echo,
    build_packet,
    build_tcp,
    build_udp,
    checksum,
    parse_untrusted,
)
from edge.proto.types import BadPacket, DropReason

A4, B4 = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
A6, B6 = bytes.fromhex("fd000000000000000000000000000001"), bytes.fromhex("20010db8000000000000000000000002")
FAMILIES = pytest.mark.parametrize(("a", "b"), [(A4, B4), (A6, B6)], ids=["v4", "v6"])


def reason_of(packet):
    with pytest.raises(BadPacket) as caught:
        parse_untrusted(packet)
    return caught.value.reason


def with_checksum(packet):
    """The IPv4 `packet` after a test changed its header."""
    size = (packet[0] & 15) * 4
    packet[10:12] = b"\0\0"
    packet[10:12] = checksum(packet[:size]).to_bytes(2, "big")
    return packet


def with_options(options, payload=b"\x13\xc4\x00\x35\x00\x08\x00\x00", protocol=UDP):
    packet = build_packet(A4, B4, protocol, options + payload)
    packet[0] = 0x45 + len(options) // 4
    return with_checksum(packet)


@FAMILIES
def test_udp(a, b):
    header = parse_untrusted(build_udp(a, b, 5060, 5061, b"hello", ttl=9))
    offset = 20 if len(a) == 4 else 40
    assert (header.version, header.header_length) == ((4, 20) if len(a) == 4 else (6, 40))
    assert header.total_length == offset + 13
    assert (header.source, header.destination, header.protocol, header.ttl) == (a, b, UDP, 9)
    assert (header.source_port, header.destination_port) == (5060, 5061)
    assert (header.icmp_type, header.icmp_code, header.tcp_flags) == (-1, -1, 0)
    assert (header.is_fragment, header.dont_fragment) == (False, True)


@FAMILIES
def test_tcp(a, b):
    header = parse_untrusted(build_tcp(a, b, 40000, 443, sequence=1, flags=0x12, payload=b"x"))
    assert (header.protocol, header.source_port, header.destination_port) == (TCP, 40000, 443)
    assert header.tcp_flags == 0x12


@pytest.mark.parametrize(("a", "b", "protocol", "kind"), [(A4, B4, ICMP, 8), (A6, B6, ICMPV6, 128)])
def test_icmp(a, b, protocol, kind):
    header = parse_untrusted(build_icmp_echo(a, b, ident=1, sequence=2, payload=b"x"))
    assert (header.protocol, header.icmp_type, header.icmp_code) == (protocol, kind, 0)
    assert (header.source_port, header.destination_port) == (0, 0)


@pytest.mark.parametrize(("a", "b", "protocol"), [(A4, B4, ICMPV6), (A6, B6, ICMP)])
def test_icmp_of_the_other_family_is_only_a_protocol_number(a, b, protocol):
    header = parse_untrusted(build_packet(a, b, protocol, bytes(8)))
    assert (header.protocol, header.icmp_type) == (protocol, -1)


@FAMILIES
def test_reads_bytes_bytearray_and_memoryview_alike(a, b):
    packet = build_udp(a, b, 1, 2, b"hello")
    assert parse_untrusted(packet) == parse_untrusted(bytes(packet)) == parse_untrusted(memoryview(packet))


@FAMILIES
def test_padding_of_the_link_is_no_part_of_the_packet(a, b):
    packet = build_udp(a, b, 1, 2, b"hello")
    assert parse_untrusted(packet + bytes(18)).total_length == len(packet)


@FAMILIES
@pytest.mark.parametrize("ttl", [0, 1, 255])
def test_any_ttl_parses(a, b, ttl):
    assert parse_untrusted(build_udp(a, b, 1, 2, b"", ttl=ttl)).ttl == ttl


@FAMILIES
def test_every_truncation_is_dropped(a, b):
    packet = build_udp(a, b, 1, 2, b"hello")
    for size in range(len(packet)):
        assert reason_of(packet[:size]) is DropReason.BAD_LENGTH


@pytest.mark.parametrize("version", [0, 1, 5, 7, 15])
def test_other_versions_are_dropped(version):
    packet = build_udp(A4, B4, 1, 2, b"")
    packet[0] = version << 4 | 5
    assert reason_of(packet) is DropReason.BAD_VERSION


def test_every_flipped_bit_of_an_ipv4_header_is_noticed():
    packet = build_udp(A4, B4, 1, 2, b"hello")
    for bit in range(160):
        broken = bytearray(packet)
        broken[bit // 8] ^= 1 << bit % 8
        reason_of(broken)
    packet[15] ^= 1
    assert reason_of(packet) is DropReason.BAD_CHECKSUM


@pytest.mark.parametrize("ihl", range(5))
def test_a_header_shorter_than_its_fields_is_dropped(ihl):
    packet = build_udp(A4, B4, 1, 2, b"")
    packet[0] = 0x40 | ihl
    assert reason_of(with_checksum(packet) if ihl else packet) is DropReason.BAD_HEADER


def test_a_total_length_within_the_header_is_dropped():
    packet = build_udp(A4, B4, 1, 2, b"")
    packet[2:4] = (19).to_bytes(2, "big")
    assert reason_of(with_checksum(packet)) is DropReason.BAD_LENGTH


@FAMILIES
@pytest.mark.parametrize("length", [0, 7, 14, 0xFFFF])
def test_a_wrong_udp_length_is_dropped(a, b, length):
    packet = build_udp(a, b, 1, 2, b"hello")
    packet[-9:-7] = length.to_bytes(2, "big")
    assert reason_of(packet) is DropReason.BAD_LENGTH


@FAMILIES
@pytest.mark.parametrize(
    ("words", "reason"), [(0, DropReason.BAD_HEADER), (4, DropReason.BAD_HEADER), (6, DropReason.BAD_LENGTH)]
)
def test_a_wrong_tcp_data_offset_is_dropped(a, b, words, reason):
    packet = build_tcp(a, b, 1, 2, sequence=1, flags=2)
    packet[-8] = words << 4
    assert reason_of(packet) is reason


@FAMILIES
@pytest.mark.parametrize(("protocol", "size"), [(TCP, 19), (UDP, 7), (132, 11), (33, 11), (136, 7)])
def test_an_upper_layer_header_that_is_cut_short_is_dropped(a, b, protocol, size):
    assert reason_of(build_packet(a, b, protocol, bytes(size))) is DropReason.BAD_LENGTH


@pytest.mark.parametrize(("a", "b", "protocol"), [(A4, B4, ICMP), (A6, B6, ICMPV6)])
def test_icmp_that_is_cut_short_is_dropped(a, b, protocol):
    assert reason_of(build_packet(a, b, protocol, bytes(7))) is DropReason.BAD_LENGTH


@FAMILIES
def test_sctp_has_ports(a, b):
    header = parse_untrusted(build_packet(a, b, 132, b"\x0b\x59\x0b\x5a" + bytes(8)))
    assert (header.source_port, header.destination_port) == (2905, 2906)


@FAMILIES
@pytest.mark.parametrize("protocol", [4, 41, 47, 50, 253])
def test_tunnels_and_unknown_protocols_are_what_they_say(a, b, protocol):
    """P22: whatever they carry is invisible, so that policy decides on the outer protocol, without ports."""
    inner = build_udp(A4, B4, 5060, 5060, b"")
    header = parse_untrusted(build_packet(a, b, protocol, inner))
    assert (header.protocol, header.source_port, header.destination_port) == (protocol, 0, 0)


@pytest.mark.parametrize("kind", [0x83, 0x89, 0x03, 0x09], ids=["lsrr", "ssrr", "lsrr-bare", "ssrr-bare"])
@pytest.mark.parametrize("before", [b"", b"\x01\x01\x01\x01", bytes([7, 4, 4, 1])], ids=["", "nop", "rr"])
def test_source_routes_are_dropped_wherever_they_stand(kind, before):
    options = before + bytes([kind, 7, 4, 10, 0, 0, 9, 0])
    assert reason_of(with_options(options)) is DropReason.SOURCE_ROUTE


@pytest.mark.parametrize(
    "options",
    [
        bytes([7, 7, 4, 0, 0, 0, 0, 0]),  # record route
        bytes([68, 8, 5, 0, 0, 0, 0, 0]),  # timestamp
        bytes([148, 4, 0, 0]),  # router alert
        bytes([1] * 40),
        bytes([0, 0x83, 7, 4]),  # behind the end of the list nothing is an option
    ],
)
def test_ports_are_read_behind_other_options(options):
    header = parse_untrusted(with_options(options))
    assert header.header_length == 20 + len(options)
    assert (header.source_port, header.destination_port) == (5060, 53)


@pytest.mark.parametrize(
    "options", [bytes([7, 0, 4, 0]), bytes([7, 1, 4, 0]), bytes([7, 5, 4, 0]), b"\1\1\1\7"]
)
def test_options_that_do_not_fit_are_dropped(options):
    assert reason_of(with_options(options)) is DropReason.BAD_HEADER


def test_options_cannot_forge_ports():
    """Read at a fixed 20 bytes, this packet would look like one for port 80."""
    header = parse_untrusted(with_options(bytes([1, 80, 0, 80, 0, 0, 0, 0])[:0] + bytes([130, 4, 0, 80])))
    assert header.destination_port == 53
