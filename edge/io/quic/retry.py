"""Tokens that prove a client's address (RFC 9000 section 8.1.2): sealed for ourselves, nothing is kept meanwhile.

PoPs behind one address share the key, so that a client may come back to another one.
"""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from edge.proto.types import Address, BadPacket, DropReason

LIFETIME = 30.0  # seconds
SKEW = 5.0  # of the clocks of PoPs that share the key
KEY_SIZE = 32
NONCE_SIZE = 12

_TIME = Struct("!d")


class RetryTokens:
    """`key` has 32 bytes; ValueError if not. Times are of a clock that all who have the key share."""

    def __init__(self, key: bytes, *, rng: Callable[[int], bytes]) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError(f"the retry key has {len(key)} bytes, not {KEY_SIZE}")
        self._aead = AESGCM(key)
        self._rng = rng

    def issue(self, source: Address, original_cid: bytes, retry_cid: bytes, now: float) -> bytes:
        """A token for a client at `source`, which has to send it to `retry_cid`."""
        nonce = self._rng(NONCE_SIZE)
        return nonce + self._aead.encrypt(nonce, _TIME.pack(now) + original_cid, _bound(source, retry_cid))

    def redeem_untrusted(self, token: bytes, source: Address, cid: bytes, now: float) -> bytes:
        """The original connection id. BadPacket if the token is forged, old, or of another address or id."""
        nonce, sealed = token[:NONCE_SIZE], token[NONCE_SIZE:]
        try:
            plain = self._aead.decrypt(nonce, sealed, _bound(source, cid))
        except (InvalidTag, ValueError) as error:
            raise BadPacket(DropReason.ADDRESS_UNPROVEN) from error
        (issued,) = _TIME.unpack_from(plain)
        if not -SKEW <= now - issued <= LIFETIME:
            raise BadPacket(DropReason.ADDRESS_UNPROVEN, "too old")
        return plain[_TIME.size :]


def _bound(source: Address, cid: bytes) -> bytes:
    host, port = source
    return b"%s %d %s" % (host.encode(), port, cid)
