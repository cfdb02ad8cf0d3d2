"""Webhooks: events posted as JSON to those who asked for them, until they are taken; signed if there is a secret."""

from __future__ import annotations

import hashlib
import hmac
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from edge.proto.types import NEVER
from scenarios.proto.app import Endpoint
from scenarios.proto.http import HttpRequest, HttpResponse
from scenarios.proto.http_client import HttpClient, HttpExchange
from scenarios.proto.http_server import Handler, HttpServer, ServerLimits
from scenarios.proto.tcp import TcpStack
from scenarios.proto.timer_queue import TimerQueue

SIGNATURE = "X-Hub-Signature-256"
DELIVERY = "X-Delivery-Id"
"""The same at every attempt: a receiver whose answer was lost gets an event twice, and can tell."""

UNSIGNED = HttpResponse(401, b"bad signature\n")

KEPT = 1000
_AGAIN = (408, 425, 429)
"""Of the client errors, those that time may cure (RFC 9110 15.5.9, RFC 8470, RFC 6585)."""


class Target(NamedTuple):
    """Where to post: an IP address, a port and a path."""

    host: str
    port: int
    path: str


@dataclass(frozen=True, slots=True)
class Retries:
    """Attempt n + 1 follows `first` x `factor` ** (n - 1) seconds after attempt n has failed, at most `longest`."""

    attempts: int = 5
    first: float = 1.0
    factor: float = 2.0
    longest: float = 60.0
    timeout: float = 10.0

    def pause(self, attempt: int) -> float:
        """Seconds between the failure of `attempt` (1, 2, ...) and the next."""
        return min(self.first * self.factor ** min(attempt - 1, 64), self.longest)


@dataclass(slots=True, eq=False)
class Delivery:
    """One event for one target. It is delivered, given up, or still on its way."""

    target: Target
    ident: str
    body: bytes = field(repr=False)
    posted_at: float
    attempts: int = 0
    status: int | None = None
    """Of the last answer."""
    reason: str = ""
    """Why the last attempt failed: a word of `http_client.Failure`, or the status."""
    delivered_at: float | None = None
    given_up_at: float | None = None
    next_at: float = NEVER
    secret: bytes | None = field(default=None, repr=False)

    @property
    def delivered(self) -> bool:
        return self.delivered_at is not None

    @property
    def ended(self) -> bool:
        return self.delivered or self.given_up_at is not None


class DeliveryEnded(NamedTuple):
    """A delivery was taken, or given up."""

    delivery: Delivery


def signature(secret: bytes, body: bytes) -> str:
    """The value of the header: HMAC-SHA256 of the body."""
    return "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()


def is_signed(secret: bytes, request: HttpRequest) -> bool:
    """Whether who sent `request` knows the secret."""
    given = (request.header(SIGNATURE) or "").encode("latin-1")
    return hmac.compare_digest(given, signature(secret, request.body).encode())


def signed_posts(secret: bytes) -> Handler:
    """A handler that lets no POST through to the routes that is not signed."""

    def handler(request: HttpRequest) -> HttpResponse | None:
        if request.method == "POST" and not is_signed(secret, request):
            return UNSIGNED
        return None

    return handler


