"""Who gets a Diffie-Hellman: handshake messages are judged cheaply, then wait in a bounded backlog (whitepaper 5.3).

A keyed hash first, which needs nothing but our public key to be right; under load a cookie, which proves the source's
address; then a limit per source. What a flood costs in one turn is bounded at each of these.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from edge.proto.types import NEVER, Address, BadPacket, DropReason
from edge.proto.wireguard.cookie import CookieChecker, SourceRateLimit, check_mac1
from edge.proto.wireguard.noise import Identity

MAC_CHECKS_PER_TURN = 1024  # of handshake messages; a flood beyond that is not even hashed
COOKIES_PER_TURN = 64  # a cookie reply costs as much as forwarding several packets
UNDER_LOAD_BACKLOG = 64  # this many messages waiting at once: from now on, cookies
UNDER_LOAD_TIME = 1.0  # and stay suspicious this long after the backlog is gone
BACKLOG_LIMIT = 1024  # 148 bytes each


class Admission:
    """The backlog of handshake messages that earned their Diffie-Hellman; `kind` is a message's type."""

    __slots__ = (
        "_cookies",
        "_cookies_this_turn",
        "_mac1_key",
        "_mac_checks",
        "_source_rate",
        "_until",
        "backlog",
    )

    def __init__(self, identity: Identity, *, rng: Callable[[int], bytes], now: float) -> None:
        self._mac1_key = identity.mac1_key
        self._cookies = CookieChecker(identity.public, rng=rng, now=now)
        self._source_rate = SourceRateLimit()
        self.backlog: deque[tuple[int, bytes, Address]] = deque()
        """What waits for its Diffie-Hellman: (kind, message, source)."""
        self._until = -NEVER  # under load
        self._mac_checks = 0  # in this turn, as the next
        self._cookies_this_turn = 0

    def under_load(self, now: float) -> bool:
        return now < self._until

    def demand_cookies(self, until: float) -> None:
        """Be under load until then, whatever the backlog says."""
        self._until = until

    def new_turn(self) -> None:
        self._mac_checks = self._cookies_this_turn = 0

    def admit(self, kind: int, message: bytes, source: Address, now: float) -> bytes | None:
        """Take a message into the backlog, or return the cookie reply that it gets instead. BadPacket if neither."""
        self._mac_checks += 1
        if self._mac_checks > MAC_CHECKS_PER_TURN:
            raise BadPacket(DropReason.HANDSHAKE_RATE)
        if not check_mac1(message, self._mac1_key):
            raise BadPacket(DropReason.BAD_MAC1)
        if len(self.backlog) >= UNDER_LOAD_BACKLOG:
            self._until = now + UNDER_LOAD_TIME
        if now < self._until:
            if not self._cookies.check_mac2(message, source, now):
                self._cookies_this_turn += 1
                if self._cookies_this_turn > COOKIES_PER_TURN:
                    raise BadPacket(DropReason.HANDSHAKE_RATE)
                return self._cookies.create_reply(message, source, now)
            if not self._source_rate.allow(source[0], now):
                raise BadPacket(DropReason.HANDSHAKE_RATE)
        if len(self.backlog) >= BACKLOG_LIMIT:
            raise BadPacket(DropReason.HANDSHAKE_QUEUE_FULL)
        self.backlog.append((kind, message, source))
        return None

    def take(self) -> tuple[int, bytes, Address]:
        """The message that has waited longest."""
        return self.backlog.popleft()
