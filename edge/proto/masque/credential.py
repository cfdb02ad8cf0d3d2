"""The Authorization field: a token as Bearer (RFC 6750), or a user and a token as Basic (RFC 7617)."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from edge.proto.masque.refusal import BadRequest

MAX_USER: Final = 256  # bytes, like the next
MAX_TOKEN: Final = 1024

_FIELD = re.compile(rb"([A-Za-z]+) +([A-Za-z0-9\-._~+/]+=*)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Credential:
    """What a client says about itself; whether it is true is decided elsewhere. `user` is empty with Bearer."""

    user: str
    token: bytes = field(repr=False)


def parse_authorization(values: Sequence[bytes]) -> Credential:
    """From all Authorization fields of a request. BadRequest(401) unless there is one and it is well formed."""
    if not values:
        raise BadRequest(401, "no credentials")
    match = _FIELD.fullmatch(values[0]) if len(values) == 1 else None
    if match is None:
        raise BadRequest(401, "malformed credentials")
    scheme = match[1].lower()
    if scheme == b"basic":
        return _parse_basic(match[2])
    if scheme != b"bearer":
        raise BadRequest(401, "an unknown kind of credentials")
    if len(match[2]) > MAX_TOKEN:
        raise BadRequest(401, "malformed credentials")
    return Credential("", match[2])


def encode_authorization(credential: Credential) -> bytes:
    """The field's value; ValueError for what cannot be sent. It is a secret."""
    user = credential.user.encode()
    if user:
        value = b"Basic " + b64encode(user + b":" + credential.token)
    else:
        value = b"Bearer " + credential.token
    try:
        if parse_authorization([value]) == credential:
            return value
    except BadRequest:
        pass
    raise ValueError("the user or token has characters that cannot be sent, or is too long or empty")


def _parse_basic(encoded: bytes) -> Credential:
    try:
        user, _, token = b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:  # not base64, or not UTF-8
        raise BadRequest(401, "malformed credentials") from None
    if not token or _CONTROL.search(user + token):
        raise BadRequest(401, "malformed credentials")
    if len(user.encode()) > MAX_USER or len(token.encode()) > MAX_TOKEN:
        raise BadRequest(401, "malformed credentials")
    return Credential(user, token.encode())
