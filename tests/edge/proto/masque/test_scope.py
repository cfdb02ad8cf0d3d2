"""Scopes: the grammar of RFC 9484 4.6, and which packets they let pass (4.8, M2)."""

import ipaddress
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.ip import (
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    build_icmp_echo,
    build_packet,
    build_tcp,
    build_udp,
    fragment_ipv4,
    parse_untrusted,
    time_exceeded,
    unreachable,
)
from edge.proto.masque.refusal import BadRequest
from edge.proto.masque.scope import Scope
from edge.proto.masque.template import Variables

QUICK = settings(max_examples=150, deadline=None, derandomize=True)


def ip(text):
    return ipaddress.ip_address(text).packed


CLIENT, HOST, OTHER, ROUTER = ip("100.96.0.2"), ip("10.1.2.3"), ip("10.2.0.1"), ip("192.0.2.1")
CLIENT6, HOST6, OTHER6, ROUTER6 = ip("fd96::2"), ip("2001:db8::1"), ip("2001:db9::1"), ip("fd00::1")
HOSTS = {"pbx.example": [HOST, HOST6], "empty.example": []}


def scope(target="*", ipproto="*"):
    return Scope.parse(Variables(target, ipproto), HOSTS)


@pytest.mark.parametrize(
    ("target", "prefixes"),
    [
        ("*", None),
        ("10.1.2.3", ((HOST, 32),)),
        ("10.1.2.3/32", ((HOST, 32),)),
        ("10.1.0.0/16", ((ip("10.1.0.0"), 16),)),
        ("0.0.0.0/0", ((bytes(4), 0),)),
        ("2001:db8::1", ((HOST6, 128),)),
        ("2001:DB8::/32", ((ip("2001:db8::"), 32),)),
        ("::/0", ((bytes(16), 0),)),
        ("::ffff:10.1.2.3/128", ((ip("::ffff:10.1.2.3"), 128),)),
        ("pbx.example", ((HOST, 32), (HOST6, 128))),
        ("PBX.Example.", ((HOST, 32), (HOST6, 128))),
    ],
)
def test_targets(target, prefixes):
    assert scope(target) == Scope(prefixes)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "**",
        "10.1.2.3/",
        "10.1.2.3/33",
        "10.1.2.3/-1",
        "10.1.2.3/+8",
        "10.1.2.3/032",
        "10.0.0.0/8/8",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/８",
        "10.1.2.3/16",  # host bits
        "2001:db8::1/64",
        "2001:db8::/129",
        "10.0.0.300",  # no host name either: those end in letters
        "10.0.0",
        "010.0.0.1",
        "0x0a.0.0.1",
        "2001:db8::g",
        "[::1]",
        "fe80::1%eth0",
        "fe80::1%25eth0",
        "%2F",
        "..",
        "a..b",
        "-a.example",
        "a-.example",
        "a b",
        "a\n",
        "pbx.example\n",
        "pbx.example/32",
        "*.example",
        "a" * 64,
        "a." * 125 + "abcd",  # 254
        "bücher.example",
        "user@pbx.example",
        "pbx.example:443",
    ],
)
def test_what_is_no_target(target):
    with pytest.raises(BadRequest) as caught:
        scope(target)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "target", ["unknown.example", "empty.example", "localhost", "a_b.example", "a." * 125 + "abc"]
)
def test_a_name_that_is_not_known(target):
    with pytest.raises(BadRequest) as caught:
        scope(target)
    assert caught.value.status == 502
    assert (b"proxy-status", b"poplab; error=dns_error") in caught.value.refusal.headers
    with pytest.raises(BadRequest):
        Scope.parse(Variables("pbx.example", "*"))


def test_protocols():
    assert scope(ipproto="*").protocol is None
    walked_over = {0, 43, 44, 60}
    for number in set(range(256)) - walked_over:
        assert scope(ipproto=str(number)) == Scope(None, number)
    for number in walked_over:
        with pytest.raises(BadRequest, match="extension header"):
            scope(ipproto=str(number))


@pytest.mark.parametrize(
    "ipproto",
    ["", "256", "999", "1000", "-1", "+6", "06", "006", "6.0", "0x6", "six", " 6", "6\n", "６", "**", "6,17"],
)
def test_what_is_no_protocol(ipproto):
    with pytest.raises(BadRequest) as caught:
        scope(ipproto=ipproto)
    assert caught.value.status == 400


