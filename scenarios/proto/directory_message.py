"""Messages between a directory server and its clients: a stand-in for Active Directory, not LDAP.

What matters of a directory here is behaviour: who may ask is decided by source address and written into an audit log,
and the server itself contacts its clients. The format is our own and small, in network byte order:

    "PD", version 1 (u8), kind (u8), ident (u32), then texts, each as length (u16) and UTF-8

| kind | texts | sent by |
| --- | --- | --- |
| 1 bind | user, nonce, proof | client |
| 2 search | name | client |
| 3 modify | name, value | client |
| 4 result | verdict, text | server, with the ident of the request |
| 5 policy | version, text | server, unasked and from another port |
| 6 applied | version | client, with the ident of the policy |

A proof is HMAC-SHA256 over nonce and user with the password, in hex: passwords do not appear in captures. Nothing
stops a replay by who reads along; that is the tunnel's work.
"""

from __future__ import annotations

import hmac
import struct
from enum import IntEnum, StrEnum
from typing import NamedTuple

from edge.proto.types import BadPacket, DropReason

MAX_SIZE = 1200
"""Bytes; fits into every tunnel."""

MAX_TEXT = 1000
"""Bytes of one text: what a client may store, a result can carry."""

MAX_VERSION = 2**31 - 1

_HEAD = struct.Struct("!2sBBI")
_LENGTH = struct.Struct("!H")


class Kind(IntEnum):
    BIND = 1
    SEARCH = 2
    MODIFY = 3
    RESULT = 4
    POLICY = 5
    APPLIED = 6


REQUESTS = (Kind.BIND, Kind.SEARCH, Kind.MODIFY)
_TEXTS = {Kind.BIND: 3, Kind.SEARCH: 1, Kind.MODIFY: 2, Kind.RESULT: 2, Kind.POLICY: 2, Kind.APPLIED: 1}


class Verdict(StrEnum):
    """What the server says to a request."""

    OK = "ok"
    REFUSED = "refused"  # the source address is in no prefix of the list
    BAD_CREDENTIALS = "bad_credentials"
    NOT_BOUND = "not_bound"  # no bind from this source address and port, or too long ago
    FORBIDDEN = "forbidden"  # the role of the source may not do that
    NO_SUCH_NAME = "no_such_name"
    FULL = "full"  # the directory takes no more names


class Message(NamedTuple):
    kind: Kind
    ident: int
    texts: tuple[str, ...]


def encode(message: Message) -> bytes:
    """As bytes; raises ValueError for what `message_untrusted` would not read."""
    parts = [_HEAD.pack(b"PD", 1, message.kind, message.ident)]
    for text in message.texts:
        raw = text.encode()
        parts += [_LENGTH.pack(min(len(raw), 0xFFFF)), raw]
    data = b"".join(parts)
    try:
        message_untrusted(data)
    except BadPacket as bad:
        raise ValueError(f"cannot send {message.kind.name.lower()}: {bad}") from None
    return data


def message_untrusted(data: bytes) -> Message:
    """Read what a stranger sent; raises BadPacket."""
    if not _HEAD.size <= len(data) <= MAX_SIZE:
        raise BadPacket(DropReason.BAD_LENGTH, f"{len(data)} bytes")
    magic, version, number, ident = _HEAD.unpack_from(data)
    if magic != b"PD" or version != 1 or number not in _TEXTS:
        raise BadPacket(DropReason.BAD_HEADER, "not of a directory")
    texts: list[str] = []
    at = _HEAD.size
    while at < len(data):
        start = at + _LENGTH.size
        at = start + int.from_bytes(data[at:start])
        try:
            text = data[start:at].decode()
        except UnicodeDecodeError:
            raise BadPacket(DropReason.MALFORMED, "not UTF-8") from None
        if at > len(data) or at - start > MAX_TEXT or not text.isprintable():
            raise BadPacket(DropReason.MALFORMED, "text")
        texts.append(text)
    kind = Kind(number)
    if len(texts) != _TEXTS[kind]:
        raise BadPacket(DropReason.MALFORMED, f"{len(texts)} texts in {kind.name.lower()}")
    return Message(kind, ident, tuple(texts))


def version_untrusted(text: str) -> int:
    """The number of a policy, from 1; raises BadPacket."""
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_VERSION):
        raise BadPacket(DropReason.MALFORMED, "version")
    return int(text)


def proof(password: str, nonce: str, user: str) -> str:
    """That who sends `nonce` knows the password of `user`."""
    return hmac.digest(password.encode(), f"{nonce} {user}".encode(), "sha256").hex()
