"""Which newcomers get a connection: each is judged before anything is kept of it."""

from __future__ import annotations

from enum import Enum, auto

from edge.config.types import Retry
from edge.io.quic.settings import ServerSettings
from edge.proto.ip.ratelimit import RateLimit

REPLIES_PER_TURN = 64  # Retry, version negotiation, refusals: each costs as much as several packets
SOURCES_LIMIT = 4096  # addresses whose rate is known; the longest known is forgotten first
SOURCE_BURST = 50.0  # connections of one address at once, such as an office behind a NAT


class Verdict(Enum):
    ACCEPT = auto()
    RETRY = auto()  # prove the address first
    REFUSE = auto()  # no connection is left
    TOO_FAST = auto()
    TOO_MANY = auto()  # handshakes under way


class Admission:
    """`half_open` counts handshakes under way, `connections` all there are, these included."""

    __slots__ = ("_rate", "_replies", "_settings", "_sources", "connections", "half_open")

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._rate = RateLimit(settings.handshake_rate, 2 * settings.handshake_rate)
        self._sources: dict[str, RateLimit] = {}
        self._replies = 0  # in this turn
        self.half_open = 0
        self.connections = 0

    def reconfigure(self, settings: ServerSettings) -> None:
        """Other limits, from now on."""
        self._settings = settings
        self._rate = RateLimit(settings.handshake_rate, 2 * settings.handshake_rate)
        self._sources.clear()

    def new_turn(self) -> None:
        self._replies = 0

    def may_reply(self) -> bool:
        """Whether an answer that keeps nothing can be afforded in this turn; takes one if so."""
        self._replies += 1
        return self._replies <= REPLIES_PER_TURN

    def judge(self, host: str, now: float, *, proven: bool) -> Verdict:
        """`proven` if the newcomer has shown that it is at `host`."""
        settings = self._settings
        suspicious = settings.retry is Retry.ALWAYS or self.half_open >= settings.retry_above
        if suspicious and not proven:
            return Verdict.RETRY
        if self.connections >= settings.max_connections:
            return Verdict.REFUSE
        if self.half_open >= settings.half_open_limit:
            return Verdict.TOO_MANY
        if proven and not self._of(host).allow(now):
            return Verdict.TOO_FAST  # only then is it known that it was the host
        # A flood of forged addresses must not use up what honest ones need: half is for who has proven its own.
        if not self._rate.allow(now, leave=0.0 if proven else settings.handshake_rate):
            return Verdict.TOO_FAST if proven else Verdict.RETRY
        return Verdict.ACCEPT

    def _of(self, host: str) -> RateLimit:
        limit = self._sources.get(host)
        if limit is None:
            if len(self._sources) >= SOURCES_LIMIT:
                del self._sources[next(iter(self._sources))]
            limit = self._sources[host] = RateLimit(self._settings.source_rate, SOURCE_BURST)
        return limit