class WebhookSender:
    """An application (`host.StreamApp`). Events are `DeliveryEnded`."""

    def __init__(
        self,
        targets: Iterable[tuple[str, int, str]] = (),
        *,
        secret: bytes | None = None,
        retries: Retries | None = None,
        max_waiting: int = 1000,
        name: str = "",
    ) -> None:
        """`name` tells the deliveries of several senders on one host apart."""
        self.targets = [Target(*target) for target in targets]
        self.deliveries: deque[Delivery] = deque(maxlen=KEPT)
        self.max_waiting = max_waiting
        self._name = name
        self._secret = secret
        self._retries = retries or Retries()
        self._client = HttpClient()
        self._timers: TimerQueue[Delivery] = TimerQueue()
        self._asked: dict[HttpExchange, Delivery] = {}
        self._waiting = 0
        self._events: deque[DeliveryEnded] = deque()
        self._count = 0

    def post(
        self,
        event: object,
        now: float,
        *,
        targets: Iterable[tuple[str, int, str]] | None = None,
        secret: bytes | None = None,
    ) -> list[Delivery]:
        """Send `event`, anything that JSON can hold, to every target; TypeError if JSON cannot.

        `targets` and `secret` hold for this event, instead of the sender's.
        """
        body = msgspec.json.encode(event)
        self._count += 1
        ident = f"{self._name}{self._count}"
        whom = self.targets if targets is None else [Target(*target) for target in targets]
        made = [Delivery(target, ident, body, now, secret=secret or self._secret) for target in whom]
        self.deliveries.extend(made)
        for delivery in made:
            if self._waiting >= self.max_waiting:
                delivery.reason = "queue full"
                self._end(delivery, None, now)
            else:
                self._waiting += 1
                self._attempt(delivery, now)
        return made

    def give_up(self, delivery: Delivery, now: float) -> None:
        """Try no more; an attempt that is under way goes on, and nobody looks at what comes of it."""
        if not delivery.ended:
            self._timers.cancel(delivery)
            self._waiting -= 1
            delivery.next_at = NEVER
            self._end(delivery, None, now)

    # An application on a host

    def attach(self, tcp: TcpStack) -> None:
        self._client.attach(tcp)

    def handle_timeout(self, now: float) -> None:
        self._client.handle_timeout(now)
        while (delivery := self._timers.pop_due(now)) is not None:
            self._attempt(delivery, now)

    def poll_timeout(self) -> float:
        return min(self._timers.next(), self._client.poll_timeout())

    def poll_event(self) -> DeliveryEnded | None:
        while (ended := self._client.poll_event()) is not None:
            self._judge(ended.exchange)
        return self._events.popleft() if self._events else None

    # Attempts

    def _attempt(self, delivery: Delivery, now: float) -> None:
        delivery.attempts += 1
        delivery.next_at = NEVER
        headers = [("Content-Type", "application/json"), (DELIVERY, delivery.ident)]
        if delivery.secret is not None:
            headers.append((SIGNATURE, signature(delivery.secret, delivery.body)))
        target = delivery.target
        exchange = self._client.request(
            "POST",
            target.host,
            target.port,
            target.path,
            tuple(headers),
            delivery.body,
            now=now,
            timeout=self._retries.timeout,
        )
        self._asked[exchange] = delivery

    def _judge(self, exchange: HttpExchange) -> None:
        delivery = self._asked.pop(exchange)
        if delivery.ended:
            return  # given up meanwhile
        assert exchange.ended_at is not None
        now = exchange.ended_at
        delivery.status = exchange.status
        delivery.reason = "" if exchange.ok else str(exchange.reason or exchange.status)
        refused = (
            exchange.reason is None and 400 <= (exchange.status or 0) < 500 and exchange.status not in _AGAIN
        )
        if exchange.ok or refused or delivery.attempts >= self._retries.attempts:
            self._waiting -= 1
            self._end(delivery, now if exchange.ok else None, now)
        else:
            delivery.next_at = now + self._retries.pause(delivery.attempts)
            self._timers.set(delivery, delivery.next_at)

    def _end(self, delivery: Delivery, delivered_at: float | None, now: float) -> None:
        delivery.delivered_at = delivered_at
        delivery.given_up_at = now if delivered_at is None else None
        self._events.append(DeliveryEnded(delivery))


class Received(NamedTuple):
    """An event that a receiver has taken. `repeated` if it had this delivery before."""

    at: float
    source: Endpoint
    ident: str
    event: Any
    repeated: bool


class WebhookReceiver(HttpServer):
    """An HTTP server that takes events at `path`. With a secret, what is not signed with it is answered with 401."""

    def __init__(
        self,
        port: int = 80,
        path: str = "/",
        *,
        secret: bytes | None = None,
        limits: ServerLimits | None = None,
    ) -> None:
        super().__init__(port, handler=self._hook, limits=limits)
        self.path = path
        self.received: deque[Received] = deque(maxlen=KEPT)
        self._secret = secret
        self._known: dict[tuple[str, str], None] = {}

    def _hook(self, request: HttpRequest) -> HttpResponse | None:
        if request.path != self.path:
            return None
        if request.method != "POST":
            return HttpResponse(405, b"only POST\n", headers=(("Allow", "POST"),))
        if self._secret is not None and not is_signed(self._secret, request):
            return UNSIGNED
        try:
            event = msgspec.json.decode(request.body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return HttpResponse(400, b"no JSON\n")
        known = request.source[0], request.header(DELIVERY) or ""
        repeated = bool(known[1]) and known in self._known
        self._known[known] = None
        if len(self._known) > KEPT:
            del self._known[next(iter(self._known))]
        self.received.append(Received(request.at, request.source, known[1], event, repeated))
        return HttpResponse(204)
