"""ICMP from others: link traffic (P16) and forged errors (P15)."""

from ipaddress import ip_address

import pytest

from edge.proto.ip import (
    ICMP,
    ICMPV6,
    MINIMUM_MTU,
    UDP,
    build_icmp_echo,
    build_packet,
    build_tcp,
    build_udp,
    fragment_ipv4,
    is_error,
    is_forbidden,
    parse_untrusted,
    quoted_echo_identifier,
    quoted_untrusted,
    reported_mtu,
    time_exceeded,
    too_big,
    unreachable,
)
from edge.proto.types import BadPacket, DropReason


def ip(text):
    return ip_address(text).packed


A = {4: ip("10.0.0.1"), 6: ip("fd00::1")}
B = {4: ip("10.0.0.2"), 6: ip("fd00::2")}
ROUTER = {4: ip("10.0.0.254"), 6: ip("fd00::ff")}
FAMILIES = pytest.mark.parametrize("version", [4, 6])


def error(version, quote, kind=None, code=0, rest=0, to=None):
    """An ICMP error to A that says what the test wants; its checksum is nobody's business here."""
    kind = kind if kind is not None else {4: 11, 6: 3}[version]
    message = bytes([kind, code, 0, 0]) + rest.to_bytes(4, "big") + bytes(quote)
    return build_packet(ROUTER[version], to or A[version], ICMP if version == 4 else ICMPV6, message)


def quoted(packet):
    return quoted_untrusted(packet, parse_untrusted(packet))


def reason_of(packet):
    with pytest.raises(BadPacket) as caught:
        quoted(packet)
    return caught.value.reason


def udp(version, payload=b"hello"):
    return build_udp(A[version], B[version], 5060, 5061, payload)


@FAMILIES
@pytest.mark.parametrize("make", [time_exceeded, unreachable, lambda *given: too_big(*given, 1280)])
def test_the_flow_of_a_quoted_datagram(version, make):
    packet = udp(version, bytes(3000))
    inner = quoted(make(packet, parse_untrusted(packet), ROUTER[version]))
    assert (inner.protocol, inner.source, inner.destination) == (UDP, A[version], B[version])
    assert (inner.source_port, inner.destination_port) == (5060, 5061)


@FAMILIES
def test_eight_bytes_behind_the_quoted_header_are_enough(version):
    segment = build_tcp(A[version], B[version], 40000, 443, sequence=1, flags=2)
    size = 20 if version == 4 else 40
    inner = quoted(error(version, segment[: size + 8]))
    assert (inner.source_port, inner.destination_port) == (40000, 443)
    for cut in range(size + 8):
        assert reason_of(error(version, segment[:cut])) is DropReason.BAD_LENGTH


def test_quoted_options_are_skipped():
    packet = build_packet(A[4], B[4], UDP, b"\1\1\1\1" + udp(4)[20:])
    packet[0] = 0x46
    assert quoted(error(4, packet)).destination_port == 5061


def test_quoted_extension_headers_are_skipped():
    packet = build_packet(A[6], B[6], 60, bytes([UDP, 0, 1, 4, 0, 0, 0, 0]) + udp(6)[40:])
    assert quoted(error(6, packet)).destination_port == 5061


@FAMILIES
def test_a_quoted_ping(version):
    ping = build_icmp_echo(A[version], B[version], ident=77, sequence=1, payload=b"")
    packet = error(version, ping)
    header = parse_untrusted(packet)
    inner = quoted_untrusted(packet, header)
    assert inner.icmp_type == (8 if version == 4 else 128)
    assert quoted_echo_identifier(packet, header, inner) == 77


@FAMILIES
def test_a_datagram_has_no_echo_identifier(version):
    packet = error(version, udp(version))
    header = parse_untrusted(packet)
    assert quoted_echo_identifier(packet, header, quoted_untrusted(packet, header)) is None


@FAMILIES
def test_what_is_no_error_quotes_nothing(version):
    ping = build_icmp_echo(A[version], B[version], ident=1, sequence=1, payload=bytes(udp(version)))
    for packet in (ping, udp(version)):
        assert not is_error(parse_untrusted(packet))
        assert quoted(packet) is None


