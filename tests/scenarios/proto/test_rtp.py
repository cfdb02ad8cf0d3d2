from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.types import BadPacket, DropReason
from scenarios.proto.rtp import Extension, RtpPacket, pack_simple, parse_untrusted

words = st.integers(0, 2**32 - 1)
packets = st.builds(
    RtpPacket,
    payload_type=st.one_of(st.integers(0, 63), st.integers(96, 127)),
    sequence=st.integers(0, 65535),
    timestamp=words,
    ssrc=words,
    payload=st.binary(max_size=200),
    marker=st.booleans(),
    csrc=st.lists(words, max_size=15).map(tuple),
    extension=st.none()
    | st.builds(Extension, st.integers(0, 65535), st.binary(max_size=40).map(lambda b: b[: len(b) // 4 * 4])),
)


@settings(max_examples=100, deadline=None)
@given(packets, st.sampled_from([0, 4, 16]))
def test_round_trip(packet, pad_to):
    data = packet.to_bytes(pad_to=pad_to)
    assert parse_untrusted(data) == packet
    if pad_to:
        assert len(data) % pad_to == 0


def test_simple_packet_is_the_same_as_the_general_one():
    payload = bytes(range(160))
    packet = RtpPacket(8, 65535, 2**32 - 1, 0xDEADBEEF, payload, True)
    assert pack_simple(8, True, 65535, 2**32 - 1, 0xDEADBEEF, payload) == packet.to_bytes()


def test_known_octets():
    data = bytes.fromhex("80 80 0001 000000a0 12345678 ffff")
    assert parse_untrusted(data) == RtpPacket(0, 1, 160, 0x12345678, b"\xff\xff", True)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_random_octets_raise_only_bad_packet(data):
    with suppress(BadPacket):
        parse_untrusted(data)


@settings(max_examples=60, deadline=None)
@given(packets, st.data())
def test_mutated_and_cut_packets_raise_only_bad_packet(packet, data):
    octets = bytearray(packet.to_bytes(pad_to=4))
    octets[data.draw(st.integers(0, min(len(octets), 16) - 1))] = data.draw(st.integers(0, 255))
    for end in range(len(octets) + 1):
        with suppress(BadPacket):
            parse_untrusted(bytes(octets[:end]))


HEADER = "0001 000000a0 12345678"


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        ("", DropReason.BAD_LENGTH),
        ("8000 0001 000000a0 123456", DropReason.BAD_LENGTH),
        ("4000" + HEADER, DropReason.BAD_VERSION),
        ("80c8" + HEADER, DropReason.BAD_HEADER),  # an RTCP sender report on the RTP port
        ("80c9" + HEADER, DropReason.BAD_HEADER),
        ("8200" + HEADER + "00000001", DropReason.BAD_LENGTH),  # two CSRC announced, one there
        ("9000" + HEADER, DropReason.BAD_LENGTH),  # no room for the extension's own header
        ("9000" + HEADER + "bede ffff 00000000", DropReason.BAD_LENGTH),
        ("a000" + HEADER + "00", DropReason.BAD_LENGTH),  # padding of 0 octets
        ("a000" + HEADER + "ffff05", DropReason.BAD_LENGTH),  # padding that eats the header
        ("b100" + HEADER + "00000001 bede0000 05", DropReason.BAD_LENGTH),  # ... or CSRC and extension
        ("a000" + HEADER, DropReason.BAD_LENGTH),  # the last octet is the SSRC's
    ],
)
def test_lies_about_length_are_refused(octets, reason):
    with pytest.raises(BadPacket) as error:
        parse_untrusted(bytes.fromhex(octets))
    assert error.value.reason is reason


def test_padding_may_fill_the_whole_payload():
    assert parse_untrusted(bytes.fromhex("a000" + HEADER + "00000004")).payload == b""


def test_extension_must_be_whole_words():
    with pytest.raises(ValueError):
        RtpPacket(0, 0, 0, 0, b"", extension=Extension(1, b"abc")).to_bytes()
