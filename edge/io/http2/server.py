"""Many connections of HTTP/2 in one place (a server), or a single one (a client), without IO.

The shell numbers connections and moves octets: ``accept``, ``receive``, ``written`` in, ``poll_events`` and
``poll_transmit`` out, after each turn. Numbers are never used twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import heapify, heappop, heappush

from h2.errors import ErrorCodes

from edge.io.http2.connection import SILENT_LIMIT, Http2Connection
from edge.io.http2.settings import ClientSettings, Counters, ServerSettings
from edge.io.http2.tls import TlsChannel, client_context, server_context
from edge.proto.masque.carrier import CarrierEvent
from edge.proto.types import NEVER, Address, Deadline

HANDSHAKES_PER_TURN = 4
"""Pieces of handshakes that are worked on at one time, and once more when time is told: each costs as much as a
hundred packets. The others wait."""
COMPACT_ABOVE = 1024  # entries of the agenda, more than half of which may belong to connections that are gone


class Http2Server:
    """ValueError from the constructor if the certificate or its key is not usable."""

    def __init__(self, settings: ServerSettings, *, now: float, rng: Callable[[int], bytes]) -> None:
        self._settings = settings
        self._context = server_context(settings)
        self._rng = rng
        self._draining = False
        self.counters = Counters()
        self._connections: dict[int, Http2Connection] = {}
        self._numbers: dict[Http2Connection, int] = {}
        self._half_open: dict[Http2Connection, None] = {}  # in the order in which they came
        self._hosts: Counter[str] = Counter()  # half-open connections of each
        self._backlog: dict[
            Http2Connection, list[bytes]
        ] = {}  # octets of handshakes that wait for their turn
        self._turn, self._begun = now, 0  # when handshakes were last worked on, and how many then
        self._work: dict[Http2Connection, None] = {}  # what may have something to transmit
        self._agenda: list[tuple[float, int]] = []
        self._events: list[CarrierEvent] = []

    def reconfigure(self, settings: ServerSettings) -> None:
        """For connections from now on. ValueError, with nothing changed, as from the constructor."""
        self._context = server_context(settings)
        self._settings = settings

    def __len__(self) -> int:
        """Open connections."""
        return len(self._connections)

    @property
    def half_open(self) -> int:
        return len(self._half_open)

    def accept(self, connection_id: int, peer: Address, now: float) -> bool:
        """A new connection of TCP; False if it is one too many, and nothing more is to be said about it."""
        if self._draining or (len(self._connections) >= self._settings.max_connections):
            self.counters.refused += 1
            return False
        if len(self._half_open) >= self._settings.max_half_open:
            stranger = self._least_likely()
            stranger.evict()
            self._look(stranger)
        self.counters.accepted += 1
        connection = Http2Connection(
            TlsChannel(self._context),
            client=False,
            peer=peer,
            timing=self._settings.timing,
            counters=self.counters,
            events=self._events,
            mark=self._mark,
            rng=self._rng,
            now=now,
        )
        self._connections[connection_id] = connection
        self._numbers[connection] = connection_id
        self._half_open[connection] = None
        self._hosts[peer[0]] += 1
        self._arm(connection)
        return True

    def receive(self, connection_id: int, data: bytes, now: float) -> None:
        """Octets that came; empty: no more will."""
        connection = self._connections.get(connection_id)
        if connection is None:
            return
        if data and connection.shaking_hands and not self._may_shake(connection, now):
            waiting = self._backlog.setdefault(connection, [])
            waiting.append(data)
            if sum(map(len, waiting)) > SILENT_LIMIT:
                connection.evict()
                self._look(connection)
            return
        connection.receive(data, now)
        self._look(connection)

    def written(self, connection_id: int, octets: int) -> None:
        """The shell got rid of so many octets of what ``poll_transmit`` gave."""
        connection = self._connections.get(connection_id)
        if connection is not None:
            connection.written(octets)

    def poll_events(self) -> list[CarrierEvent]:
        events = self._events.copy()
        self._events.clear()
        return events

    def poll_transmit(self) -> list[tuple[int, bytes, bool]]:
        """Connection, octets to write, and whether to close it when they are written; it is forgotten here then."""
        found: list[tuple[int, bytes, bool]] = []
        while self._work:
            work, self._work = self._work, {}
            for connection in work:
                number = self._numbers.get(connection)
                if number is None:
                    continue
                data = connection.transmit()
                closed = connection.closed
                if data or closed:
                    found.append((number, data, closed))
                if closed:
                    del self._connections[number], self._numbers[connection]
                    self._not_half_open(connection)
        return found

    def handle_timeout(self, now: float) -> None:
        for stranger in list(self._backlog)[:HANDSHAKES_PER_TURN]:
            stranger.receive(b"".join(self._backlog.pop(stranger)), now)
            self._look(stranger)
        agenda = self._agenda
        due: list[tuple[float, int]] = []
        while agenda and agenda[0][0] <= now:
            due.append(heappop(agenda))
        for at, number in due:
            connection = self._connections.get(number)
            if connection is not None and connection.armed_at == at:
                connection.armed_at = NEVER
                connection.handle_timeout(now)
                self._look(connection)
        if len(agenda) > COMPACT_ABOVE and len(agenda) > 2 * len(self._connections):
            self._agenda = [entry for entry in agenda if entry[1] in self._connections]
            heapify(self._agenda)

    def next_timeout(self) -> Deadline:
        if self._backlog:
            return Deadline(self._turn, "http2 handshakes")
        if not self._agenda:
            return Deadline(NEVER, "idle")
        at, number = self._agenda[0]
        connection = self._connections.get(number)
        return Deadline(at, "idle" if connection is None else connection.deadline().why)

    def drain(self) -> None:
        """Let every client know that this server goes (GOAWAY). Connections end with their last stream; none is new."""
        self._draining = True
        for connection in list(self._numbers):
            connection.drain()
            self._look(connection)

    def close_all(self, code: int = ErrorCodes.NO_ERROR, reason: str = "") -> None:
        for connection in list(self._numbers):
            connection.close(code, reason)
            self._look(connection)

    def _mark(self, connection: Http2Connection) -> None:
        self._work[connection] = None

    def _may_shake(self, connection: Http2Connection, now: float) -> bool:
        """Whether the handshake may go on at once."""
        if connection in self._backlog:
            return False
        if now != self._turn:
            self._turn, self._begun = now, 0
        self._begun += 1
        return self._begun <= HANDSHAKES_PER_TURN

    def _least_likely(self) -> Http2Connection:
        """Whose place is given away: of the host that has most half-open ones, who is honest needs it for a round trip
        or two, so the oldest is most likely not."""
        host = max(self._hosts, key=self._hosts.__getitem__)
        return next(connection for connection in self._half_open if connection.peer[0] == host)

    def _not_half_open(self, connection: Http2Connection) -> None:
        if connection in self._half_open:
            del self._half_open[connection]
            host = connection.peer[0]
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]

    def _look(self, connection: Http2Connection) -> None:
        if not connection.half_open:
            self._not_half_open(connection)
        if connection.closed:
            self._backlog.pop(connection, None)
        self._arm(connection)

    def _arm(self, connection: Http2Connection) -> None:
        """Only a deadline that moved earlier is pushed; a later one is found when the armed one comes."""
        at = connection.deadline().at
        if at < connection.armed_at:
            connection.armed_at = at
            heappush(self._agenda, (at, self._numbers[connection]))


class Http2Client:
    """One connection, whose TCP is up. ValueError if the settings' certificates or keys are not usable."""

    def __init__(
        self, settings: ClientSettings, *, peer: Address, now: float, rng: Callable[[int], bytes]
    ) -> None:
        self.counters = Counters(accepted=1)
        self._events: list[CarrierEvent] = []
        self.carrier = Http2Connection(
            TlsChannel(client_context(settings), settings),
            client=True,
            peer=peer,
            timing=settings.timing,
            counters=self.counters,
            events=self._events,
            mark=_ignore,
            rng=rng,
            now=now,
        )

    @property
    def closed(self) -> bool:
        """What ``poll_transmit`` gives then is the last; then close TCP."""
        return self.carrier.closed

    def receive(self, data: bytes, now: float) -> None:
        """Octets that came; empty: no more will."""
        self.carrier.receive(data, now)

    def written(self, octets: int) -> None:
        self.carrier.written(octets)

    def poll_events(self) -> list[CarrierEvent]:
        events = self._events.copy()
        self._events.clear()
        return events

    def poll_transmit(self) -> bytes:
        return self.carrier.transmit()

    def handle_timeout(self, now: float) -> None:
        self.carrier.handle_timeout(now)

    def next_timeout(self) -> Deadline:
        return self.carrier.deadline()


def _ignore(_: Http2Connection) -> None:
    """A client has one connection and asks it anyway."""