def both_ways(limits, far, client, build):
    """Whether the packet that `build` makes passes: to the far end, and from there."""
    out = limits.allows(parse_untrusted(build(client, far)), to_client=False)
    back = limits.allows(parse_untrusted(build(far, client)), to_client=True)
    return out, back


def udp(source, destination):
    return build_udp(source, destination, 1000, 2000, b"hello")


def tcp(source, destination):
    return build_tcp(source, destination, 1000, 2000, sequence=1, flags=2)


def ping(source, destination):
    return build_icmp_echo(source, destination, ident=1, sequence=1, payload=b"")


YES, NO = (True, True), (False, False)


@pytest.mark.parametrize(
    ("target", "ipproto", "far", "build", "expected"),
    [
        ("*", "*", "10.1.2.3", udp, YES),
        ("*", "*", "2001:db8::1", tcp, YES),
        ("10.1.0.0/16", "*", "10.1.2.3", udp, YES),
        ("10.1.0.0/16", "*", "10.2.0.1", udp, NO),
        ("10.1.2.3", "*", "10.1.2.3", udp, YES),
        ("10.1.2.2", "*", "10.1.2.3", udp, NO),
        ("10.1.2.3", "*", "2001:db8::1", udp, NO),  # one version only
        ("0.0.0.0/0", "*", "2001:db8::1", udp, NO),
        ("::/0", "*", "10.1.2.3", udp, NO),
        ("2001:db8::/32", "*", "2001:db8::1", udp, YES),
        ("2001:db8::/32", "*", "2001:db9::1", udp, NO),
        ("pbx.example", "*", "10.1.2.3", udp, YES),
        ("pbx.example", "*", "2001:db8::1", udp, YES),
        ("pbx.example", "*", "10.2.0.1", udp, NO),
        ("*", "17", "10.1.2.3", udp, YES),
        ("*", "17", "2001:db8::1", udp, YES),
        ("*", "17", "10.1.2.3", tcp, NO),
        ("*", "6", "2001:db8::1", udp, NO),
        ("10.1.0.0/16", "6", "10.2.0.1", tcp, NO),
        ("*", "17", "10.1.2.3", ping, YES),  # ICMP has the right protocol, always
        ("*", "17", "2001:db8::1", ping, YES),
        ("10.1.0.0/16", "17", "10.2.0.1", ping, NO),  # not the right address
        ("2001:db8::/32", "17", "2001:db9::1", ping, NO),
        ("*", "1", "2001:db8::1", ping, YES),
        ("*", "58", "10.1.2.3", ping, YES),
    ],
)
def test_packets(target, ipproto, far, build, expected):
    client = CLIENT if "." in far else CLIENT6
    assert both_ways(scope(target, ipproto), ip(far), client, build) == expected


def test_everything():
    assert scope().everything
    assert not scope(ipproto="17").everything
    assert not scope("0.0.0.0/0").everything


def test_icmp_of_the_other_version_is_no_icmp():
    def icmp_in_ipv6(source, destination):
        return build_packet(source, destination, ICMP, bytes(8))

    def icmpv6_in_ipv4(source, destination):
        return build_packet(source, destination, ICMPV6, bytes(8))

    assert both_ways(scope(ipproto="17"), HOST6, CLIENT6, icmp_in_ipv6) == NO
    assert both_ways(scope(ipproto="17"), HOST, CLIENT, icmpv6_in_ipv4) == NO


@pytest.mark.parametrize(
    ("target", "client", "far", "router"),
    [("10.1.2.3", CLIENT, HOST, ROUTER), ("2001:db8::1", CLIENT6, HOST6, ROUTER6)],
    ids=["v4", "v6"],
)
def test_errors_come_from_routers_on_the_way(target, client, far, router):
    """RFC 9484 section 9; only errors, only to the client, only of the same version."""
    sent = build_udp(client, far, 1, 2, b"hello")
    error = parse_untrusted(time_exceeded(sent, parse_untrusted(sent), router))
    assert scope(target, "17").allows(error, to_client=True)
    assert not scope(target, "17").allows(error, to_client=False)
    other_version = "2001:db8::1" if len(client) == 4 else "10.1.2.3"
    assert not scope(other_version, "17").allows(error, to_client=True)
    assert not scope(target).allows(parse_untrusted(ping(router, client)), to_client=True)
    received = build_udp(far, client, 1, 2, b"hello")
    answer = parse_untrusted(unreachable(received, parse_untrusted(received), client))
    assert scope(target).allows(answer, to_client=False)


