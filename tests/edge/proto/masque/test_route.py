"""ROUTE_ADVERTISEMENT: the rules of RFC 9484 4.7.3, and ranges as prefixes."""

import ipaddress
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.masque.address import is_prefix
from edge.proto.masque.capsule import MAX_CONFIGURATION, BadCapsule, CapsuleParser, encode_varint
from edge.proto.masque.route import (
    MAX_PREFIXES,
    AddressRange,
    decode_route_advertisement,
    encode_route_advertisement,
    prefixes_of,
    ranges_of,
)

QUICK = settings(max_examples=150, deadline=None, derandomize=True)


def ip(text):
    return ipaddress.ip_address(text).packed


def span(start, end, protocol=0):
    return AddressRange(ip(start), ip(end), protocol)


def prefix(text):
    network = ipaddress.ip_network(text)
    return network.network_address.packed, network.prefixlen


def wire(*ranges):
    """The value of a capsule, right or wrong."""
    return b"".join(
        bytes([4 if len(start) == 4 else 6]) + start + end + bytes([protocol])
        for start, end, protocol in ranges
    )


def test_the_example_of_the_rfc():
    """RFC 9484 8.1: all of IPv4 and all protocols."""
    everything = span("0.0.0.0", "255.255.255.255")
    value = bytes.fromhex("04 00000000 ffffffff 00")
    assert decode_route_advertisement(value) == [everything]
    assert encode_route_advertisement([everything]) == b"\x03\x0a" + value
    assert prefixes_of([everything]) == [prefix("0.0.0.0/0")]
    assert ranges_of([prefix("0.0.0.0/0")]) == [everything]


def test_no_route_is_a_withdrawal():
    assert decode_route_advertisement(b"") == []
    assert encode_route_advertisement([]) == b"\x03\x00"


@pytest.mark.parametrize(
    "ranges",
    [
        [span("10.0.0.1", "10.0.0.1"), span("10.0.0.2", "10.0.0.9")],  # they may touch
        [span("10.0.0.9", "10.0.0.9", 6), span("10.0.0.1", "10.0.0.9", 17)],
        [span("10.0.0.9", "10.0.0.9", 255), span("::", "ffff::")],
        [
            span("10.0.0.0", "10.0.0.9"),
            span("10.0.0.10", "10.0.0.10", 6),
            span("9.0.0.0", "9.255.255.255", 17),
        ],
    ],
)
def test_right_orders(ranges):
    assert decode_route_advertisement(wire(*ranges)) == ranges
    _, (capsule,) = CapsuleParser().feed(encode_route_advertisement(ranges))
    assert capsule == (3, wire(*ranges))


@pytest.mark.parametrize(
    ("ranges", "why"),
    [
        ([span("10.0.0.2", "10.0.0.1")], "before it starts"),
        ([span("::2", "::1")], "before it starts"),
        ([span("::", "::1"), span("10.0.0.1", "10.0.0.1")], "order of version"),
        (
            [span("10.0.0.1", "10.0.0.1", 17), span("10.0.0.2", "10.0.0.2", 6)],
            "order of version and protocol",
        ),
        ([span("10.0.0.2", "10.0.0.2"), span("10.0.0.1", "10.0.0.1")], "not in order"),
        ([span("10.0.0.0", "10.0.0.9"), span("10.0.0.9", "10.0.0.10")], "overlap"),
        ([span("::", "::9", 6), span("::9", "::a", 6)], "overlap"),
        ([span("10.0.0.1", "10.0.0.1")] * 2, "overlap"),
        ([span("10.0.0.0", "10.0.0.9"), span("10.0.0.9", "10.0.1.0", 6)], "one for all"),
        ([span("10.0.0.5", "10.0.0.9"), span("10.0.0.0", "10.0.0.5", 6)], "one for all"),
        ([span("10.0.0.5", "10.0.0.9"), span("10.0.0.0", "10.0.0.255", 6)], "one for all"),
        ([span("::", "::f"), span("::5", "::5", 17)], "one for all"),
        (
            [span("10.0.0.1", "10.0.0.1"), span("10.0.0.5", "10.0.0.5"), span("10.0.0.5", "10.0.0.5", 6)],
            "one for all",
        ),
    ],
)
def test_wrong_orders(ranges, why):
    with pytest.raises(BadCapsule, match=why):
        decode_route_advertisement(wire(*ranges))
    with pytest.raises(ValueError, match=why):
        encode_route_advertisement(ranges)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("05 00000000 ffffffff 00", "neither"),
        ("00", "neither"),
        ("04 00000000 ffffffff 00 00", "neither"),  # bytes behind the last field
        ("04 00000000 ffffffff 00 04", "cut short"),
        ("06 00000000 ffffffff 00", "cut short"),
    ],
)
def test_malformed(value, why):
    with pytest.raises(BadCapsule, match=why):
        decode_route_advertisement(bytes.fromhex(value))


def test_every_cut_is_noticed():
    value = wire(span("10.0.0.0", "10.0.0.9"), span("::", "::9"))
    for cut in range(1, len(value)):
        if cut != 10:
            with pytest.raises(BadCapsule, match="cut short"):
                decode_route_advertisement(value[:cut])


