"""An HTTP/1.1 client on a simulated host: one connection for each request, and how long each part of it took."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, NamedTuple

import h11

from scenarios.proto.http import MAX_HEAD, Headers, decoded, encoded, header
from scenarios.proto.tcp import TcpStack
from scenarios.proto.tcp_connection import Connection
from scenarios.proto.tcp_state import StreamError, StreamEvent
from scenarios.proto.timer_queue import TimerQueue

MAX_BODY = 1 << 20


class Phase(StrEnum):
    """How far a request has come."""

    CONNECTING = "connecting"
    WAITING = "waiting"  # sent or being sent; nothing of the answer is here
    RECEIVING = "receiving"
    DONE = "done"
    FAILED = "failed"


class Failure(StrEnum):
    """Why there is no answer."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    RESET = "reset"
    UNREACHABLE = "unreachable"  # a router said so
    PROTOCOL = "protocol"  # what came is no HTTP, not complete, or too large
    EXHAUSTED = "exhausted"  # the host has too many connections


_FAILURES: dict[StreamError | None, Failure] = {
    StreamError.REFUSED: Failure.REFUSED,
    StreamError.RESET: Failure.RESET,
    StreamError.TIMEOUT: Failure.TIMEOUT,
    StreamError.UNREACHABLE: Failure.UNREACHABLE,
    StreamError.EXHAUSTED: Failure.EXHAUSTED,
}


@dataclass(slots=True, eq=False)
class HttpExchange:
    """A request and what became of it. Moments are the host's time in seconds; durations count from the start."""

    method: str
    host: str
    port: int
    target: str
    started_at: float
    state: Phase = Phase.CONNECTING
    reason: Failure | None = None
    detail: str = ""
    status: int | None = None
    headers: Headers = ()
    body: bytearray = field(default_factory=bytearray, repr=False)
    connected_at: float | None = None
    first_byte_at: float | None = None
    ended_at: float | None = None
    local_port: int = 0

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    @property
    def ok(self) -> bool:
        """A complete answer with a status of success."""
        return self.state is Phase.DONE and self.status is not None and 200 <= self.status < 300

    @property
    def connect_seconds(self) -> float | None:
        return self._since_start(self.connected_at)

    @property
    def first_byte_seconds(self) -> float | None:
        return self._since_start(self.first_byte_at)

    @property
    def total_seconds(self) -> float | None:
        return self._since_start(self.ended_at)

    def header(self, name: str) -> str | None:
        """The first value of a header of the answer."""
        return header(self.headers, name)

    def _since_start(self, moment: float | None) -> float | None:
        return None if moment is None else moment - self.started_at


class ExchangeEnded(NamedTuple):
    """A request has its answer, or will have none."""

    exchange: HttpExchange


@dataclass(slots=True)
class _Transfer:
    exchange: HttpExchange
    http: h11.Connection
    unsent: bytearray


