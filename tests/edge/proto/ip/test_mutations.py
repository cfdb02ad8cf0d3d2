"""Hostile bytes (P20): the one exception is BadPacket, and what parses has true lengths."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.ip import (
    FragmentKind,
    FragmentTable,
    Unreachable,
    build_icmp_echo,
    build_packet,
    build_tcp,
    build_udp,
    check_addresses,
    checksum,
    echo,
    echo_identifier,
    echo_reply,
    fragment_ipv4,
    is_error,
    is_forbidden,
    packet_length,
    parse_untrusted,
    quoted_echo_identifier,
    quoted_untrusted,
    reported_mtu,
    tcp_reset,
    tcp_segment,
    time_exceeded,
    too_big,
    udp_payload,
    unreachable,
)
from edge.proto.types import BadPacket

QUICK = settings(max_examples=100, deadline=None, derandomize=True)
A, B = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
A6, B6 = bytes.fromhex("fd000000000000000000000000000001"), bytes.fromhex("fd000000000000000000000000000002")
POP = {4: bytes([100, 96, 0, 1]), 6: bytes.fromhex("fd960000000000000000000000000001")}


def seeds():
    """One packet of every kind that some branch looks into."""
    for a, b in ((A, B), (A6, B6)):
        udp = build_udp(a, b, 5060, 5061, b"hello", dont_fragment=False)
        yield udp
        yield build_tcp(a, b, 1, 2, sequence=1, flags=2, options=bytes(8), payload=b"x")
        ping = build_icmp_echo(a, b, ident=1, sequence=2, payload=b"data")
        yield ping
        for inner in (udp, ping):
            header = parse_untrusted(inner)
            pop = POP[header.version]
            yield time_exceeded(inner, header, pop)
            yield unreachable(inner, header, pop, Unreachable.PORT)
    big = build_udp(A6, B6, 1, 2, bytes(1400))
    yield too_big(big, parse_untrusted(big), POP[6], 1280)
    yield from fragment_ipv4(build_udp(A, B, 1, 2, bytes(200), dont_fragment=False), 100)
    with_options = build_packet(
        A, B, 17, bytes([7, 7, 4, 0, 0, 0, 0, 0]) + bytes(build_udp(A, B, 1, 2, b""))[20:]
    )
    with_options[0] = 0x47
    yield with_options
    datagram = bytes(build_udp(A6, B6, 1, 2, b"hello"))[40:]
    padding = bytes([1, 4, 0, 0, 0, 0])
    yield build_packet(
        A6,
        B6,
        0,
        bytes([60, 0]) + padding + bytes([44, 0]) + padding + bytes([17, 0, 0, 1, 0, 0, 0, 9]) + datagram,
    )
    yield build_packet(A6, B6, 51, bytes([135, 4]) + bytes(22) + bytes([17, 0]) + padding + datagram)
    yield build_packet(A6, B6, 44, bytes([17, 0, 0, 64, 0, 0, 0, 9]) + datagram)


SEEDS = [bytes(packet) for packet in seeds()]


@st.composite
def mutated(draw):
    """A good packet with bytes overwritten, cut or added; an IPv4 checksum is sometimes made right again."""
    packet = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, min(len(packet) - 1, 100)))
        packet[at] = draw(st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 43, 44, 58, 59, 60, 255])))
    end = draw(st.integers(0, len(packet) + 8))
    if draw(st.booleans()):
        packet = packet[:end] + bytes(max(0, end - len(packet)))
    if draw(st.integers(0, 3)) and len(packet) >= 20 and packet[0] >> 4 == 4:
        if draw(st.booleans()):
            packet[2:4] = len(packet).to_bytes(2, "big")
        packet[10:12] = b"\0\0"
        packet[10:12] = checksum(packet[: (packet[0] & 15) * 4]).to_bytes(2, "big")
    elif draw(st.booleans()) and len(packet) >= 40 and packet[0] >> 4 == 6:
        packet[4:6] = (len(packet) - 40).to_bytes(2, "big")
    return packet


def examine(packet):
    """Do with `packet` all that a forwarder and a host may do with it."""
    assert packet_length(packet) >= 0
    try:
        header = parse_untrusted(packet)
    except BadPacket:
        return
    assert header.header_length <= header.total_length <= len(packet)
    assert header.header_length >= (20 if header.version == 4 else 40)
    with suppress(BadPacket):
        check_addresses(header)
    is_forbidden(header)
    echo_identifier(packet, header)
    echo(packet, header)
    reported_mtu(packet, header)
    with suppress(BadPacket):
        quoted = quoted_untrusted(packet, header)
        assert (quoted is not None) == is_error(header)
        if quoted is not None:
            assert quoted.source == header.destination
            quoted_echo_identifier(packet, header, quoted)
    if not header.is_fragment:
        if header.protocol == 17:
            assert len(udp_payload(packet, header)) <= header.total_length - header.header_length - 8
        if header.protocol == 6:
            tcp_segment(packet, header)
    answers = [
        echo_reply(packet, header),
        tcp_reset(packet, header),
        unreachable(packet, header, POP[header.version]),
        time_exceeded(packet, header, POP[header.version]),
        too_big(packet, header, POP[header.version], 1280),
    ]
    for answer in answers:
        if answer is not None:
            check_addresses(parse_untrusted(answer))
    if header.version == 4 and not header.dont_fragment:
        for piece in fragment_ipv4(packet[: header.total_length], 68):
            with suppress(BadPacket):  # the first piece may be too small for its upper layer
                parse_untrusted(piece)
    if header.is_fragment:
        table = FragmentTable(4, 10_000)
        if table.admit(packet, header, "in", 0.0).kind is FragmentKind.FIRST:
            table.settle(header, None, "in", 0.0)
        table.expire(1e9)
        assert table.held == 0


def test_the_seeds_themselves():
    for packet in SEEDS:
        examine(bytearray(packet))


def test_every_truncation_and_every_byte_at_its_extremes():
    for packet in SEEDS:
        for at in range(min(len(packet), 90)):
            examine(bytearray(packet[:at]))
            for value in (0, 1, 0xFF, packet[at] ^ 0x80):
                changed = bytearray(packet)
                changed[at] = value
                examine(changed)


@QUICK
@given(mutated())
def test_mutated_packets(packet):
    examine(packet)


@QUICK
@given(st.sampled_from([b"", b"\x45", b"\x4f", b"\x60"]), st.binary(max_size=200))
def test_random_bytes(start, rest):
    examine(bytearray(start + rest))
