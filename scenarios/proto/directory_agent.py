"""A directory's client on a simulated host: binds, searches, modifies, and applies policy that the server sends."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from edge.proto.types import BadPacket
from scenarios.proto.app import Endpoint
from scenarios.proto.directory_message import (
    Kind,
    Message,
    Verdict,
    encode,
    message_untrusted,
    proof,
    version_untrusted,
)
from scenarios.proto.directory_server import AGENT_PORT, PUSH_PORT
from scenarios.proto.timer_queue import TimerQueue

MAX_REQUESTS = 1000


class Rng(Protocol):
    """What is needed of a random.Random."""

    def getrandbits(self, k: int, /) -> int: ...


@dataclass(slots=True, eq=False)
class Request:
    """A request and what came of it. `verdict` stays None if it ended without an answer."""

    kind: Kind
    ident: int
    data: bytes
    started_at: float
    attempts: int = 0
    verdict: Verdict | None = None
    text: str = ""
    """The value that was searched; after a bind, the role."""
    took: float | None = None


class RequestEnded(NamedTuple):
    """The server answered, or no attempt brought an answer."""

    request: Request


class PolicyApplied(NamedTuple):
    """A newer version came from the server."""

    version: int
    text: str
    at: float


class DirectoryAgent:
    """An application (`host.App`). Believes one server, by address and port; policy comes from its PUSH_PORT.

    `timeout`: of the first attempt, in seconds; each further one waits twice as long.
    """

    def __init__(
        self,
        server: Endpoint,
        user: str,
        password: str,
        rng: Rng,
        *,
        port: int = AGENT_PORT,
        timeout: float = 1.0,
        attempts: int = 4,
    ) -> None:
        self.port = port
        self.policy_version = 0
        self.policy = ""
        self.bound = False
        self.dropped: Counter[str] = Counter()
        self._server = server
        self._user = user
        self._password = password
        self._rng = rng
        self._timeout = timeout
        self._attempts = attempts
        self._waiting: dict[int, Request] = {}
        self._timers: TimerQueue[int] = TimerQueue()
        self._out: list[tuple[int, Endpoint, bytes]] = []
        self._events: deque[RequestEnded | PolicyApplied] = deque(maxlen=2 * MAX_REQUESTS)

    # What its user does. Each raises ValueError if the texts do not fit a datagram, or too many requests wait.

    def bind(self, now: float) -> Request:
        """Say who we are. The server then knows our address: it is the one that the packet comes from."""
        nonce = f"{self._rng.getrandbits(128):032x}"
        return self._start(Kind.BIND, (self._user, nonce, proof(self._password, nonce, self._user)), now)

    def search(self, name: str, now: float) -> Request:
        return self._start(Kind.SEARCH, (name,), now)

    def modify(self, name: str, value: str, now: float) -> Request:
        return self._start(Kind.MODIFY, (name, value), now)

    # An application on a host

    def wants(self, port: int) -> bool:
        return port == self.port

    def handle_datagram(self, local_port: int, source: Endpoint, data: bytes, now: float) -> None:
        pushed = source == (self._server[0], PUSH_PORT)
        if source != self._server and not pushed:
            self.dropped["wrong_source"] += 1
            return
        try:
            message = message_untrusted(data)
            if pushed and message.kind is Kind.POLICY:
                self._apply(message, version_untrusted(message.texts[0]), source, now)
                return
        except BadPacket as bad:
            self.dropped[bad.reason] += 1
            return
        request = self._waiting.get(message.ident)
        if (
            pushed
            or message.kind is not Kind.RESULT
            or request is None
            or message.texts[0] not in set(Verdict)
        ):
            self.dropped["unexpected"] += 1
            return
        request.verdict, request.text = Verdict(message.texts[0]), message.texts[1]
        if request.kind is Kind.BIND:
            self.bound = request.verdict is Verdict.OK
        elif request.verdict is Verdict.NOT_BOUND:
            self.bound = False
        self._end(request, now)

    def handle_timeout(self, now: float) -> None:
        while (ident := self._timers.pop_due(now)) is not None:
            request = self._waiting[ident]
            if request.attempts < self._attempts:
                self._attempt(request, now)
            else:
                self._end(request, now)

    def poll_timeout(self) -> float:
        return self._timers.next()

    def poll_transmit(self) -> list[tuple[int, Endpoint, bytes]]:
        out, self._out = self._out, []
        return out

    def poll_event(self) -> RequestEnded | PolicyApplied | None:
        return self._events.popleft() if self._events else None

    def _start(self, kind: Kind, texts: tuple[str, ...], now: float) -> Request:
        if len(self._waiting) >= MAX_REQUESTS:
            raise ValueError(f"{MAX_REQUESTS} requests wait already")
        ident = self._rng.getrandbits(32)
        while ident in self._waiting:
            ident = self._rng.getrandbits(32)
        request = Request(kind, ident, encode(Message(kind, ident, texts)), now)
        self._waiting[ident] = request
        self._attempt(request, now)
        return request

    def _attempt(self, request: Request, now: float) -> None:
        self._timers.set(request.ident, now + self._timeout * 2**request.attempts)
        request.attempts += 1
        self._out.append((self.port, self._server, request.data))

    def _end(self, request: Request, now: float) -> None:
        request.took = now - request.started_at
        del self._waiting[request.ident]
        self._timers.cancel(request.ident)
        self._events.append(RequestEnded(request))

    def _apply(self, message: Message, version: int, server: Endpoint, now: float) -> None:
        """Acknowledged also if it is not newer: the first acknowledgement may have been lost."""
        if version > self.policy_version:
            self.policy_version, self.policy = version, message.texts[1]
            self._events.append(PolicyApplied(version, self.policy, now))
        acknowledgement = Message(Kind.APPLIED, message.ident, (str(version),))
        self._out.append((self.port, server, encode(acknowledgement)))
