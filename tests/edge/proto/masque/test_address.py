"""ADDRESS_ASSIGN and ADDRESS_REQUEST: the rules of RFC 9484 4.7.1 and 4.7.2, and M4."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.masque.address import (
    MAX_ADDRESSES,
    AssignedAddress,
    RequestedAddress,
    RequestIds,
    decode_address_assign,
    decode_address_request,
    encode_address_assign,
    encode_address_request,
    is_prefix,
)
from edge.proto.masque.capsule import BadCapsule, CapsuleParser
from edge.proto.masque.varint import MAX_VARINT, encode_varint

QUICK = settings(max_examples=150, deadline=None, derandomize=True)
DECODERS = pytest.mark.parametrize("decode", [decode_address_assign, decode_address_request])

V4 = bytes([192, 0, 2, 11])
V6 = bytes.fromhex("20010db8000000000000000000000011")
EXAMPLE = bytes.fromhex("01 04 c000020b 20")  # RFC 9484 8.1: request 1, 192.0.2.11/32
EXAMPLE_V6 = bytes.fromhex("4102 06 20010db8000000000000000000000000 20")  # request 258, 2001:db8::/32


def value_of(capsule, kind):
    datagrams, (parsed,) = CapsuleParser().feed(capsule)
    assert not datagrams and parsed.type == kind
    return parsed.value


def test_the_example_of_the_rfc():
    assigned = AssignedAddress((V4, 32), 1)
    assert decode_address_assign(EXAMPLE) == [assigned]
    assert encode_address_assign([assigned]) == b"\x01\x07" + EXAMPLE
    assert not assigned.is_refusal
    asked = RequestedAddress((bytes(4), 32), 1)
    wire = bytes.fromhex("02 07 01 04 00000000 20")
    assert encode_address_request([asked]) == wire
    assert decode_address_request(wire[2:]) == [asked]
    assert asked.is_any


def test_both_versions_in_one_capsule():
    addresses = decode_address_assign(EXAMPLE + EXAMPLE_V6)
    assert addresses == [
        AssignedAddress((V4, 32), 1),
        AssignedAddress((bytes.fromhex("20010db8") + bytes(12), 32), 258),
    ]


def test_what_a_common_client_asks_for():
    """Xray: any address of both versions in one capsule."""
    value = bytes.fromhex("01 04 00000000 20 02 06") + bytes(16) + b"\x80"
    assert decode_address_request(value) == [
        RequestedAddress((bytes(4), 32), 1),
        RequestedAddress((bytes(16), 128), 2),
    ]


def test_no_address_is_a_withdrawal_but_no_request():
    assert decode_address_assign(b"") == []
    assert encode_address_assign([]) == b"\x01\x00"
    with pytest.raises(BadCapsule, match="no address"):
        decode_address_request(b"")
    with pytest.raises(ValueError, match="at least one"):
        encode_address_request([])


@pytest.mark.parametrize(("prefix", "zero"), [((V4, 32), (bytes(4), 32)), ((V6, 128), (bytes(16), 128))])
def test_a_refusal_names_the_request(prefix, zero):
    refusal = AssignedAddress.refusal(RequestedAddress(prefix, 7))
    assert refusal == (zero, 7)
    assert refusal.is_refusal
    assert not AssignedAddress((zero[0], 0), 7).is_refusal


@DECODERS
@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("01 05 c000020b 20", "neither"),
        ("01 00 c000020b 20", "neither"),
        ("01 04 c000020b 21", "too long"),
        ("01 06 20010db8000000000000000000000011 81", "too long"),
        ("01 04 c000020b 18", "host bits"),
        ("01 04 c0000200 16", "host bits"),
        ("01 06 20010db8000000000000000000000011 7f", "host bits"),
        ("01 04 c000020b", "cut short"),
        ("01 04", "cut short"),
        ("01", "cut short"),
        ("41", "cut short"),
        ("01 04 c000020b 20 02", "cut short"),  # bytes behind the last field
        ("01 04 c000020b 20 00000000", "neither"),
    ],
)
def test_malformed(decode, value, why):
    with pytest.raises(BadCapsule, match=why):
        decode(bytes.fromhex(value))


@DECODERS
def test_every_cut_is_noticed(decode):
    for cut in range(1, len(EXAMPLE + EXAMPLE_V6)):
        if cut != len(EXAMPLE):
            with pytest.raises(BadCapsule, match="cut short"):
                decode((EXAMPLE + EXAMPLE_V6)[:cut])


def test_ids_of_requests():
    zero = b"\0" + EXAMPLE[1:]
    assert decode_address_assign(zero * 2) == [AssignedAddress((V4, 32))] * 2
    with pytest.raises(BadCapsule, match="id 0"):
        decode_address_request(zero)
    with pytest.raises(BadCapsule, match="again"):
        decode_address_request(EXAMPLE * 2)
    with pytest.raises(ValueError, match="id of its own"):
        encode_address_request([RequestedAddress((V4, 32), 0)])
    with pytest.raises(ValueError, match="id of its own"):
        encode_address_request([RequestedAddress((V4, 32), 1)] * 2)


def test_ids_are_not_used_again_in_another_capsule():
    ids = RequestIds()
    ids.use([RequestedAddress((V4, 32), 1), RequestedAddress((V6, 128), 2)])
    ids.use([RequestedAddress((V4, 32), 3)])
    with pytest.raises(BadCapsule, match="again"):
        ids.use([RequestedAddress((V4, 32), 4), RequestedAddress((V4, 32), 2)])


def test_requests_without_end():
    ids = RequestIds(limit=10)
    for request_id in range(1, 11):
        ids.use([RequestedAddress((V4, 32), request_id)])
    with pytest.raises(BadCapsule, match="more than 10"):
        ids.use([RequestedAddress((V4, 32), 11)])


@DECODERS
def test_more_addresses_than_we_take(decode):
    value = b"".join(encode_varint(n) + EXAMPLE[1:] for n in range(1, MAX_ADDRESSES + 1))
    assert len(decode(value)) == MAX_ADDRESSES
    with pytest.raises(BadCapsule, match="more than"):
        decode(value + EXAMPLE_V6)
    assert encode_address_assign([AssignedAddress((V4, 32))] * MAX_ADDRESSES)
    with pytest.raises(ValueError, match="more than"):
        encode_address_assign([AssignedAddress((V4, 32))] * (MAX_ADDRESSES + 1))


@pytest.mark.parametrize(
    "prefix", [(V4, 24), (V4, 33), (V4, -1), (V6, 129), (b"", 0), (bytes(5), 8), (V6, 127)]
)
def test_what_is_no_prefix_is_not_sent(prefix):
    assert not is_prefix(prefix)
    with pytest.raises(ValueError, match="no prefix"):
        encode_address_assign([AssignedAddress(prefix)])
    with pytest.raises(ValueError, match="no prefix"):
        encode_address_request([RequestedAddress(prefix, 1)])


@st.composite
def prefixes(draw):
    size = draw(st.sampled_from([4, 16]))
    host_bits = draw(st.integers(0, size * 8))
    address = draw(st.integers(0, 2 ** (size * 8) - 1)) >> host_bits << host_bits
    return address.to_bytes(size), size * 8 - host_bits


@QUICK
@given(st.dictionaries(st.integers(1, MAX_VARINT), prefixes(), min_size=1, max_size=6))
def test_what_is_sent_is_read(entries):
    requests = [RequestedAddress(prefix, request_id) for request_id, prefix in entries.items()]
    assert decode_address_request(value_of(encode_address_request(requests), 2)) == requests
    assigned = [AssignedAddress(*request) for request in requests] + [AssignedAddress((V4, 32))]
    assert decode_address_assign(value_of(encode_address_assign(assigned), 1)) == assigned


@QUICK
@given(st.data())
def test_mutated_values_raise_nothing_else(data):
    value = bytearray(EXAMPLE + EXAMPLE_V6)
    for _ in range(data.draw(st.integers(0, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    del value[data.draw(st.integers(0, len(value))) :]
    for decode in (decode_address_assign, decode_address_request):
        with suppress(BadCapsule):
            assert all(is_prefix(entry.prefix) for entry in decode(bytes(value)))
