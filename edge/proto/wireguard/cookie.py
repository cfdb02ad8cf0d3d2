"""What a sender must show before work is done for it: mac1, mac2, cookies, and a limit on its rate.

mac1 shows that the sender knows our public key. Under load that is not enough: then a cookie reply is sent
instead of an answer, and only a sender that received it, at the address it claims, can make mac2 (whitepaper
5.3, 5.4.4, 5.4.7).
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2s
from hmac import compare_digest
from ipaddress import IPv6Address
from typing import Final

from cryptography.exceptions import InvalidTag

from edge.proto.types import NEVER, Address, BadPacket, DropReason
from edge.proto.wireguard import xchacha
from edge.proto.wireguard.messages import MAC_SIZE, MACS_SIZE, XNONCE_SIZE, CookieReplyMessage
from edge.proto.wireguard.noise import cookie_key
from edge.proto.wireguard.timers import COOKIE_SECRET_TIME

HANDSHAKES_PER_SECOND: Final = 20
HANDSHAKE_BURST: Final = 5
MAX_SOURCES: Final = 8192

_NO_MAC2: Final = bytes(MAC_SIZE)
_SECRET_SIZE: Final = 32
_ROUNDING: Final = 1e-6  # seconds: sums of floats must not refuse a message that comes exactly in time


def append_macs(message: bytes, mac1_key: bytes, cookie: bytes | None) -> bytes:
    """A handshake message ready to send; `cookie` is what the receiver last gave us, while it is fresh."""
    message += _mac(message, mac1_key)
    return message + (_mac(message, cookie) if cookie else _NO_MAC2)


def check_mac1(message: bytes, mac1_key: bytes) -> bool:
    """True if the sender of this handshake message knows our public key. In constant time."""
    return compare_digest(_mac(message[:-MACS_SIZE], mac1_key), message[-MACS_SIZE:-MAC_SIZE])


def open_cookie_reply_untrusted(message: bytes, cookie_key: bytes, mac1: bytes) -> bytes:
    """The cookie in a reply to the message of ours that had this mac1. BadPacket: MALFORMED or BAD_COOKIE."""
    _, nonce, encrypted = CookieReplyMessage.decode_untrusted(message)
    try:
        return xchacha.decrypt(cookie_key, nonce, encrypted, mac1)
    except InvalidTag:
        raise BadPacket(DropReason.BAD_COOKIE) from None


class CookieChecker:
    """Gives cookies out and recognises them: a cookie is a mac of the source's address under our secret.

    The secret serves for 120 s and is recognised for as long again, so that a cookie that was given out in
    its last second is worth as much as its receiver believes.
    """

    __slots__ = ("_born", "_cookie_key", "_previous", "_rng", "_secret")

    def __init__(self, public: bytes, *, rng: Callable[[int], bytes], now: float) -> None:
        self._cookie_key = cookie_key(public)
        self._rng = rng
        self._secret = rng(_SECRET_SIZE)
        self._born = now
        self._previous: tuple[bytes, float] = (b"", -NEVER)  # a secret, and when it dies

    def create_reply(self, message: bytes, source: Address, now: float) -> bytes:
        """A cookie reply to a handshake message whose mac1 is right."""
        self._rotate(now)
        nonce = self._rng(XNONCE_SIZE)
        cookie = _mac(_address_bytes(source), self._secret)
        mac1 = message[-MACS_SIZE:-MAC_SIZE]
        encrypted = xchacha.encrypt(self._cookie_key, nonce, cookie, mac1)
        return CookieReplyMessage(int.from_bytes(message[4:8], "little"), nonce, encrypted).encode()

    def check_mac2(self, message: bytes, source: Address, now: float) -> bool:
        """True if the sender has a cookie that we gave to this very address and port not too long ago."""
        mac2 = message[-MAC_SIZE:]
        if mac2 == _NO_MAC2:  # by far the most common under a flood, and no secret is involved
            return False
        self._rotate(now)
        signed = message[:-MAC_SIZE]
        address = _address_bytes(source)
        if compare_digest(_mac(signed, _mac(address, self._secret)), mac2):
            return True
        previous, dies_at = self._previous
        return now < dies_at and compare_digest(_mac(signed, _mac(address, previous)), mac2)

    def _rotate(self, now: float) -> None:
        if now >= self._born + COOKIE_SECRET_TIME:
            self._previous = (self._secret, self._born + 2 * COOKIE_SECRET_TIME)
            self._secret = self._rng(_SECRET_SIZE)
            self._born = now


class SourceRateLimit:
    """How often one source (an IPv4 address, an IPv6 /64) may start a handshake: 20 a second, 5 at once.

    A token bucket with one number per source: the time at which its bucket is full again. A full bucket is as
    good as none, so such entries go; the table is kept in the order of use, and the oldest are looked at on
    each call. While all entries of a full table are in use, new sources are refused: the table never grows
    past `max_sources`.
    """

    __slots__ = ("_full_at", "_max_sources")

    def __init__(self, max_sources: int = MAX_SOURCES) -> None:
        self._full_at: dict[str | bytes, float] = {}
        self._max_sources = max_sources

    def __len__(self) -> int:
        return len(self._full_at)

    def allow(self, host: str, now: float) -> bool:
        """Count one handshake of the source with this textual IP address; False if that is one too many."""
        full_at = self._full_at
        for _ in range(2):  # two out for one in: the table shrinks as fast as it grew
            oldest = next(iter(full_at), None)
            if oldest is None or full_at[oldest] > now:
                break
            del full_at[oldest]
        source = _source_key(host)
        at = max(full_at.pop(source, now), now)
        if at - now > (HANDSHAKE_BURST - 1) / HANDSHAKES_PER_SECOND + _ROUNDING:
            full_at[source] = at
            return False
        if len(full_at) >= self._max_sources:
            return False
        full_at[source] = at + 1 / HANDSHAKES_PER_SECOND
        return True


def _mac(data: bytes, key: bytes) -> bytes:
    return blake2s(data, digest_size=MAC_SIZE, key=key).digest()


def _address_bytes(source: Address) -> bytes:
    return f"{source[0]} {source[1]}".encode()


def _source_key(host: str) -> str | bytes:
    if ":" not in host:
        return host
    address = IPv6Address(host)
    if address.ipv4_mapped is not None:  # what a dual-stack socket calls an IPv4 source
        return str(address.ipv4_mapped)
    return address.packed[:8]