def test_the_protocol_is_behind_all_extension_headers():
    """RFC 9484 4.8: hop-by-hop and destination options, then UDP."""
    datagram = bytes(build_udp(CLIENT6, HOST6, 1, 2, b"hello"))[40:]
    padding = bytes([1, 4, 0, 0, 0, 0])
    packet = build_packet(CLIENT6, HOST6, 0, bytes([60, 0]) + padding + bytes([17, 0]) + padding + datagram)
    header = parse_untrusted(packet)
    assert scope(ipproto="17").allows(header, to_client=False)
    assert not scope(ipproto="6").allows(header, to_client=False)


def test_a_message_in_an_extension_header_is_a_protocol():
    """Mobility (RFC 6275), with nothing behind."""
    header = parse_untrusted(build_packet(CLIENT6, HOST6, 135, bytes([59, 0, 0, 0, 0, 0, 0, 0])))
    assert scope(ipproto="135").allows(header, to_client=False)
    assert not scope(ipproto="17").allows(header, to_client=False)


def test_later_fragments():
    whole = build_udp(CLIENT, HOST, 1, 2, bytes(2000), dont_fragment=False)
    for piece in fragment_ipv4(whole, 1000):
        header = parse_untrusted(piece)
        assert scope("10.1.2.3", "17").allows(header, to_client=False)
        assert not scope("10.1.2.3", "6").allows(header, to_client=False)
        assert not scope("10.1.2.4", "17").allows(header, to_client=False)

    def fragment(claim, offset):
        return parse_untrusted(
            build_packet(
                CLIENT6, HOST6, 44, bytes([claim, 0, offset >> 8, offset & 0xFF, 0, 0, 0, 9]) + bytes(16)
            )
        )

    assert scope(ipproto="17").allows(fragment(UDP, 1280), to_client=False)
    assert not scope(ipproto="17").allows(fragment(TCP, 1280), to_client=False)
    # Destination options come first in that datagram: what is behind them only its first fragment tells.
    assert scope(ipproto="17").allows(fragment(60, 1280), to_client=False)
    assert not scope("2001:db8::2", "17").allows(fragment(60, 1280), to_client=False)


def prefixes(*texts):
    networks = [ipaddress.ip_network(text) for text in texts]
    return [(network.network_address.packed, network.prefixlen) for network in networks]


@pytest.mark.parametrize(
    ("target", "routes", "inside"),
    [
        ("*", ["10.0.0.0/8", "fd00::/8"], ["10.0.0.0/8", "fd00::/8"]),
        ("10.1.0.0/16", ["10.0.0.0/8", "fd00::/8", "11.0.0.0/8"], ["10.1.0.0/16"]),
        ("10.0.0.0/8", ["10.1.0.0/16", "10.2.0.0/16"], ["10.1.0.0/16", "10.2.0.0/16"]),
        ("10.0.0.0/8", ["10.0.0.0/8"], ["10.0.0.0/8"]),
        ("10.0.0.0/16", ["10.0.0.0/8"], ["10.0.0.0/16"]),
        ("10.1.2.3", ["0.0.0.0/0", "::/0"], ["10.1.2.3/32"]),
        ("pbx.example", ["::/0", "10.1.2.3/32"], ["2001:db8::1/128", "10.1.2.3/32"]),
        ("12.0.0.0/8", ["10.0.0.0/8"], []),
    ],
)
def test_routes_inside_a_scope(target, routes, inside):
    assert scope(target).narrow(prefixes(*routes)) == prefixes(*inside)


def test_the_protocol_of_routes():
    assert scope().route_protocol == 0
    assert scope(ipproto="6").route_protocol == 6


@QUICK
@given(st.text(max_size=30), st.text(max_size=5))
def test_random_values_raise_nothing_else(target, ipproto):
    for values in (Variables(target, "*"), Variables("*", ipproto)):
        with suppress(BadRequest):
            Scope.parse(values, HOSTS)


@QUICK
@given(st.ip_addresses(), st.integers(0, 128), st.ip_addresses())
def test_prefixes_hold_what_they_hold(address, length, other):
    network = ipaddress.ip_network((address, min(length, address.max_prefixlen)), strict=False)
    limits = scope(str(network))
    client = CLIENT if other.version == 4 else CLIENT6
    for far in (other, network[0], network[-1]):
        if far.version == other.version:
            header = parse_untrusted(udp(client, far.packed))
            assert limits.allows(header, to_client=False) == (far in network)
