"""IPv6 extension headers: the true protocol or a drop (P9, P11, P12, P20)."""

import pytest

from edge.proto.ip import TCP, UDP, build_packet, build_tcp, build_udp, parse_untrusted
from edge.proto.types import BadPacket, DropReason

A, B = bytes.fromhex("fd000000000000000000000000000001"), bytes.fromhex("fd000000000000000000000000000002")
DATAGRAM = bytes(build_udp(A, B, 5060, 5061, b"hello")[40:])
HOP, ROUTING, FRAGMENT, AH, NONE, OPTIONS, MOBILITY, HIP, SHIM6 = 0, 43, 44, 51, 59, 60, 135, 139, 140
PADN = bytes([1, 4, 0, 0, 0, 0])


def extension(following, body=PADN):
    """Any extension header but fragment and authentication."""
    return bytes([following, (len(body) + 2) // 8 - 1]) + body


def fragment(following, offset=0, more=False, ident=7):
    return bytes([following, 0]) + (offset | more).to_bytes(2, "big") + ident.to_bytes(4, "big")


def authentication(following, icv=12):
    return bytes([following, (12 + icv) // 4 - 2]) + bytes(10 + icv)


def reason_of(protocol, payload):
    with pytest.raises(BadPacket) as caught:
        parse_untrusted(build_packet(A, B, protocol, payload))
    return caught.value.reason


@pytest.mark.parametrize(
    ("protocol", "chain"),
    [
        (HOP, extension(UDP)),
        (OPTIONS, extension(UDP)),
        (OPTIONS, extension(UDP, bytes(22))),
        (MOBILITY, extension(UDP)),
        (HIP, extension(UDP)),
        (SHIM6, extension(UDP)),
        (AH, authentication(UDP)),
        (AH, authentication(UDP, icv=16)),
        (HOP, extension(OPTIONS) + extension(AH) + authentication(UDP)),
        (OPTIONS, extension(OPTIONS) * 7 + extension(UDP)),
    ],
)
def test_policy_sees_the_true_protocol_and_ports(protocol, chain):
    header = parse_untrusted(build_packet(A, B, protocol, chain + DATAGRAM))
    assert (header.protocol, header.source_port, header.destination_port) == (UDP, 5060, 5061)
    assert header.header_length == 40 + len(chain)


def test_nine_headers_are_too_many():
    assert reason_of(OPTIONS, extension(OPTIONS) * 8 + extension(UDP) + DATAGRAM) is DropReason.HEADER_CHAIN


@pytest.mark.parametrize("protocol", [50, 99, 253, 254])
def test_an_unknown_next_header_is_a_protocol(protocol):
    header = parse_untrusted(build_packet(A, B, OPTIONS, extension(protocol) + DATAGRAM))
    assert (header.protocol, header.destination_port) == (protocol, 0)


def test_no_next_header_is_a_protocol():
    assert parse_untrusted(build_packet(A, B, NONE, b"")).protocol == NONE
    assert parse_untrusted(build_packet(A, B, OPTIONS, extension(NONE))).protocol == NONE


@pytest.mark.parametrize("protocol", [MOBILITY, HIP, SHIM6])
def test_a_message_carried_in_an_extension_header_is_the_protocol(protocol):
    assert parse_untrusted(build_packet(A, B, protocol, extension(NONE))).protocol == protocol


@pytest.mark.parametrize("kind", [0, 2, 3, 4, 253])
@pytest.mark.parametrize("left", [0, 1])
def test_routing_headers_are_dropped(kind, left):
    """P12: RH0, and segment routing as well."""
    routing = extension(UDP, bytes([kind, left, 0, 0, 0, 0]) + B)
    assert reason_of(ROUTING, routing + DATAGRAM) is DropReason.SOURCE_ROUTE
    assert reason_of(OPTIONS, extension(ROUTING) + routing + DATAGRAM) is DropReason.SOURCE_ROUTE
    assert (
        reason_of(FRAGMENT, fragment(ROUTING, more=True) + routing + DATAGRAM[:8]) is DropReason.SOURCE_ROUTE
    )


def test_an_atomic_fragment_is_a_whole_packet():
    header = parse_untrusted(build_packet(A, B, FRAGMENT, fragment(UDP) + DATAGRAM))
    assert not header.is_fragment
    assert (header.protocol, header.destination_port) == (UDP, 5061)


def test_a_first_fragment_tells_protocol_and_ports():
    payload = fragment(OPTIONS, more=True) + extension(UDP) + DATAGRAM[:8]
    header = parse_untrusted(build_packet(A, B, FRAGMENT, payload))
    assert header.is_fragment
    assert (header.protocol, header.destination_port, header.fragment_id) == (UDP, 5061, 7)
    assert (header.fragment_start, header.header_length) == (48, 56)


def test_a_later_fragment_has_no_ports():
    header = parse_untrusted(build_packet(A, B, FRAGMENT, fragment(UDP, offset=1232) + DATAGRAM))
    assert header.is_fragment
    assert (header.fragment_offset, header.more_fragments) == (1232, False)
    assert (header.source_port, header.destination_port) == (0, 0)


@pytest.mark.parametrize(
    "payload",
    [
        fragment(OPTIONS, more=True) + extension(UDP, bytes(22))[:16],
        fragment(OPTIONS, more=True) + extension(OPTIONS),
        fragment(AH, more=True) + authentication(UDP, icv=20)[:24],
    ],
)
def test_a_chain_that_does_not_end_in_the_first_fragment_is_dropped(payload):
    assert reason_of(FRAGMENT, payload) is DropReason.HEADER_CHAIN


@pytest.mark.parametrize(
    ("protocol", "segment"),
    [(TCP, build_tcp(A, B, 1, 2, sequence=0, flags=2)[40:56]), (58, bytes([128, 0, 0, 0, 0, 0, 0]))],
)
def test_an_upper_layer_header_that_does_not_end_in_the_first_fragment_is_dropped(protocol, segment):
    assert reason_of(FRAGMENT, fragment(protocol, more=True) + segment) is not DropReason.OTHER
    assert reason_of(FRAGMENT, fragment(TCP, more=True) + bytes(16)) is DropReason.FRAGMENT_TINY


def test_two_fragment_headers_are_dropped():
    payload = fragment(FRAGMENT) + fragment(UDP) + DATAGRAM
    assert reason_of(FRAGMENT, payload) is DropReason.HEADER_CHAIN


@pytest.mark.parametrize("cut", range(8))
def test_a_cut_extension_header_is_dropped(cut):
    assert reason_of(OPTIONS, extension(UDP)[:cut]) is DropReason.HEADER_CHAIN


def test_an_extension_header_longer_than_the_packet_is_dropped():
    assert reason_of(OPTIONS, bytes([UDP, 200]) + bytes(30)) is DropReason.HEADER_CHAIN


def test_hop_by_hop_stands_first_or_not_at_all():
    assert reason_of(OPTIONS, extension(HOP) + extension(UDP) + DATAGRAM) is DropReason.HEADER_CHAIN


def test_jumbograms_are_dropped():
    """RFC 2675: with the length field at 0 as it should be, and with both, as it should not."""
    jumbo = extension(UDP, bytes([0xC2, 4, 0, 1, 0, 0]))
    assert reason_of(HOP, jumbo + DATAGRAM) is DropReason.BAD_LENGTH
    packet = build_packet(A, B, HOP, jumbo + DATAGRAM)
    packet[4:6] = b"\0\0"
    with pytest.raises(BadPacket) as caught:
        parse_untrusted(packet)
    assert caught.value.reason is DropReason.BAD_LENGTH


def test_router_alert_is_fine():
    packet = build_packet(A, B, HOP, extension(UDP, bytes([5, 2, 0, 0, 0, 0])) + DATAGRAM)
    assert parse_untrusted(packet).protocol == UDP


@pytest.mark.parametrize("body", [bytes([1, 5, 0, 0, 0, 0]), bytes([0, 0, 0, 0, 0, 5])])
def test_hop_by_hop_options_that_do_not_fit_are_dropped(body):
    assert reason_of(HOP, extension(UDP, body) + DATAGRAM) is DropReason.BAD_HEADER


def test_a_header_full_of_options_is_dropped():
    assert reason_of(HOP, extension(UDP, bytes(22)) + DATAGRAM) is DropReason.HEADER_CHAIN


def test_a_fragment_beyond_the_largest_datagram_is_dropped():
    assert reason_of(FRAGMENT, fragment(UDP, offset=65528) + bytes(8)) is DropReason.BAD_LENGTH


def test_a_middle_fragment_is_a_multiple_of_eight():
    assert reason_of(FRAGMENT, fragment(UDP, offset=8, more=True) + bytes(9)) is DropReason.BAD_LENGTH


def test_an_empty_fragment_is_dropped():
    assert reason_of(FRAGMENT, fragment(UDP, offset=8)) is DropReason.FRAGMENT_TINY
