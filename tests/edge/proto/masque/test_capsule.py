"""Capsules at any boundary: RFC 9297 section 3, M3 and M4. The one exception is BadCapsule."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.masque.capsule import (
    LIMITS,
    MAX_CONFIGURATION,
    MAX_DATAGRAM,
    BadCapsule,
    Capsule,
    CapsuleParser,
    CapsuleType,
    encode_capsule,
    encode_datagrams,
)
from edge.proto.masque.varint import MAX_VARINT, encode_varint

QUICK = settings(max_examples=150, deadline=None, derandomize=True)

DNS_ASSIGN, PREF64 = 0x1ACE79EC, 0x274C0FBC  # of a draft
RESERVED = [
    0x29 * n + 0x17 for n in (0, 1, 7, 10**9)
]  # RFC 9297 5.4: to be ignored, so that all ignore what they do not know


def parse(*chunks, parser=None):
    """Datagrams and other capsules of the whole stream, which ends behind a capsule."""
    parser = parser or CapsuleParser()
    datagrams, others = [], []
    for chunk in chunks:
        result = parser.feed(chunk)
        datagrams += result.datagrams
        others += result.others
    parser.finish()
    return datagrams, others


def one_by_one(data):
    return [data[at : at + 1] for at in range(len(data))]


def test_a_capsule_by_hand():
    value = bytes.fromhex("00 04 0a000002 20")
    wire = bytes.fromhex("01 07") + value
    assert encode_capsule(CapsuleType.ADDRESS_ASSIGN, value) == wire
    assert parse(wire) == ([], [Capsule(1, value)])


def test_datagrams_by_hand():
    wire = bytes.fromhex("00 01 00") + bytes.fromhex("00 4040") + bytes(64) + bytes.fromhex("00 00")
    payloads = [b"\0", bytes(64), b""]
    assert encode_datagrams(payloads) == wire
    assert parse(wire) == (payloads, [])


@pytest.mark.parametrize("size", [0, 1, 63, 64, 255, 256, 1281, 16_383, 16_384, 65_536, MAX_DATAGRAM])
def test_every_size_of_length_field(size):
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    wire = encode_datagrams([payload, b"next"])
    assert wire == encode_capsule(0, payload) + encode_capsule(0, b"next")
    for cut in (1, 2, 3, 4, 5, 6, len(wire) - 6, len(wire) - 1):
        assert parse(wire[:cut], wire[cut:]) == ([payload, b"next"], [])


def test_longer_encodings_than_needed_are_read():
    wire = bytes.fromhex("4000 80000003") + b"abc" + bytes.fromhex("c000000000000002 4001") + b"x"
    for chunks in ([wire], one_by_one(wire)):
        assert parse(*chunks) == ([b"abc"], [Capsule(2, b"x")])


@pytest.mark.parametrize("kind", [4, 0x40, DNS_ASSIGN, PREF64, MAX_VARINT, *RESERVED])
def test_unknown_types_are_skipped(kind):
    wire = encode_capsule(kind, b"abc" * 100) + encode_capsule(kind, b"") + encode_capsule(3, b"")
    for chunks in ([wire], one_by_one(wire), [wire[:7], wire[7:]]):
        parser = CapsuleParser()
        assert parse(*chunks, parser=parser) == ([], [Capsule(3, b"")])
        assert parser.skipped == 2


def test_an_endless_unknown_capsule_is_not_kept():
    parser = CapsuleParser()
    parser.feed(encode_varint(0x17) + encode_varint(MAX_VARINT))
    chunk = bytes(1 << 20)
    for _ in range(8):
        assert parser.feed(chunk) == ([], [])
    assert parser.held == 0
    with pytest.raises(BadCapsule, match="inside"):
        parser.finish()


@pytest.mark.parametrize("kind", list(LIMITS))
@pytest.mark.parametrize("excess", [1, MAX_VARINT])
def test_a_length_above_the_limit_is_refused_before_the_value_comes(kind, excess):
    header = encode_varint(kind) + encode_varint(min(MAX_VARINT, LIMITS[kind] + excess))
    for chunks in ([header], one_by_one(header)):
        parser = CapsuleParser()
        with pytest.raises(BadCapsule, match="limit"):
            for chunk in chunks:
                parser.feed(chunk)
        for again in (b"", b"\0\0"):
            with pytest.raises(BadCapsule, match="limit"):
                parser.feed(again)
        with pytest.raises(BadCapsule, match="limit"):
            parser.finish()


@pytest.mark.parametrize("kind", list(LIMITS))
def test_a_length_at_the_limit_is_read(kind):
    value = bytes(LIMITS[kind])
    datagrams, others = parse(encode_capsule(kind, value))
    assert (datagrams, others) == (([value], []) if kind == 0 else ([], [Capsule(kind, value)]))


def test_a_claimed_length_costs_nothing_until_it_comes():
    parser = CapsuleParser()
    parser.feed(encode_varint(3) + encode_varint(MAX_CONFIGURATION) + b"a")
    assert parser.held == 1


@pytest.mark.parametrize(
    "wire", ["00", "c0", "0002", "000200", "014000"[:4], "1702", "170200", "c000000000000017c0000000000000"]
)
def test_a_stream_that_ends_inside_a_capsule(wire):
    data = bytes.fromhex(wire)
    for chunks in ([data], one_by_one(data)):
        parser = CapsuleParser()
        for chunk in chunks:
            assert parser.feed(chunk) == ([], [])
        with pytest.raises(BadCapsule, match="inside"):
            parser.finish()


def test_an_empty_stream_is_complete():
    assert parse(b"") == ([], [])


def test_datagrams_before_a_bad_capsule_do_not_make_it_good():
    parser = CapsuleParser()
    with pytest.raises(BadCapsule):
        parser.feed(encode_datagrams([b"x"]) + encode_varint(1) + encode_varint(MAX_VARINT))


KINDS = st.sampled_from([0, 0, 0, 1, 2, 3, 4, 0x17, DNS_ASSIGN, MAX_VARINT])
STREAM = st.lists(st.tuples(KINDS, st.one_of(st.binary(max_size=70), st.just(bytes(300)))), max_size=8)


@QUICK
@given(STREAM, st.lists(st.integers(0, 800), max_size=8), st.booleans())
def test_boundaries_mean_nothing(capsules, cuts, singly):
    wire = b"".join(encode_capsule(*capsule) for capsule in capsules)
    edges = sorted({0, len(wire), *(min(cut, len(wire)) for cut in cuts)})
    chunks = one_by_one(wire) if singly else [wire[a:b] for a, b in pairwise(edges)]
    parser = CapsuleParser()
    datagrams, others = parse(*chunks, parser=parser)
    assert datagrams == [value for kind, value in capsules if kind == 0]
    assert others == [capsule for capsule in capsules if capsule[0] in (1, 2, 3)]
    assert parser.skipped == sum(kind > 3 for kind, _ in capsules)


@QUICK
@given(st.lists(st.binary(max_size=200), max_size=6))
def test_random_bytes_raise_nothing_else(chunks):
    parser = CapsuleParser()
    try:
        for chunk in chunks:
            parser.feed(chunk)
        parser.finish()
    except BadCapsule:
        pass
    assert parser.held <= MAX_DATAGRAM


@QUICK
@given(st.binary(max_size=300), st.integers(0, 300))
def test_random_bytes_are_read_alike_at_once_and_in_two(data, cut):
    assert outcome([data]) == outcome([data[:cut], data[cut:]]) == outcome(one_by_one(data))


def outcome(chunks):
    try:
        return parse(*chunks)
    except BadCapsule as bad:
        return str(bad)
