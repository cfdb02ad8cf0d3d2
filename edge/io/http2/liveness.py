"""Whether a connection is worth keeping: HTTP/2 has no idle timeout, and TCP does not notice that a peer is gone."""

from __future__ import annotations

from enum import Enum, auto

from edge.io.http2.settings import Timing
from edge.proto.types import Deadline


class Fate(Enum):
    """What is to be done now."""

    NOTHING = auto()
    PING = auto()  # ask for a sign of life
    LATE = auto()  # its handshake took too long
    DEAD = auto()  # no sign of life, or it takes nothing
    IDLE = auto()  # it asked for nothing


class Liveness:
    """`patient`: whether it may be idle for ever, as a client's own connection."""

    __slots__ = (
        "_began",
        "_heard",
        "_idle_since",
        "_patient",
        "_pinged",
        "_stuck_since",
        "_timing",
        "_took",
        "settled",
    )

    def __init__(self, timing: Timing, *, patient: bool, now: float) -> None:
        self.settled = False  # the peer's SETTINGS have come: no stranger any more
        self._timing = timing
        self._patient = patient
        self._began = self._heard = now
        self._pinged = False  # since it was heard
        self._idle_since: float | None = now
        self._took = False  # since the last look
        self._stuck_since: float | None = None

    def heard(self, now: float) -> None:
        self._heard, self._pinged = now, False

    def took(self) -> None:
        """Its TCP has taken something."""
        self._took = True

    def ping(self) -> bool:
        """Whether to send one: none is under way."""
        first, self._pinged = not self._pinged, True
        return first

    def busy(self) -> None:
        """It has a stream."""
        self._idle_since = None

    def idle(self, now: float) -> None:
        """It has no stream (any more)."""
        self._idle_since = now

    def fate(self, now: float, unwritten: int) -> Fate:
        """`unwritten`: octets for it that wait for TCP. To be asked once in a while, at the latest at ``deadline``."""
        timing = self._timing
        if not self.settled:
            return Fate.LATE if now >= self._began + timing.handshake else Fate.NOTHING
        if now >= self._heard + timing.dead or self._is_stuck(now, unwritten):
            return Fate.DEAD
        if not self._patient and self._idle_since is not None and now >= self._idle_since + timing.idle:
            return Fate.IDLE
        return Fate.PING if now >= self._heard + timing.keep_alive and not self._pinged else Fate.NOTHING

    def deadline(self) -> Deadline:
        timing = self._timing
        if not self.settled:
            return Deadline(self._began + timing.handshake, "http2 handshake")
        if self._pinged:
            found = Deadline(self._heard + timing.dead, "http2 dead peer")
        else:
            found = Deadline(self._heard + timing.keep_alive, "http2 keep-alive")
        if not self._patient and self._idle_since is not None:
            found = min(found, Deadline(self._idle_since + timing.idle, "http2 idle"))
        return found

    def _is_stuck(self, now: float, unwritten: int) -> bool:
        if self._took or not unwritten:
            self._stuck_since = None
        elif self._stuck_since is None:
            self._stuck_since = now
        self._took = False
        return self._stuck_since is not None and now >= self._stuck_since + self._timing.dead
