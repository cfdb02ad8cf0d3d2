"""Errors that we send: their form (P17, P21), and where there must be none (P19)."""

from ipaddress import ip_address

import pytest

from edge.proto.ip import (
    ICMP,
    ICMPV6,
    Unreachable,
    admin_prohibited,
    build_icmp_echo,
    build_packet,
    build_udp,
    checksum,
    echo,
    echo_identifier,
    echo_reply,
    fragment_ipv4,
    may_answer,
    parse_untrusted,
    time_exceeded,
    too_big,
    transport_checksum,
    unreachable,
)


def ip(text):
    return ip_address(text).packed


A = {4: ip("10.0.0.1"), 6: ip("fd00::1")}
B = {4: ip("10.0.0.2"), 6: ip("fd00::2")}
POP = {4: ip("100.96.0.1"), 6: ip("fd00:96::1")}
FAMILIES = pytest.mark.parametrize("version", [4, 6])
MAKERS = pytest.mark.parametrize(
    "make",
    [
        time_exceeded,
        unreachable,
        admin_prohibited,
        lambda packet, header, source: too_big(packet, header, source, 1280),
    ],
    ids=["time_exceeded", "unreachable", "admin_prohibited", "too_big"],
)


def udp(version, payload=b"hello", **more):
    return build_udp(A[version], B[version], 5060, 5061, payload, **more)


def checked(answer):
    """The parsed error and its message, after its checksum was verified."""
    header = parse_untrusted(answer)
    message = bytes(answer[header.header_length : header.total_length])
    if header.version == 4:
        assert checksum(message) == 0
    else:
        assert transport_checksum(header.source, header.destination, ICMPV6, message) == 0
    return header, message


@FAMILIES
@MAKERS
def test_an_error_goes_from_us_to_the_sender_and_quotes_the_packet(version, make):
    packet = udp(version, ttl=1)
    header, message = checked(make(packet, parse_untrusted(packet), POP[version]))
    assert (header.source, header.destination) == (POP[version], A[version])
    assert header.protocol == (ICMP if version == 4 else ICMPV6)
    assert header.ttl > 1
    assert message[8:] == packet


@pytest.mark.parametrize(
    ("version", "make", "kind", "code"),
    [
        (4, time_exceeded, 11, 0),
        (6, time_exceeded, 3, 0),
        (4, unreachable, 3, 0),
        (6, unreachable, 1, 0),
        (4, admin_prohibited, 3, 13),
        (6, admin_prohibited, 1, 1),
        (4, lambda *given: unreachable(*given, Unreachable.PORT), 3, 3),
        (6, lambda *given: unreachable(*given, Unreachable.PORT), 1, 4),
        (4, lambda *given: unreachable(*given, Unreachable.HOST), 3, 1),
        (6, lambda *given: unreachable(*given, Unreachable.HOST), 1, 3),
        (6, lambda *given: unreachable(*given, Unreachable.SOURCE_POLICY), 1, 5),
    ],
)
def test_types_and_codes(version, make, kind, code):
    packet = udp(version)
    header, _ = checked(make(packet, parse_untrusted(packet), POP[version]))
    assert (header.icmp_type, header.icmp_code) == (kind, code)


@FAMILIES
@pytest.mark.parametrize("size", [1500, 9000, 65000])
def test_too_big_reports_the_mtu(version, size):
    packet = udp(version, bytes(size))
    header, message = checked(too_big(packet, parse_untrusted(packet), POP[version], 1420))
    assert (header.icmp_type, header.icmp_code) == ((3, 4) if version == 4 else (2, 0))
    assert int.from_bytes(message[4:8], "big") == 1420


def test_no_too_big_for_a_packet_that_may_be_fragmented():
    packet = udp(4, bytes(1500), dont_fragment=False)
    assert too_big(packet, parse_untrusted(packet), POP[4], 1420) is None


@FAMILIES
@MAKERS
def test_an_error_fits_the_smallest_mtu_and_is_smaller_than_what_caused_it(version, make):
    packet = udp(version, bytes(4000))
    answer = make(packet, parse_untrusted(packet), POP[version])
    assert len(answer) == (576 if version == 4 else 1280)


@FAMILIES
@MAKERS
def test_padding_is_not_quoted(version, make):
    packet = udp(version)
    answer = make(packet + b"secret", parse_untrusted(packet), POP[version])
    assert b"secret" not in answer


