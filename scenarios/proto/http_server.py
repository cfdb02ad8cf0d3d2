"""An HTTP/1.1 server on a simulated host: routes or a callable, a log of who asked for what, and caps on everything."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import h11

from scenarios.proto.app import Endpoint
from scenarios.proto.http import MAX_HEAD, Headers, HttpRequest, HttpResponse, decoded, encoded
from scenarios.proto.tcp import TcpStack
from scenarios.proto.tcp_connection import Connection
from scenarios.proto.tcp_state import StreamEvent
from scenarios.proto.timer_queue import TimerQueue

Handler = Callable[[HttpRequest], HttpResponse | None]
"""None leaves the request to the routes. One that raises is answered with 500."""

_NOT_FOUND = HttpResponse(404, b"not found\n")
_FAILED = HttpResponse(500, b"internal error\n")
_BODILESS = (204, 304)

MAX_SOURCES = 4096


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Sizes in bytes, times in seconds."""

    max_body: int = 1 << 20
    max_connections: int = 64
    idle_timeout: float = 15.0
    """Until the first byte of a request, or of the next one."""
    request_timeout: float = 10.0
    """From the first byte of a request to its last, however steadily it trickles."""
    response_timeout: float = 30.0
    """Until the client has taken the whole answer, and has closed after it."""
    log_entries: int = 1000
    logged_head: int = 2048
    logged_body: int = 2048


class Served(NamedTuple):
    """A request that was answered, as the log keeps it: headers and body are cut, `size` is that of the body."""

    at: float
    source: Endpoint
    method: str
    target: str
    status: int
    headers: Headers
    body: bytes
    size: int
    failure: str = ""
    """What the handler raised."""


