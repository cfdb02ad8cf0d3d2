"""Wire layouts of the four messages, and that hostile bytes are only ever MALFORMED (W8)."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.proto.types import BadPacket, DropReason
from edge.proto.wireguard.messages import (
    COOKIE_REPLY_SIZE,
    INITIATION_SIZE,
    MIN_TRANSPORT_SIZE,
    RESPONSE_SIZE,
    CookieReplyMessage,
    InitiationMessage,
    ResponseMessage,
    TransportMessage,
)

MACS = bytes(32)

# One of each, how it looks on the wire (without macs where it has them), and the macs.
EXAMPLES = [
    (
        InitiationMessage(0x04030201, b"e" * 32, b"s" * 48, b"t" * 28),
        b"\x01\0\0\0\x01\x02\x03\x04" + b"e" * 32 + b"s" * 48 + b"t" * 28,
        MACS,
    ),
    (
        ResponseMessage(0x04030201, 0x08070605, b"e" * 32, b"0" * 16),
        b"\x02\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08" + b"e" * 32 + b"0" * 16,
        MACS,
    ),
    (
        CookieReplyMessage(0x08070605, b"n" * 24, b"c" * 32),
        b"\x03\0\0\0\x05\x06\x07\x08" + b"n" * 24 + b"c" * 32,
        b"",
    ),
    (
        TransportMessage(0x08070605, 0x0123456789ABCDEF, b"p" * 48),
        b"\x04\0\0\0\x05\x06\x07\x08\xef\xcd\xab\x89\x67\x45\x23\x01" + b"p" * 48,
        b"",
    ),
]
IDS = [type(message).__name__ for message, _, _ in EXAMPLES]
TYPES = [InitiationMessage, ResponseMessage, CookieReplyMessage, TransportMessage]


def test_sizes():
    assert (INITIATION_SIZE, RESPONSE_SIZE, COOKIE_REPLY_SIZE, MIN_TRANSPORT_SIZE) == (148, 92, 64, 32)


@pytest.mark.parametrize(("message", "wire", "macs"), EXAMPLES, ids=IDS)
def test_layout(message, wire, macs):
    assert message.encode() == wire
    assert type(message).decode_untrusted(wire + macs) == message


@pytest.mark.parametrize(("message", "wire", "macs"), EXAMPLES, ids=IDS)
@pytest.mark.parametrize("position", [0, 1, 2, 3])
@pytest.mark.parametrize("bit", [0, 7])
def test_wrong_type_or_reserved_byte(message, wire, macs, position, bit):
    datagram = bytearray(wire + macs)
    datagram[position] ^= 1 << bit
    with pytest.raises(BadPacket) as caught:
        type(message).decode_untrusted(bytes(datagram))
    assert caught.value.reason is DropReason.MALFORMED


@pytest.mark.parametrize(("message", "wire", "macs"), EXAMPLES[:3], ids=IDS[:3])
@pytest.mark.parametrize("change", [-1, 1])
def test_wrong_length(message, wire, macs, change):
    datagram = (wire + macs + b"\0")[: len(wire + macs) + change]
    with pytest.raises(BadPacket) as caught:
        type(message).decode_untrusted(datagram)
    assert caught.value.reason is DropReason.MALFORMED


def test_shortest_transport_message():
    keepalive = b"\x04\0\0\0" + bytes(28)
    assert TransportMessage.decode_untrusted(keepalive) == TransportMessage(0, 0, bytes(16))
    with pytest.raises(BadPacket):
        TransportMessage.decode_untrusted(keepalive[:-1])


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(TYPES),
    st.sampled_from([0, 1, 2, 3, 4, 5, 255]),
    st.one_of(st.binary(max_size=200), st.sampled_from([28, 60, 88, 144]).map(bytes)),
)
@example(InitiationMessage, 1, b"")
def test_any_bytes_decode_or_are_malformed(decoder, kind, rest):
    datagram = kind.to_bytes(4, "little") + rest
    reason = None
    try:
        message = decoder.decode_untrusted(datagram)
    except BadPacket as bad:
        reason = bad.reason
    else:
        assert datagram.startswith(message.encode())
    assert reason in (None, DropReason.MALFORMED)