@FAMILIES
@MAKERS
def test_no_error_without_an_address_of_ours(version, make):
    packet = udp(version)
    assert make(packet, parse_untrusted(packet), None) is None


@MAKERS
@pytest.mark.parametrize("kind", [3, 4, 5, 11, 12])
def test_no_error_about_an_icmp_error(make, kind):
    packet = build_packet(A[4], B[4], ICMP, bytes([kind]) + bytes(35))
    assert make(packet, parse_untrusted(packet), POP[4]) is None


@MAKERS
@pytest.mark.parametrize("kind", [1, 2, 3, 4, 100, 127, 137])
def test_no_error_about_an_icmpv6_error_or_redirect(make, kind):
    packet = build_packet(A[6], B[6], ICMPV6, bytes([kind]) + bytes(47))
    assert make(packet, parse_untrusted(packet), POP[6]) is None


@FAMILIES
@MAKERS
def test_an_error_about_a_ping_is_fine(version, make):
    packet = build_icmp_echo(A[version], B[version], ident=1, sequence=1, payload=b"x")
    assert make(packet, parse_untrusted(packet), POP[version]) is not None


@FAMILIES
@MAKERS
@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize(
    "address",
    ["0.0.0.0", "127.0.0.1", "224.0.0.5", "255.255.255.255", "240.0.0.1", "::", "::1", "ff02::1", "fe80::1"],
)
def test_no_error_about_a_packet_that_is_not_between_two_hosts(version, make, side, address):
    if ip_address(address).version != version:
        return
    ends = {"source": A[version], "destination": B[version], side: ip(address)}
    packet = build_udp(ends["source"], ends["destination"], 1, 2, b"x")
    assert make(packet, parse_untrusted(packet), POP[version]) is None


@pytest.mark.parametrize("make", [time_exceeded, unreachable, admin_prohibited])
def test_no_error_about_a_later_fragment(make):
    first, later = fragment_ipv4(udp(4, bytes(2000), dont_fragment=False), 1420)
    assert make(first, parse_untrusted(first), POP[4]) is not None
    assert make(later, parse_untrusted(later), POP[4]) is None


@FAMILIES
def test_our_own_errors_are_never_answered(version):
    packet = udp(version)
    answer = time_exceeded(packet, parse_untrusted(packet), POP[version])
    assert not may_answer(parse_untrusted(answer))


@FAMILIES
def test_echo_and_its_reply(version):
    request = build_icmp_echo(A[version], B[version], ident=0xBEEF, sequence=7, payload=b"data")
    header, _ = checked(request)
    ping = echo(request, header)
    assert (ping.is_request, ping.ident, ping.sequence, ping.payload) == (True, 0xBEEF, 7, b"data")
    reply = echo_reply(request, header)
    back, _ = checked(reply)
    assert (back.source, back.destination) == (B[version], A[version])
    answer = echo(reply, back)
    assert (answer.is_request, answer.ident, answer.sequence, answer.payload) == (False, 0xBEEF, 7, b"data")
    assert echo_identifier(request, header) == echo_identifier(reply, back) == 0xBEEF
    assert echo_reply(reply, back) is None


@FAMILIES
def test_what_is_no_echo_has_no_reply(version):
    packet = udp(version)
    header = parse_untrusted(packet)
    assert echo(packet, header) is echo_reply(packet, header) is echo_identifier(packet, header) is None


def test_a_ping_of_a_group_or_from_nowhere_has_no_reply():
    for source, destination in (("10.0.0.1", "224.0.0.1"), ("0.0.0.0", "10.0.0.1"), ("::", "fd00::1")):
        packet = build_icmp_echo(ip(source), ip(destination), ident=1, sequence=1, payload=b"")
        assert echo_reply(packet, parse_untrusted(packet)) is None


def test_a_fragmented_ping_has_no_reply():
    packet = build_icmp_echo(A[4], B[4], ident=1, sequence=1, payload=bytes(1000))
    packet[6:8] = b"\0\0"
    packet[10:12] = b"\0\0"
    packet[10:12] = checksum(packet[:20]).to_bytes(2, "big")
    for piece in fragment_ipv4(packet, 576):
        assert echo_reply(piece, parse_untrusted(piece)) is None
