"""MASQUE as a way to the PoP: over QUIC, or over TLS and TCP. Each attempt has a connection of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

from connectors.proto.choice import NO_ANSWER, STAGGER, Health
from connectors.proto.way import Reads
from edge.proto.masque.carrier import Carrier, CarrierEvent, shown
from edge.proto.masque.client import ClientSession, SessionState
from edge.proto.masque.route import AddressRange
from edge.proto.types import NEVER, Address, Deadline, Eof, Octets, Opened, StreamEvent, StreamOutput, Written

ANSWER = 3.0
"""Seconds without a sign of life, while there is something that should be answered, until a session is quiet."""

DOUBT = 1.5
"""Seconds of it after which a sign of life is asked for: what is sent one way only is not answered by itself."""

PROBE = 10.0
"""Seconds of silence after which a sign of life is asked for: also keeps the mappings of NATs."""

SILENT = "no answer any more"
"""Why a way was left that had been up."""

LONGEST = 100
"""Characters of a reason, which may be a peer's words."""

ADVICE = {
    401: "is its token right, was the PoP reloaded since it was enrolled?",
    404: "is its path that of the PoP?",
}
"""What to look at when the answer to the request has that status."""


class HttpClient(Protocol):
    """A client with one carrier: what QUIC and TLS over TCP have in common."""

    @property
    def carrier(self) -> Carrier: ...

    def poll_events(self) -> list[CarrierEvent]: ...

    def handle_timeout(self, now: float) -> None: ...


class QuicLike(HttpClient, Protocol):
    """Over UDP."""

    def receive(self, reads: Reads, now: float) -> None: ...

    def rebind(self, now: float) -> None:
        """Our own address has changed."""

    def next_timeout(self) -> float: ...

    def poll_transmit(self, now: float | None = None) -> list[tuple[Address, list[bytes]]]:
        """`now` if time has passed since the last call that had it."""


class Http2Like(HttpClient, Protocol):
    """Over a TCP connection, once that is there."""

    def receive(self, data: bytes, now: float) -> None:
        """Octets that came; empty: no more will."""

    def written(self, octets: int) -> None: ...

    def next_timeout(self) -> Deadline: ...

    def poll_transmit(self) -> bytes: ...


