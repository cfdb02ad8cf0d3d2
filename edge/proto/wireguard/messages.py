"""The four WireGuard messages on the wire (whitepaper 5.4): layouts and sizes, no cryptography.

Little-endian throughout. The three reserved bytes behind the type must be zero, so type and reserved bytes
are read as one 32-bit word. Handshake messages end in two 16-byte macs, which belong to ``cookie.py``:
``encode`` leaves them off, ``decode_untrusted`` insists that there is room for them and looks no further.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from edge.proto.types import BadPacket, DropReason

TYPE_INITIATION: Final = 1
TYPE_RESPONSE: Final = 2
TYPE_COOKIE_REPLY: Final = 3
TYPE_TRANSPORT: Final = 4

KEY_SIZE: Final = 32
TAG_SIZE: Final = 16  # Poly1305
MAC_SIZE: Final = 16  # mac1, mac2 and the cookie itself
MACS_SIZE: Final = 2 * MAC_SIZE
TIMESTAMP_SIZE: Final = 12
XNONCE_SIZE: Final = 24

_initiation = Struct("<II32s48s28s")
_response = Struct("<III32s16s")
_cookie_reply = Struct("<II24s32s")
_transport = Struct("<IIQ")

INITIATION_SIZE: Final = _initiation.size + MACS_SIZE  # 148
RESPONSE_SIZE: Final = _response.size + MACS_SIZE  # 92: a responder never amplifies
COOKIE_REPLY_SIZE: Final = _cookie_reply.size  # 64
TRANSPORT_HEADER_SIZE: Final = _transport.size
MIN_TRANSPORT_SIZE: Final = TRANSPORT_HEADER_SIZE + TAG_SIZE  # 32: an empty packet is a keepalive


class InitiationMessage(NamedTuple):
    """First message. `static` and `timestamp` are encrypted, tag included."""

    sender_index: int
    ephemeral: bytes
    static: bytes
    timestamp: bytes

    def encode(self) -> bytes:
        return _initiation.pack(TYPE_INITIATION, *self)

    @classmethod
    def decode_untrusted(cls, datagram: bytes) -> InitiationMessage:
        if len(datagram) != INITIATION_SIZE:
            raise BadPacket(DropReason.MALFORMED, "an initiation has 148 bytes")
        kind, *fields = _initiation.unpack_from(datagram)
        if kind != TYPE_INITIATION:
            raise BadPacket(DropReason.MALFORMED, "not an initiation")
        return cls._make(fields)


class ResponseMessage(NamedTuple):
    """Second message. `empty` is the tag over nothing: it proves the keys."""

    sender_index: int
    receiver_index: int
    ephemeral: bytes
    empty: bytes

    def encode(self) -> bytes:
        return _response.pack(TYPE_RESPONSE, *self)

    @classmethod
    def decode_untrusted(cls, datagram: bytes) -> ResponseMessage:
        if len(datagram) != RESPONSE_SIZE:
            raise BadPacket(DropReason.MALFORMED, "a response has 92 bytes")
        kind, *fields = _response.unpack_from(datagram)
        if kind != TYPE_RESPONSE:
            raise BadPacket(DropReason.MALFORMED, "not a response")
        return cls._make(fields)


class CookieReplyMessage(NamedTuple):
    """What a peer under load sends instead of an answer. `cookie` is encrypted, tag included."""

    receiver_index: int
    nonce: bytes
    cookie: bytes

    def encode(self) -> bytes:
        return _cookie_reply.pack(TYPE_COOKIE_REPLY, *self)

    @classmethod
    def decode_untrusted(cls, datagram: bytes) -> CookieReplyMessage:
        if len(datagram) != COOKIE_REPLY_SIZE:
            raise BadPacket(DropReason.MALFORMED, "a cookie reply has 64 bytes")
        kind, *fields = _cookie_reply.unpack(datagram)
        if kind != TYPE_COOKIE_REPLY:
            raise BadPacket(DropReason.MALFORMED, "not a cookie reply")
        return cls._make(fields)


class TransportMessage(NamedTuple):
    """One encrypted packet, tag included."""

    receiver_index: int
    counter: int
    packet: bytes

    def encode(self) -> bytes:
        return _transport.pack(TYPE_TRANSPORT, self.receiver_index, self.counter) + self.packet

    @classmethod
    def decode_untrusted(cls, datagram: bytes) -> TransportMessage:
        if len(datagram) < MIN_TRANSPORT_SIZE:
            raise BadPacket(DropReason.MALFORMED, "a transport message has at least 32 bytes")
        kind, receiver_index, counter = _transport.unpack_from(datagram)
        if kind != TYPE_TRANSPORT:
            raise BadPacket(DropReason.MALFORMED, "not a transport message")
        return cls(receiver_index, counter, datagram[TRANSPORT_HEADER_SIZE:])
