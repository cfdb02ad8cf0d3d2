"""Integers of 62 bits: the examples of RFC 9000 A.1, the bounds of each size, every cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.masque.varint import MAX_VARINT, decode_varint, encode_varint

QUICK = settings(max_examples=100, deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("wire", "value"),
    [
        ("c2197c5eff14e88c", 151288809941952652),
        ("9d7f3e7d", 494878333),
        ("7bbd", 15293),
        ("25", 37),
        ("4025", 37),  # longer than needed
    ],
)
def test_the_examples_of_rfc_9000(wire, value):
    data = bytes.fromhex(wire)
    assert decode_varint(data) == (value, len(data))
    if value != 37:
        assert encode_varint(value) == data


@pytest.mark.parametrize(
    ("value", "size"),
    [(0, 1), (63, 1), (64, 2), (16383, 2), (16384, 4), (2**30 - 1, 4), (2**30, 8), (MAX_VARINT, 8)],
)
def test_the_shortest_encoding_is_taken(value, size):
    encoded = encode_varint(value)
    assert len(encoded) == size
    assert decode_varint(encoded) == (value, size)


@pytest.mark.parametrize("value", [-1, 2**62])
def test_what_does_not_fit_is_a_mistake_of_ours(value):
    with pytest.raises(ValueError, match="does not fit"):
        encode_varint(value)


@QUICK
@given(st.integers(0, MAX_VARINT), st.binary(max_size=9), st.binary(max_size=3))
def test_it_is_found_anywhere_and_not_before_its_last_byte(value, before, behind):
    encoded = encode_varint(value)
    assert decode_varint(before + encoded + behind, len(before)) == (value, len(before) + len(encoded))
    for cut in range(len(encoded)):
        assert decode_varint(before + encoded[:cut], len(before)) is None