class Homes:
    """The PoPs that one may be at home with: whoever sent us away, or does not answer, is followed by the next."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = tuple(addresses)
        self._at = 0

    @property
    def current(self) -> Address:
        return self._addresses[self._at]

    def move_on(self) -> None:
        self._at = (self._at + 1) % len(self._addresses)


class _MasqueWay(ABC):
    """What both have in common: the session, and whether the PoP is heard."""

    word = ""
    _no_error = 0

    @abstractmethod
    def _client_due(self) -> float:
        """When the client wants ``handle_timeout``; NEVER without one."""

    def __init__(self, make_session: Callable[[], ClientSession]) -> None:
        self.handshakes = 0
        self.last_handshake_seconds: float | None = None
        self.session: ClientSession | None = None
        self.previous: ClientSession | None = None
        self._make_session = make_session
        self._client: HttpClient | None = None
        self._begun = 0.0
        self._heard = 0.0
        self._asked = NEVER  # since when something is to be answered
        self._probed = 0.0
        self._known_quiet = False
        self._dropped = 0
        self._failure = ""  # of the latest attempt that is over

    @property
    def datagrams_dropped(self) -> int:
        return self._dropped + (self.session.dropped if self.session is not None else 0)

    @property
    def advertised(self) -> Sequence[AddressRange]:
        return () if self.session is None else self.session.routes

    def health(self, now: float) -> Health:
        session = self.session
        if session is None:
            return Health.IDLE
        if session.state is SessionState.CONNECTING:
            return Health.TRYING
        if session.state is not SessionState.UP:
            return Health.FAILED
        return Health.QUIET if now >= self._asked + ANSWER else Health.UP

    def failure(self, now: float) -> str:
        match self.health(now):
            case Health.UP:
                return ""
            case Health.QUIET:
                return SILENT
            case Health.FAILED:
                return self._refused()
            case Health.TRYING if now >= self._begun + STAGGER:
                return self._failure or NO_ANSWER
        return self._failure

    def _refused(self) -> str:
        """Why the session is over."""
        session = self.session
        if session is None:
            return ""
        advice = ADVICE.get(session.status or 0, "") if session.state is SessionState.REFUSED else ""
        reason = shown(session.reason)[:LONGEST]
        return f"{reason}: {advice}" if advice else reason

    def _note_failure(self, now: float) -> None:
        """It ends, and what was known of why would go with it."""
        self._failure = NO_ANSWER if self.health(now) is Health.TRYING else self.failure(now)

    @property
    def _is_up(self) -> bool:
        return self.session is not None and self.session.state is SessionState.UP

    def seal(self, packets: list[bytearray], now: float) -> None:
        if self.session is not None:
            self.session.seal(packets)
            if self._asked == NEVER:
                self._asked = now

    def _start(self, client: HttpClient, now: float) -> None:
        self._drop()
        self._client = client
        self.session = self._make_session()
        self._begun = self._heard = self._probed = now
        self._asked = NEVER
        self._known_quiet = False

    def _drop(self) -> None:
        if self.session is not None:
            self._dropped += self.session.dropped
            self.previous = self.session
        self.session = self._client = None

    def _came(self, now: float) -> None:
        self._heard = now
        self._asked = NEVER
        self._known_quiet = False

    def _step(self, now: float) -> list[bytearray]:
        """After what came was given to the client: its timers, its events, signs of life."""
        client, session = self._client, self.session
        if client is None or session is None:
            return []
        if self._client_due() <= now:
            client.handle_timeout(now)
        was_up = session.state is SessionState.UP
        packets = session.handle(client.poll_events())
        if session.state is SessionState.UP:
            if not was_up:
                self.handshakes += 1
                self.last_handshake_seconds = now - self._begun
            if now >= self._probe_due():
                self._probed = now
                self._asked = min(self._asked, now)
                client.carrier.ping()
            self._known_quiet = now >= self._asked + ANSWER
        return packets

    def _probe_due(self) -> float:
        if self._asked != NEVER:
            return self._asked + DOUBT if self._probed < self._asked else NEVER
        return max(self._heard, self._probed) + PROBE

    def _leave(self, now: float) -> None:
        if self.session is not None and self._client is not None:
            self.session.end()
            self._client.carrier.close(self._no_error)

    def poll_timeout(self) -> float:
        client, session = self._client, self.session
        if client is None or session is None:
            return NEVER
        at = self._client_due()
        if session.state is SessionState.UP:
            at = min(at, self._probe_due())
            if not self._known_quiet:
                at = min(at, self._asked + ANSWER)
        return at


class QuicWay(_MasqueWay):
    """HTTP/3. `dial(pop, now)` makes a client with a fresh connection to one of `pops`."""

    word = "h3"
    _no_error = 0x100  # H3_NO_ERROR

    def __init__(
        self,
        pops: Sequence[Address],
        dial: Callable[[Address, float], QuicLike],
        make_session: Callable[[], ClientSession],
    ) -> None:
        super().__init__(make_session)
        self._homes = Homes(pops)
        self._dial = dial
        self._quic: QuicLike | None = None
        self._now = 0.0
        self._farewell: list[tuple[Address, list[bytes]]] = []

    def _client_due(self) -> float:
        return NEVER if self._quic is None else self._quic.next_timeout()

    def begin(self, now: float) -> None:
        self._now = now
        self._quic = self._dial(self._homes.current, now)
        self._start(self._quic, now)

    def end(self, now: float) -> None:
        if self._quic is not None:
            self._note_failure(now)
            if not self._is_up:
                self._homes.move_on()
            self._leave(now)
            self._farewell += self._quic.poll_transmit(now)
            self._quic = None
            self._drop()

    def moved(self, now: float) -> None:
        if self._quic is not None:
            self._quic.rebind(now)  # asks for a sign of life
            if self._is_up:
                self._asked, self._probed = min(self._asked, now), now

    def turn(self, reads: Reads, streams: Sequence[StreamEvent], now: float) -> list[bytearray]:
        self._now = now
        if self._quic is not None:
            mine = [read for read in reads if read[2] == self._homes.current]
            if mine:
                self._came(now)
                self._quic.receive(mine, now)
        return self._step(now)

    def poll_transmit(self) -> list[tuple[Address, list[bytes]]]:
        out, self._farewell = self._farewell, []
        if self._quic is not None:
            out += self._quic.poll_transmit(self._now)
        return out

    def poll_dials(self) -> list[tuple[int, Address]]:
        return []

    def poll_streams(self) -> list[StreamOutput]:
        return []


class Http2Way(_MasqueWay):
    """HTTP/2. `make(pop, now)` makes a client for a TCP connection that has just been opened to one of `pops`."""

    word = "h2"

    def __init__(
        self,
        pops: Sequence[Address],
        make: Callable[[Address, float], Http2Like],
        make_session: Callable[[], ClientSession],
    ) -> None:
        super().__init__(make_session)
        self._homes = Homes(pops)
        self._make = make
        self._http2: Http2Like | None = None
        self._number = 0
        self._dialling = False
        self._dials: list[tuple[int, Address]] = []
        self._farewell: list[StreamOutput] = []

    def _client_due(self) -> float:
        return NEVER if self._http2 is None else self._http2.next_timeout().at

    def health(self, now: float) -> Health:
        return Health.TRYING if self._dialling else super().health(now)

    def begin(self, now: float) -> None:
        self._number += 1
        self._dials.append((self._number, self._homes.current))
        self._dialling = True
        self._begun = now

    def end(self, now: float) -> None:
        self._note_failure(now)
        if not self._is_up:
            self._homes.move_on()
        self._close(now)

    def _close(self, now: float) -> None:
        if self._http2 is not None:
            self._leave(now)
            self._farewell.append(StreamOutput(self._number, self._http2.poll_transmit(), close=True))
        elif self._dialling:
            self._farewell.append(StreamOutput(self._number, b"", close=True))
        self._http2 = None
        self._dialling = False
        self._drop()

    def moved(self, now: float) -> None:
        """A TCP connection does not survive that; the PoP is none the worse for it."""
        self._close(now)

    def turn(self, reads: Reads, streams: Sequence[StreamEvent], now: float) -> list[bytearray]:
        for event in streams:
            if isinstance(event, Opened) and not (self._dialling and event.connection_id == self._number):
                # It was given up while it was dialled, when there was nothing to close yet.
                self._farewell.append(StreamOutput(event.connection_id, b"", close=True))
            elif event.connection_id == self._number:
                self._take(event, now)
        return self._step(now)

    def _take(self, event: StreamEvent, now: float) -> None:
        if isinstance(event, Opened):
            begun = self._begun
            self._http2 = self._make(self._homes.current, now)
            self._start(self._http2, now)
            self._begun = begun
            self._dialling = False
        elif isinstance(event, Eof):
            dialled, self._dialling = self._dialling, False
            if self._http2 is not None:
                self._http2.receive(b"", now)
            elif dialled:  # else it is the end of one that was given up
                self._failure = shown(event.reason)[:LONGEST].lower()
        elif self._http2 is None:
            return
        elif isinstance(event, Octets):
            self._came(now)
            self._http2.receive(event.data, now)
        elif isinstance(event, Written):
            self._http2.written(event.octets)

    def poll_transmit(self) -> list[tuple[Address, list[bytes]]]:
        return []

    def poll_dials(self) -> list[tuple[int, Address]]:
        dials, self._dials = self._dials, []
        return dials

    def poll_streams(self) -> list[StreamOutput]:
        out, self._farewell = self._farewell, []
        if self._http2 is not None:
            data = self._http2.poll_transmit()
            if data:
                out.append(StreamOutput(self._number, data))
        return out
