"""One configured MASQUE tunnel at the PoP, and the CONNECT-IP sessions that serve it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from edge.proto.masque.address import RequestIds
from edge.proto.masque.capsule import CapsuleParser
from edge.proto.masque.carrier import Carrier, HttpVersion
from edge.proto.masque.request import Dialect
from edge.proto.masque.scope import Scope
from edge.proto.types import NEVER, Address, DropReason

SESSIONS_LIMIT = 4
"""Of one tunnel: a client that dials anew each second must not pile up what it has left."""


class Session:
    """One accepted request: a stream of a carrier, on behalf of one tunnel."""

    __slots__ = (
        "capsules",
        "carrier",
        "dialect",
        "parser",
        "queue",
        "request_ids",
        "scope",
        "since",
        "stream",
        "tunnel",
    )

    def __init__(
        self, carrier: Carrier, stream: int, tunnel: MasqueTunnel, dialect: Dialect, scope: Scope, now: float
    ) -> None:
        self.carrier = carrier
        self.stream = stream
        self.tunnel = tunnel
        self.dialect = dialect
        self.scope = scope
        self.since = now
        self.parser = CapsuleParser()
        self.capsules = 0  # but datagrams
        self.request_ids = RequestIds()
        self.queue = carrier.queue(stream)

    @property
    def bare(self) -> bool:
        """The WARP dialect over HTTP/2 puts no context id before a packet."""
        return self.dialect is Dialect.WARP and self.carrier.version is HttpVersion.H2

    def __repr__(self) -> str:
        return f"<Session {self.tunnel.name} {self.carrier.version}/{self.stream} {self.dialect}>"


class MasqueTunnel:
    """`owner` is the caller's own object for it and never looked into here."""

    __slots__ = (
        "addresses",
        "client_key",
        "current",
        "dead",
        "handshakes",
        "last_handshake",
        "name",
        "owner",
        "routes",
        "sessions",
        "token_sha256",
        "version",
    )

    def __init__(
        self,
        name: str,
        *,
        token_sha256: bytes = b"",
        client_key: bytes = b"",
        addresses: tuple[bytes, ...] = (),
        routes: tuple[tuple[bytes, int], ...] = (),
        owner: Any = None,
    ) -> None:
        self.name = name
        self.token_sha256 = token_sha256
        self.client_key = client_key
        self.addresses = addresses
        self.routes = routes  # what it may reach: (prefix, length), advertised to it
        self.owner = owner
        self.sessions: list[Session] = []  # oldest first
        self.current: Session | None = None  # the one that packets for the tunnel go to
        self.version: HttpVersion | None = None  # that the peer has spoken over last
        self.handshakes = 0
        self.last_handshake = -NEVER
        self.dead: Counter[DropReason] = (
            Counter()
        )  # packets that got no session, or died with one that is gone

    @property
    def identity(self) -> bytes:
        """What tells the tunnel from all others, whatever its name is."""
        return self.token_sha256 or self.client_key

    def __repr__(self) -> str:
        return f"<MasqueTunnel {self.name} up={self.current is not None}>"

    def is_up(self, _now: float) -> bool:
        return self.current is not None

    @property
    def endpoint(self) -> Address | None:
        """Where the peer is now; None while there is none."""
        return None if self.current is None else self.current.carrier.peer

    @property
    def waiting(self) -> int:
        """Packets handed to the tunnel that have not left yet."""
        return sum(session.carrier.waiting(session.stream) for session in self.sessions)

    @property
    def lost(self) -> Counter[DropReason]:
        """Packets handed to the tunnel that never left, ever."""
        lost = self.dead.copy()
        for session in self.sessions:
            lost.update(session.queue.drops)
        return lost

    def settle(self) -> Counter[DropReason]:
        """Let what waits die, and begin to count anew; returns what was lost until now."""
        for session in self.sessions:
            session.carrier.discard(session.stream)
        lost = self.lost
        self.dead.clear()
        for session in self.sessions:
            session.queue.drops.clear()
        return lost

    def add(self, session: Session, now: float) -> Session | None:
        """Take a session in; returns one that has to go for it: the oldest, but not the one that is in use."""
        self.sessions.append(session)
        self.handshakes += 1
        self.last_handshake = now
        if len(self.sessions) <= SESSIONS_LIMIT:
            return None
        return next(each for each in self.sessions if each is not self.current)

    def remove(self, session: Session) -> None:
        """The session is over; the latest of the others takes its place."""
        self.sessions.remove(session)
        session.queue.clear(DropReason.TUNNEL_DOWN)
        self.dead.update(session.queue.drops)
        if self.current is session:
            self.current = self.sessions[-1] if self.sessions else None

    def prefer(self, session: Session) -> None:
        """The peer speaks through `session`: from now on it is answered there, unless that is an older one."""
        if self.current is None or self.current.since <= session.since:
            self.current = session