class HttpClient:
    """An application (`host.StreamApp`). Events are `ExchangeEnded`."""

    def __init__(self, *, max_body: int = MAX_BODY) -> None:
        self.max_body = max_body
        self._tcp: TcpStack | None = None
        self._transfers: dict[Connection, _Transfer] = {}
        self._timers: TimerQueue[Connection] = TimerQueue()
        self._events: deque[ExchangeEnded] = deque()

    def request(
        self,
        method: str,
        host: str,
        port: int = 80,
        path: str = "/",
        headers: Headers = (),
        body: bytes = b"",
        *,
        now: float,
        timeout: float = 10.0,
    ) -> HttpExchange:
        """Ask `host`, an IP address; ValueError if that makes no request. The end is an `ExchangeEnded`."""
        if self._tcp is None:
            raise ValueError("an HTTP client asks nobody before it is on a host")
        address = ip_address(host)
        name = f"[{address}]" if address.version == 6 else str(address)
        http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        own: list[tuple[bytes, bytes]] = []
        if header(headers, "host") is None:
            own.append((b"host", (name if port == 80 else f"{name}:{port}").encode()))
        if body or method in ("POST", "PUT", "PATCH"):
            own.append((b"content-length", str(len(body)).encode()))
        own.append((b"connection", b"close"))
        try:
            request = h11.Request(method=method, target=path, headers=own + encoded(headers))
            unsent = bytearray(http.send(request) or b"")
            if body:
                unsent += http.send(h11.Data(data=body)) or b""
            unsent += http.send(h11.EndOfMessage()) or b""
        except h11.LocalProtocolError as error:
            raise ValueError(f"no HTTP request: {error}") from None
        exchange = HttpExchange(method, host, port, path, now)
        connection = self._tcp.connect((host, port), self, now)
        exchange.local_port = connection.local_port
        self._transfers[connection] = _Transfer(exchange, http, unsent)
        self._timers.set(connection, now + timeout)
        return exchange

    # An application on a host

    def attach(self, tcp: TcpStack) -> None:
        self._tcp = tcp

    def handle_stream(self, connection: Connection, event: StreamEvent, now: float) -> None:
        transfer = self._transfers.get(connection)
        if transfer is None:
            connection.read()  # behind the end of an answer
            return
        exchange = transfer.exchange
        if event is StreamEvent.CONNECTED:
            exchange.connected_at, exchange.state = now, Phase.WAITING
            self._flush(connection, transfer)
        elif event is StreamEvent.WRITABLE:
            self._flush(connection, transfer)
        elif event is StreamEvent.CLOSED:
            reason = _FAILURES.get(connection.error, Failure.PROTOCOL)
            self._fail(connection, reason, "closed early", now)
        else:
            self._receive(connection, transfer, now)

    def handle_timeout(self, now: float) -> None:
        while (connection := self._timers.pop_due(now)) is not None:
            self._fail(connection, Failure.TIMEOUT, "no answer in time", now)

    def poll_timeout(self) -> float:
        return self._timers.next()

    def poll_event(self) -> ExchangeEnded | None:
        return self._events.popleft() if self._events else None

    # The answer

    def _receive(self, connection: Connection, transfer: _Transfer, now: float) -> None:
        exchange, http = transfer.exchange, transfer.http
        data = connection.read()
        if data and exchange.first_byte_at is None:
            exchange.first_byte_at, exchange.state = now, Phase.RECEIVING
        try:
            if data:
                http.receive_data(data)
            if connection.at_end:
                http.receive_data(b"")
            while (event := http.next_event()) is not h11.NEED_DATA:
                if self._took(exchange, event):
                    self._end(connection, Phase.DONE, now)
                    connection.close()
                    return
                if len(exchange.body) > self.max_body:
                    self._fail(
                        connection, Failure.PROTOCOL, f"a body of more than {self.max_body} bytes", now
                    )
                    return
        except h11.RemoteProtocolError as error:
            self._fail(connection, Failure.PROTOCOL, str(error), now)

    def _took(self, exchange: HttpExchange, event: Any) -> bool:
        """True at the end of the answer."""
        if isinstance(event, h11.Response):
            exchange.status = event.status_code
            exchange.headers = decoded(list(event.headers))
        elif isinstance(event, h11.Data):
            exchange.body += event.data
        return isinstance(event, h11.EndOfMessage)

    def _flush(self, connection: Connection, transfer: _Transfer) -> None:
        del transfer.unsent[: connection.write(transfer.unsent)]

    def _fail(self, connection: Connection, reason: Failure, detail: str, now: float) -> None:
        exchange = self._end(connection, Phase.FAILED, now)
        exchange.reason, exchange.detail = reason, detail
        connection.abort()

    def _end(self, connection: Connection, state: Phase, now: float) -> HttpExchange:
        exchange = self._transfers.pop(connection).exchange
        self._timers.cancel(connection)
        exchange.state, exchange.ended_at = state, now
        self._events.append(ExchangeEnded(exchange))
        return exchange
