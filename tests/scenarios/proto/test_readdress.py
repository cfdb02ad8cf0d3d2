"""Packets with other addresses: right checksums stay right, wrong ones wrong, and the way back restores every byte."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.ip import (
    TCP,
    UDP,
    build_icmp_echo,
    build_packet,
    build_tcp,
    build_udp,
    checksum,
    fragment_ipv4,
    parse_untrusted,
    quoted_untrusted,
    tcp_segment,
)
from edge.proto.types import BadPacket
from scenarios.proto.host import checksum_right
from scenarios.proto.readdress import Side, clamp_mss, flip_payload, readdress, readdress_quoted

QUICK = settings(max_examples=200, deadline=None, derandomize=True)
addresses = st.binary(min_size=4, max_size=4)
ports = st.integers(0, 65535)
payloads = st.binary(max_size=60) | st.sampled_from([b"", b"\0", b"\xff\xff", bytes(33), b"\xff" * 40])


@st.composite
def packets(draw: st.DrawFn) -> bytearray:
    source, destination, sport, dport = draw(addresses), draw(addresses), draw(ports), draw(ports)
    payload, ident = draw(payloads), draw(ports)
    match draw(st.sampled_from(["udp", "unsummed", "tcp", "ping"])):
        case "udp":
            return build_udp(source, destination, sport, dport, payload, ident=ident)
        case "unsummed":
            packet = build_udp(source, destination, sport, dport, payload, ident=ident)
            packet[26:28] = b"\0\0"
            return packet
        case "tcp":
            return build_tcp(
                source, destination, sport, dport, sequence=draw(ports), flags=16, payload=payload
            )
        case _:
            return build_icmp_echo(source, destination, ident=sport, sequence=dport, payload=payload)


def is_right(packet: bytearray) -> bool:
    header = parse_untrusted(packet)  # which judges the checksum of the IP header
    return checksum_right(packet, header)


@QUICK
@given(packets(), st.sampled_from(Side), addresses, ports)
def test_there_and_back(packet: bytearray, side: Side, address: bytes, port: int) -> None:
    before, header = bytes(packet), parse_untrusted(packet)
    readdress(packet, header, side, address, port)
    there = parse_untrusted(packet)
    assert is_right(packet)
    assert (there.source if side is Side.SOURCE else there.destination) == address
    if header.protocol in (UDP, TCP):
        assert (there.source_port if side is Side.SOURCE else there.destination_port) == port
        old = header.source_port if side is Side.SOURCE else header.destination_port
    else:
        assert packet[24:26] == port.to_bytes(2)
        old = int.from_bytes(before[24:26])
    readdress(packet, there, side, header.source if side is Side.SOURCE else header.destination, old)
    assert packet == before


@QUICK
@given(packets(), st.sampled_from(Side), addresses, ports, st.integers(0, 15))
def test_a_damaged_packet_stays_damaged(
    packet: bytearray, side: Side, address: bytes, port: int, bit: int
) -> None:
    header = parse_untrusted(packet)
    at = {UDP: 6, TCP: 16}.get(header.protocol, 2) + 20
    if packet[at : at + 2] == b"\0\0" and header.protocol == UDP:
        return
    packet[at + (bit >> 3)] ^= 1 << (bit & 7)
    if header.protocol == UDP and packet[at : at + 2] == b"\0\0":
        return  # now it says that there is none
    assert not is_right(packet)
    readdress(packet, header, side, address, port)
    assert not is_right(packet)


@QUICK
@given(packets(), addresses, ports, st.integers(28, 80), st.booleans())
def test_the_packet_in_an_error_there_and_back(
    inner: bytearray, address: bytes, port: int, cut: int, source: bool
) -> None:
    router, view = b"\x0a\0\0\x09", parse_untrusted(inner)
    # An error as a router makes it, whatever the addresses: ours would not answer some of them.
    message = bytearray(b"\x03\x03\0\0\0\0\0\0" + inner[:cut])
    message[2:4] = checksum(message).to_bytes(2)
    packet = build_packet(router, view.source, 1, message)
    header = parse_untrusted(packet)
    try:
        quoted = quoted_untrusted(packet, header)
    except BadPacket:
        return
    assert quoted is not None
    side = Side.SOURCE if source else Side.DESTINATION
    before = bytes(packet)
    readdress_quoted(packet, header, quoted, side, address, port)
    assert is_right(packet)
    body = bytearray(packet[28:])
    assert checksum(body[:20]) == 0  # the quoted IP header
    assert bytes(body[12:16] if source else body[16:20]) == address
    if cut >= len(inner):
        assert is_right(body)
    old = (
        int.from_bytes(before[52:54])
        if view.protocol == 1
        else (quoted.source_port if source else quoted.destination_port)
    )
    readdress_quoted(packet, header, quoted, side, quoted.source if source else quoted.destination, old)
    assert packet == before


def test_the_first_fragment_needs_no_other() -> None:
    whole = build_udp(b"\x0a\0\0\1", b"\x0a\0\0\2", 1000, 2000, Random(1).randbytes(900), dont_fragment=False)
    expected = build_udp(
        b"\xc6\x12\0\2", b"\x0a\0\0\2", 7, 2000, Random(1).randbytes(900), dont_fragment=False
    )
    pieces = fragment_ipv4(whole, 400)
    for piece in pieces:
        readdress(piece, parse_untrusted(piece), Side.SOURCE, b"\xc6\x12\0\2", 7)
    assert b"".join(bytes(piece[20:]) for piece in pieces) == expected[20:]


def test_a_sum_of_zero_is_not_the_absence_of_one() -> None:
    ends = b"\x0a\0\0\1", b"\x0a\0\0\2"
    port = next(n for n in range(65536) if build_udp(*ends, n, 2, b"data")[26:28] == b"\xff\xff")
    packet = build_udp(*ends, 1, 2, b"data")
    readdress(packet, parse_untrusted(packet), Side.SOURCE, ends[0], port)
    assert packet == build_udp(*ends, port, 2, b"data")


# -- a flipped bit


@QUICK
@given(payloads, st.integers(0, 5000), st.booleans())
def test_a_flipped_bit_reaches_the_program(payload: bytes, bit: int, summed: bool) -> None:
    packet = build_udp(b"\x0a\0\0\1", b"\x0a\0\0\2", 1000, 2000, payload)
    if not summed:
        packet[26:28] = b"\0\0"
    assert flip_payload(packet, parse_untrusted(packet), bit)
    assert is_right(packet)
    assert packet[:26] == build_udp(b"\x0a\0\0\1", b"\x0a\0\0\2", 1000, 2000, payload)[:26]
    changed = int.from_bytes(payload) ^ int.from_bytes(packet[28:])
    assert changed.bit_count() == bool(payload)
    assert (packet[26:28] == b"\0\0") is not summed


def test_only_udp_can_be_damaged_unnoticed() -> None:
    segment = build_tcp(b"\x0a\0\0\1", b"\x0a\0\0\2", 1, 2, sequence=1, flags=16, payload=b"data")
    assert not flip_payload(segment, parse_untrusted(segment), 3)
    later = fragment_ipv4(
        build_udp(b"\x0a\0\0\1", b"\x0a\0\0\2", 1, 2, bytes(900), dont_fragment=False), 400
    )[1]
    assert not flip_payload(later, parse_untrusted(later), 3)


# -- the largest segment


def syn(options: bytes, flags: int = 2, address: bytes = b"\x0a\0\0\1") -> bytearray:
    return build_tcp(address, address[:-1] + b"\2", 1, 2, sequence=1, flags=flags, options=options)


def largest(packet: bytearray, options: bytes) -> int:
    at = options.index(b"\x02\x04") + 2
    return int.from_bytes(tcp_segment(packet, parse_untrusted(packet)).options[at : at + 2])


@pytest.mark.parametrize(
    "options",
    [
        b"\x02\x04\x05\xb4",
        b"\x01\x02\x04\x05\xb4\x00\x00\x00",
        b"\x04\x02\x03\x03\x07\x02\x04\x05\xb4\x00\x00\x00",
    ],
)
def test_a_syn_asks_for_what_fits(options: bytes) -> None:
    packet = syn(options)
    clamp_mss(packet, parse_untrusted(packet), 1400)
    assert largest(packet, options) == 1360 and is_right(packet)
    clamp_mss(packet, parse_untrusted(packet), 1500)
    assert largest(packet, options) == 1360
    six = syn(options, address=bytes(15) + b"\1")
    clamp_mss(six, parse_untrusted(six), 1400)
    assert largest(six, options) == 1340 and is_right(six)


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        (b"\x02\x04\x05\xb4", 16),  # no SYN
        (b"\x00\x02\x04\x05\xb4\x00\x00\x00", 2),  # behind the end of options
        (b"\x02\x03\x05\xb4", 2),
        (b"\x03\x00\x02\x04\x05\xb4\x00\x00", 2),  # no length
        (b"\x03\x28\x02\x04\x05\xb4\x00\x00", 2),  # longer than the header
        (b"\x01\x01\x01\x02", 2),
    ],
)
def test_anything_else_stays_as_it_is(options: bytes, flags: int) -> None:
    packet = syn(options, flags)
    before = bytes(packet)
    clamp_mss(packet, parse_untrusted(packet), 1400)
    assert packet == before
