"""Datagrams and segments: built right, read back, refused right (RFC 9293 3.10.7.1)."""

from ipaddress import ip_address

import pytest

from edge.proto.ip import (
    TCP,
    UDP,
    build_packet,
    build_tcp,
    build_udp,
    checksum,
    fragment_ipv4,
    packet_length,
    parse_untrusted,
    tcp_reset,
    tcp_segment,
    transport_checksum,
    udp_payload,
)

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def ip(text):
    return ip_address(text).packed


A = {4: ip("10.0.0.1"), 6: ip("fd00::1")}
B = {4: ip("10.0.0.2"), 6: ip("fd00::2")}
FAMILIES = pytest.mark.parametrize("version", [4, 6])


def segment(version, **fields):
    return build_tcp(A[version], B[version], 40000, 443, **fields)


@FAMILIES
@pytest.mark.parametrize("payload", [b"", b"x", b"hello!", bytes(1400)])
def test_a_datagram_reads_back_and_its_checksum_is_right(version, payload):
    packet = build_udp(A[version], B[version], 1, 65535, payload)
    header = parse_untrusted(packet)
    assert udp_payload(packet, header) == payload
    assert transport_checksum(A[version], B[version], UDP, packet[header.header_length :]) == 0
    assert packet_length(packet) == packet_length(packet + bytes(9)) == len(packet)


@FAMILIES
def test_what_follows_the_datagram_is_not_payload(version):
    packet = build_udp(A[version], B[version], 1, 2, b"hello")
    longer = build_packet(A[version], B[version], UDP, packet[-13:] + b"surplus")
    assert udp_payload(longer + b"padding", parse_untrusted(longer)) == b"hello"


@FAMILIES
def test_a_checksum_of_zero_is_sent_as_ffff(version):
    """RFC 768: zero on the wire means that there is none."""
    at = 26 if version == 4 else 46
    without = build_udp(A[version], B[version], 1, 2, b"\0\0")[at : at + 2]
    assert build_udp(A[version], B[version], 1, 2, without)[at : at + 2] == b"\xff\xff"


@pytest.mark.parametrize("size", [0, 5, 19])
def test_packet_length_of_what_is_no_packet(size):
    assert packet_length(bytes(size)) == size
    assert packet_length(b"\x45" + bytes(size)[1:]) == max(size, 1)
    assert packet_length(b"\x60" + bytes(size + 19)) == size + 20


@FAMILIES
def test_a_payload_that_does_not_fit_is_refused(version):
    with pytest.raises(ValueError):
        build_udp(A[version], B[version], 1, 2, bytes(65536 - 8))
    with pytest.raises(ValueError):
        build_packet(A[version], B[version], 99, bytes(65536))


def test_addresses_of_two_families_are_refused():
    with pytest.raises(ValueError):
        build_udp(A[4], B[6], 1, 2, b"")
    with pytest.raises(ValueError):
        build_udp(b"abc", b"def", 1, 2, b"")


@FAMILIES
def test_a_segment_reads_back_and_its_checksum_is_right(version):
    options = bytes([2, 4, 5, 180])
    packet = segment(
        version,
        sequence=2**32 - 1,
        acknowledgment=5,
        flags=SYN | ACK,
        window=1000,
        options=options,
        payload=b"hi",
    )
    header = parse_untrusted(packet)
    assert tcp_segment(packet, header) == (2**32 - 1, 5, SYN | ACK, 1000, options, b"hi")
    assert transport_checksum(A[version], B[version], TCP, packet[header.header_length :]) == 0


def test_options_that_do_not_fit_are_refused():
    for options in (b"\1", bytes(44)):
        with pytest.raises(ValueError):
            segment(4, sequence=1, flags=SYN, options=options)


@FAMILIES
@pytest.mark.parametrize(
    ("flags", "payload", "expected"),
    [
        (SYN, b"", (0, 101, RST | ACK)),
        (SYN, b"fast", (0, 105, RST | ACK)),
        (FIN, b"", (0, 101, RST | ACK)),
        (0, b"data", (0, 104, RST | ACK)),
        (ACK, b"", (999, 0, RST)),
        (SYN | ACK, b"", (999, 0, RST)),
        (PSH | ACK, b"data", (999, 0, RST)),
    ],
)
def test_a_reset_is_acceptable_to_the_sender(version, flags, payload, expected):
    packet = segment(version, sequence=100, acknowledgment=999, flags=flags, payload=payload)
    reset = tcp_reset(packet, parse_untrusted(packet))
    header = parse_untrusted(reset)
    assert (header.source, header.destination) == (B[version], A[version])
    assert (header.source_port, header.destination_port) == (443, 40000)
    assert tcp_segment(reset, header)[:3] == expected
    assert transport_checksum(header.source, header.destination, TCP, reset[header.header_length :]) == 0


def test_a_reset_acknowledges_across_the_wrap():
    packet = segment(4, sequence=2**32 - 1, flags=SYN)
    reset = tcp_reset(packet, parse_untrusted(packet))
    assert tcp_segment(reset, parse_untrusted(reset)).acknowledgment == 0


@FAMILIES
@pytest.mark.parametrize("flags", [RST, RST | ACK])
def test_no_reset_about_a_reset(version, flags):
    packet = segment(version, sequence=1, flags=flags)
    assert tcp_reset(packet, parse_untrusted(packet)) is None


@FAMILIES
def test_no_reset_about_a_broken_segment(version):
    packet = segment(version, sequence=1, flags=SYN, payload=b"x")
    packet[-1] ^= 1
    assert tcp_reset(packet, parse_untrusted(packet)) is None


@FAMILIES
def test_no_reset_about_a_datagram(version):
    packet = build_udp(A[version], B[version], 1, 2, bytes(20))
    assert tcp_reset(packet, parse_untrusted(packet)) is None


def test_no_reset_to_a_group_or_from_one():
    for source, destination in (("10.0.0.1", "224.0.0.1"), ("0.0.0.0", "10.0.0.1"), ("fd00::1", "ff02::1")):
        packet = build_tcp(ip(source), ip(destination), 1, 2, sequence=1, flags=SYN)
        assert tcp_reset(packet, parse_untrusted(packet)) is None


def test_no_reset_about_a_fragment():
    packet = segment(4, sequence=1, flags=SYN, payload=bytes(1000), dont_fragment=False)
    for piece in fragment_ipv4(packet, 576):
        assert tcp_reset(piece, parse_untrusted(piece)) is None


def test_no_reset_about_a_first_fragment_with_a_right_checksum():
    """Nobody knows how long the segment is, so nothing can be acknowledged."""
    packet = segment(4, sequence=1, flags=SYN, payload=bytes(12), dont_fragment=False)
    packet[6] = 0x20
    packet[10:12] = b"\0\0"
    packet[10:12] = checksum(packet[:20]).to_bytes(2, "big")
    assert parse_untrusted(packet).is_fragment
    assert tcp_reset(packet, parse_untrusted(packet)) is None