class _Session:
    """One connection, from its first request to its last."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD)
        self.request: h11.Request | None = None
        self.body = bytearray()
        self.unsent = bytearray()
        self.later: tuple[HttpRequest, HttpResponse, str] | None = None
        """The answer that its server still thinks about."""
        self.begun = False
        self.closing = False

    def send(self, event: Any) -> None:
        self.unsent += self.http.send(event) or b""

    def next_request(self) -> None:
        self.http.start_next_cycle()
        self.request, self.begun = None, False
        self.body = bytearray()


class HttpServer:
    """An application (`host.StreamApp`). Events are `Served`."""

    def __init__(
        self,
        port: int = 80,
        routes: Mapping[str, HttpResponse] | None = None,
        handler: Handler | None = None,
        *,
        limits: ServerLimits | None = None,
    ) -> None:
        self.port = port
        self.routes = dict(routes or {})
        self.handler = handler
        self.limits = limits or ServerLimits()
        self.log: deque[Served] = deque(maxlen=self.limits.log_entries)
        self.counters: Counter[str] = Counter()
        """What was not served, by reason."""
        self.served = 0
        """Requests that were answered, also those that the log has forgotten."""
        self.sources: Counter[str] = Counter()
        """How many of them came from each address; of MAX_SOURCES at most."""
        self._sessions: dict[Connection, _Session] = {}
        self._timers: TimerQueue[Connection] = TimerQueue()
        self._events: deque[Served] = deque(maxlen=self.limits.log_entries)

    # An application on a host

    def attach(self, tcp: TcpStack) -> None:
        tcp.listen(self.port, self)

    def handle_stream(self, connection: Connection, event: StreamEvent, now: float) -> None:
        session = self._sessions.get(connection)
        if event is StreamEvent.CONNECTED:
            self._open(connection, now)
        elif session is None:
            connection.read()  # what was aborted
        elif event is StreamEvent.CLOSED:
            del self._sessions[connection]
            self._timers.cancel(connection)
        elif event is StreamEvent.WRITABLE:
            self._flush(session)
            self._rest(session, now)
            self._advance(session, now)
        else:
            self._advance(session, now)

    def handle_timeout(self, now: float) -> None:
        while (connection := self._timers.pop_due(now)) is not None:
            session = self._sessions[connection]
            if session.later is not None:
                self._finish(session, *session.later, now)
                self._advance(session, now)
            elif session.closing or session.unsent:
                self.counters["response_timeout" if session.unsent else "not_closed"] += 1
                connection.abort()
            elif session.begun:
                self.counters["request_timeout"] += 1
                self._refuse(session, 408, now)
            else:
                self._close(session, now)

    def poll_timeout(self) -> float:
        return self._timers.next()

    def poll_event(self) -> Served | None:
        return self._events.popleft() if self._events else None

    # Requests

    def _open(self, connection: Connection, now: float) -> None:
        if len(self._sessions) >= self.limits.max_connections:
            self.counters["connections_full"] += 1
            connection.abort()
            return
        self._sessions[connection] = _Session(connection)
        self._timers.set(connection, now + self.limits.idle_timeout)

    def _advance(self, session: _Session, now: float) -> None:
        """Take in what has arrived, as long as the client takes our answers."""
        connection = session.connection
        while not session.unsent:
            data = connection.read()
            if session.closing:
                return
            try:
                if data or connection.at_end:
                    session.http.receive_data(data)
                event = self._next(session, data, now)
            except h11.RemoteProtocolError as error:
                self.counters["bad_request"] += 1
                self._refuse(session, error.error_status_hint, now)
                return
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            self._take(session, event, now)

    def _next(self, session: _Session, data: bytes, now: float) -> Any:
        if data and not session.begun:
            session.begun = True
            self._timers.set(session.connection, now + self.limits.request_timeout)
        return session.http.next_event()

    def _take(self, session: _Session, event: Any, now: float) -> None:
        if isinstance(event, h11.Request):
            session.request = event
            declared = next((bytes(value) for key, value in event.headers if key == b"content-length"), b"0")
            if int(declared) > self.limits.max_body:
                self.counters["body_too_large"] += 1
                self._refuse(session, 413, now)
            elif session.http.they_are_waiting_for_100_continue:
                session.send(h11.InformationalResponse(status_code=100, headers=[]))
                self._flush(session)
        elif isinstance(event, h11.Data):
            session.body += event.data
            if len(session.body) > self.limits.max_body:
                self.counters["body_too_large"] += 1
                self._refuse(session, 413, now)
        elif isinstance(event, h11.EndOfMessage):
            self._serve(session, now)
        else:  # the client has closed
            self._close(session, now)

    def _serve(self, session: _Session, now: float) -> None:
        received = session.request
        assert received is not None
        request = HttpRequest(
            now,
            session.connection.remote,
            received.method.decode("latin-1"),
            received.target.decode("latin-1"),
            decoded(list(received.headers)),
            bytes(session.body),
        )
        response, failure = self._answer(request)
        if response.delay > 0:
            session.later = request, response, failure
            self._timers.set(session.connection, now + response.delay)
        else:
            self._finish(session, request, response, failure, now)

    def _finish(
        self, session: _Session, request: HttpRequest, response: HttpResponse, failure: str, now: float
    ) -> None:
        session.later = None
        try:
            self._respond(session, response, request.method == "HEAD")
        except (h11.LocalProtocolError, ValueError) as error:
            response, failure = _FAILED, f"{type(error).__name__}: {error}"
            self.counters["handler_failed"] += 1
            self._respond(session, response, request.method == "HEAD")
        self._note(request, response.status, failure)
        self._timers.set(session.connection, now + self.limits.response_timeout)
        self._flush(session)
        if session.http.our_state is h11.MUST_CLOSE:
            self._close(session, now)
        elif session.http.our_state is h11.DONE and session.http.their_state is h11.DONE:
            session.next_request()
            self._rest(session, now)

    def _answer(self, request: HttpRequest) -> tuple[HttpResponse, str]:
        try:
            response = self.handler(request) if self.handler is not None else None
        except Exception as error:  # somebody else's code must not end the world that it is part of
            self.counters["handler_failed"] += 1
            return _FAILED, f"{type(error).__name__}: {error}"
        return response or self.routes.get(request.path, _NOT_FOUND), ""

    def _respond(self, session: _Session, response: HttpResponse, head: bool) -> None:
        headers = encoded(response.headers)
        if response.status not in _BODILESS:
            headers += [
                (b"content-type", response.content_type.encode("latin-1")),
                (b"content-length", str(len(response.body)).encode()),
            ]
        session.send(h11.Response(status_code=response.status, headers=headers))
        if response.body and not head and response.status not in _BODILESS:
            session.send(h11.Data(data=response.body))
        session.send(h11.EndOfMessage())

    def _refuse(self, session: _Session, status: int, now: float) -> None:
        """Answer a request that is not to be read to its end, and end the connection."""
        if session.http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = f"error {status}\n".encode()
            headers = [("content-length", str(len(body))), ("connection", "close")]
            session.send(h11.Response(status_code=status, headers=headers))
            session.send(h11.Data(data=body))
            session.send(h11.EndOfMessage())
        self._flush(session)
        self._close(session, now)

    def _note(self, request: HttpRequest, status: int, failure: str) -> None:
        kept: list[tuple[str, str]] = []
        left = self.limits.logged_head
        for key, value in request.headers:
            left -= len(key) + len(value)
            if left < 0:
                break
            kept.append((key, value))
        entry = Served(
            request.at,
            request.source,
            request.method,
            request.target[: self.limits.logged_head],
            status,
            tuple(kept),
            request.body[: self.limits.logged_body],
            len(request.body),
            failure,
        )
        self.log.append(entry)
        self.served += 1
        if entry.source[0] in self.sources or len(self.sources) < MAX_SOURCES:
            self.sources[entry.source[0]] += 1
        self._events.append(entry)

    # Out

    def _flush(self, session: _Session) -> None:
        del session.unsent[: session.connection.write(session.unsent)]
        if session.closing and not session.unsent:
            session.connection.close()

    def _rest(self, session: _Session, now: float) -> None:
        """Between two requests, once the first has its whole answer."""
        if not (session.unsent or session.begun or session.closing):
            self._timers.set(session.connection, now + self.limits.idle_timeout)

    def _close(self, session: _Session, now: float) -> None:
        """Write no more than what is left; what still comes is not looked at."""
        session.closing = True
        self._timers.set(session.connection, now + self.limits.response_timeout)
        self._flush(session)