@FAMILIES
def test_an_error_to_somebody_who_did_not_send_the_quoted_packet(version):
    assert reason_of(error(version, udp(version), to=B[version])) is DropReason.ICMP_UNSOLICITED


@FAMILIES
def test_a_quote_of_the_other_family(version):
    assert reason_of(error(version, udp(10 - version, bytes(40)))) is DropReason.BAD_VERSION


def test_a_quote_with_an_impossible_header_length():
    packet = udp(4)
    packet[0] = 0x44
    assert reason_of(error(4, packet)) is DropReason.BAD_HEADER


@FAMILIES
def test_an_error_about_an_error(version):
    assert reason_of(error(version, error(version, udp(version)))) is DropReason.ICMP_UNSOLICITED
    about_ours = build_packet(
        A[version], B[version], ICMP if version == 4 else ICMPV6, bytes([1 if version == 6 else 3]) + bytes(7)
    )
    assert reason_of(error(version, about_ours)) is DropReason.ICMP_UNSOLICITED


def test_an_error_about_a_redirect():
    redirect = build_packet(A[6], B[6], ICMPV6, bytes([137]) + bytes(39))
    assert reason_of(error(6, redirect)) is DropReason.ICMP_UNSOLICITED


def test_an_error_about_a_later_fragment():
    packet = build_udp(A[4], B[4], 1, 2, bytes(2000), dont_fragment=False)
    first, later = fragment_ipv4(packet, 1420)
    assert quoted(error(4, first)).destination_port == 2
    assert reason_of(error(4, later)) is DropReason.ICMP_UNSOLICITED


def test_a_quoted_routing_header():
    packet = build_packet(A[6], B[6], 43, bytes([UDP, 0]) + bytes(6) + udp(6)[40:])
    assert reason_of(error(6, packet)) is DropReason.SOURCE_ROUTE


@pytest.mark.parametrize("mtu", [0, 68, 575, 576, 1280, 65535])
def test_the_mtu_reported_by_icmp(mtu):
    packet = error(4, udp(4), kind=3, code=4, rest=mtu)
    assert reported_mtu(packet, parse_untrusted(packet)) == mtu


@pytest.mark.parametrize("mtu", [0, 1279, 1280, 9000, 0xFFFFFFFF])
def test_the_mtu_reported_by_icmpv6(mtu):
    packet = error(6, udp(6), kind=2, rest=mtu)
    assert reported_mtu(packet, parse_untrusted(packet)) == mtu


@pytest.mark.parametrize(
    ("version", "kind", "code"), [(4, 3, 1), (4, 11, 0), (4, 5, 4), (6, 1, 0), (6, 3, 0)]
)
def test_other_errors_report_no_mtu(version, kind, code):
    packet = error(version, udp(version), kind=kind, code=code, rest=1400)
    assert reported_mtu(packet, parse_untrusted(packet)) is None


def test_the_floors_of_path_mtu():
    assert MINIMUM_MTU == {4: 576, 6: 1280}


@pytest.mark.parametrize("kind", [4, 5, 9, 10])
def test_icmp_of_a_link_is_forbidden(kind):
    assert is_forbidden(parse_untrusted(error(4, udp(4), kind=kind)))


@pytest.mark.parametrize("kind", [130, 131, 132, 133, 134, 135, 136, 137, 138, 141, 142, 143, 148, 149, 151])
def test_icmpv6_of_a_link_is_forbidden(kind):
    assert is_forbidden(parse_untrusted(error(6, udp(6), kind=kind)))


@pytest.mark.parametrize(
    ("version", "kind"),
    [(4, 0), (4, 3), (4, 8), (4, 11), (4, 12), (6, 1), (6, 2), (6, 3), (6, 4), (6, 128), (6, 129)],
)
def test_icmp_between_hosts_is_not_forbidden(version, kind):
    assert not is_forbidden(parse_untrusted(error(version, udp(version), kind=kind)))


@FAMILIES
def test_a_datagram_is_never_forbidden_icmp(version):
    assert not is_forbidden(parse_untrusted(udp(version)))