@pytest.mark.parametrize(
    "odd", [AddressRange(b"", b""), AddressRange(bytes(4), bytes(16)), AddressRange(bytes(5), bytes(5))]
)
def test_what_is_no_range_is_not_sent(odd):
    with pytest.raises(ValueError, match="no range"):
        encode_route_advertisement([odd])


def single_addresses(count):
    return [AddressRange(n.to_bytes(4), n.to_bytes(4), 0) for n in range(0, 2 * count, 2)]


def parse_length(capsule):
    _, (parsed,) = CapsuleParser().feed(capsule)
    return len(parsed.value)


def test_a_million_routes_are_refused_by_their_length():
    with pytest.raises(BadCapsule, match="limit"):
        CapsuleParser().feed(b"\x03" + encode_varint(10 * 10**6) + wire(*single_addresses(5)))
    fit = MAX_CONFIGURATION // 10
    assert len(decode_route_advertisement(wire(*single_addresses(fit)))) == fit
    filled = single_addresses(fit - 13) + [
        AddressRange(bytes(15) + bytes([n]), bytes(15) + bytes([n])) for n in range(4)
    ]
    assert parse_length(encode_route_advertisement(filled)) == MAX_CONFIGURATION
    with pytest.raises(ValueError, match="do not fit"):
        encode_route_advertisement(single_addresses(fit + 1))


@pytest.mark.parametrize(
    ("start", "end", "prefixes"),
    [
        ("10.0.0.0", "10.0.0.255", ["10.0.0.0/24"]),
        ("10.0.0.1", "10.0.0.1", ["10.0.0.1/32"]),
        ("10.0.0.1", "10.0.0.6", ["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]),
        ("255.255.255.254", "255.255.255.255", ["255.255.255.254/31"]),
        ("0.0.0.0", "128.0.0.0", ["0.0.0.0/1", "128.0.0.0/32"]),
        ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ["::/0"]),
        ("2001:db8::", "2001:db8::2", ["2001:db8::/127", "2001:db8::2/128"]),
    ],
)
def test_a_range_is_one_or_several_prefixes(start, end, prefixes):
    assert prefixes_of([span(start, end)]) == [prefix(each) for each in prefixes]
    assert ranges_of([prefix(each) for each in prefixes]) == [span(start, end)]


def test_ranges_that_come_to_more_prefixes_than_we_take():
    worst = span("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe")
    assert len(prefixes_of([worst])) == 254
    assert len(prefixes_of([worst] * 16)) == 16 * 254 <= MAX_PREFIXES
    with pytest.raises(BadCapsule, match="more than"):
        prefixes_of([worst] * 17)
    assert len(prefixes_of([worst], 254)) == 254
    with pytest.raises(BadCapsule, match="more than 253"):
        prefixes_of([worst], 253)


def test_prefixes_that_overlap_or_touch_are_one_range():
    texts = ["fd00::/8", "10.1.0.0/16", "10.0.0.0/8", "11.0.0.0/9", "10.0.0.0/8", "11.128.0.1/32"]
    assert ranges_of([prefix(text) for text in texts], 6) == [
        span("10.0.0.0", "11.127.255.255", 6),
        span("11.128.0.1", "11.128.0.1", 6),
        span("fd00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 6),
    ]


def test_host_bits_are_not_ignored():
    with pytest.raises(ValueError, match="no prefix"):
        ranges_of([(ip("10.0.0.1"), 24)])


@st.composite
def some_prefixes(draw):
    """Of few different bits, so that they meet."""
    size = draw(st.sampled_from([4, 16]))
    host_bits = draw(st.integers(0, 6))
    return (draw(st.integers(0, 127)) >> host_bits << host_bits).to_bytes(size), size * 8 - host_bits


@QUICK
@given(st.lists(some_prefixes(), max_size=8), st.integers(0, 255))
def test_prefixes_survive_the_way(prefixes, protocol):
    ranges = ranges_of(prefixes, protocol)
    _, (capsule,) = CapsuleParser().feed(encode_route_advertisement(ranges))
    assert decode_route_advertisement(capsule.value) == ranges
    back = prefixes_of(ranges)
    assert covered(back) == covered(prefixes)
    assert len(back) == len(set(back)) and all(is_prefix(each) for each in back)
    collapsed = [ipaddress.ip_network(each) for each in set(prefixes)]
    for version in (4, 6):
        expected = ipaddress.collapse_addresses(each for each in collapsed if each.version == version)
        of_version = [each for each in back if len(each[0]) == (4 if version == 4 else 16)]
        assert of_version == [(each.network_address.packed, each.prefixlen) for each in expected]


def covered(prefixes):
    return {
        (len(address), int.from_bytes(address) + n)
        for address, length in prefixes
        for n in range(1 << (len(address) * 8 - length))
    }


@QUICK
@given(st.data())
def test_mutated_values_raise_nothing_else(data):
    value = bytearray(wire(span("10.0.0.0", "10.0.0.9"), span("10.0.0.0", "11.0.0.9", 6), span("::", "::9")))
    for _ in range(data.draw(st.integers(0, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    del value[data.draw(st.integers(0, len(value))) :]
    with suppress(BadCapsule):
        ranges = decode_route_advertisement(bytes(value))
        assert wire(*ranges) == value
        prefixes_of(ranges)
