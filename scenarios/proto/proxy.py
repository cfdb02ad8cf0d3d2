"""A stateful proxy without forking (RFC 3261 section 16) that remembers the calls it has set up.

Only requests of a known call are relayed without credentials, so that nobody can use the proxy as a relay by
making up a Route.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from edge.proto.types import Address
from scenarios.proto.dialog import MAX_FORWARDS
from scenarios.proto.sip import Request, Response, printable
from scenarios.proto.sip_uri import NameAddr, Uri, Via
from scenarios.proto.timer_queue import TimerQueue
from scenarios.proto.transaction import State, Transaction
from scenarios.proto.transaction_layer import TransactionLayer

TIMER_C = 185.0  # must be larger than 3 minutes (section 16.6 step 11)
MAX_CALLS = 1024
MAX_FORKS = 16
MAX_CALL_AGE = 14_400.0  # a call without a BYE is forgotten after this, if its place is needed


@dataclass(slots=True, eq=False)
class ProxiedCall:
    """A call between two users, as the proxy between them sees it."""

    id: str
    caller: str
    callee: str
    caller_tag: str
    started_at: float
    callee_tag: str = ""
    answered_at: float | None = None
    answered: set[str] = field(default_factory=set)  # tags of the 2xx: more than one if a callee forks

    def has_dialog(self, tags: set[str]) -> bool:
        return any(tags == {self.caller_tag, tag} for tag in (self.callee_tag, *self.answered))


@dataclass(frozen=True, slots=True)
class CallStarted:
    id: str
    caller: str
    callee: str
    at: float


@dataclass(frozen=True, slots=True)
class CallAnswered:
    id: str
    caller: str
    callee: str
    at: float


@dataclass(frozen=True, slots=True)
class CallEnded:
    """`status` is the failure that ended the INVITE; None after a BYE."""

    id: str
    caller: str
    callee: str
    at: float
    status: int | None = None


ProxyEvent: TypeAlias = CallStarted | CallAnswered | CallEnded


@dataclass(slots=True, eq=False)
class Forwarding:
    """One request on its way: the transaction that it came in, and the one that it went out in."""

    server: Transaction
    call: ProxiedCall | None
    client: Transaction | None = None
    cancelled: bool = False
    cancel_sent: bool = False


class Proxy:
    """`locate` says where the owner of a registered contact was seen; None sends to the address in the URI."""

    def __init__(
        self, layer: TransactionLayer, locate: Callable[[Uri], Address | None], *, max_calls: int = MAX_CALLS
    ) -> None:
        host = f"[{layer.address[0]}]" if ":" in layer.address[0] else layer.address[0]
        self.route = Uri(host, port=layer.address[1], params=(("lr", None),))
        self.events: deque[ProxyEvent] = deque(maxlen=10_000)
        self.calls: dict[tuple[str, str], ProxiedCall] = {}  # by Call-ID and caller's tag
        self._layer = layer
        self._locate = locate
        self._max_calls = max_calls
        self.timers: TimerQueue[Forwarding] = TimerQueue()

    # Requests

    def refusal(self, request: Request) -> int:
        """What is wrong with a request that is to be relayed (section 16.3); 0 if nothing."""
        if not request.uri.is_sip:
            return 416
        if request.max_forwards == 0:
            return 483
        mark = self._mark(request)
        if any(via.sent_by == self._layer.address and via.branch.endswith(mark) for via in request.vias):
            return 482
        return 420 if request.tokens("Proxy-Require") else 0

    @staticmethod
    def _mark(request: Request) -> str:
        """The part of our branch by which a loop is told from a spiral (section 16.6 step 8)."""
        parts = (str(request.uri), request.from_.tag, request.to.tag, request.call_id, str(request.cseq))
        return "." + hashlib.blake2b("\0".join(parts).encode(), digest_size=6).hexdigest()

    def known(self, request: Request) -> ProxiedCall | None:
        """The call that a request inside a dialog belongs to: both tags must be those of its two ends."""
        tags = {request.from_.tag, request.to.tag}
        for tag in (request.from_.tag, request.to.tag):
            call = self.calls.get((request.call_id, tag))
            if call is not None and call.has_dialog(tags):
                return call
        return None

    def invite(self, request: Request, target: Uri, peer: Address, callee: str, now: float) -> bool:
        """Set up a call to the contact `target` at `peer`. False if there is no room for it."""
        caller = request.from_.uri.username
        key = (request.call_id, request.from_.tag)
        if key not in self.calls and len(self.calls) >= self._max_calls and not self._forget(now):
            return False
        server = self._layer.accept(request, now)
        if server is None:
            return True  # dropped; the caller sends it again
        call = ProxiedCall(request.call_id, printable(caller), callee, request.from_.tag, now)
        self.calls[key] = call
        self.events.append(CallStarted(call.id, call.caller, call.callee, now))
        self._layer.respond(server, request.reply(100), now)
        # A preloaded route ends here: where a user is, we know better.
        self._forward(Forwarding(server, call), replace(request, routes=[]), target, peer, now)
        return True

    def _forget(self, now: float) -> bool:
        """Make room: drop the oldest call if it is so old that its BYE must have been lost."""
        key, call = next(iter(self.calls.items()))
        if now - call.started_at < MAX_CALL_AGE:
            return False
        del self.calls[key]
        return True

    def relay(
        self, request: Request, now: float, *, call: ProxiedCall | None, target: Uri | None = None
    ) -> None:
        """Pass on a request inside a dialog, or one outside any to a contact; an ACK without a transaction."""
        request = self._routed(request) if target is None else replace(request, routes=[])
        uri = target or request.uri
        next_hop = request.routes[0].uri if request.routes else uri
        peer = self._locate(next_hop) or next_hop.numeric_address
        if peer is None or peer == self._layer.address:
            if request.method != "ACK":
                self._layer.reply(request, request.reply(404))
            return
        if request.method == "ACK":
            self._layer.send(self._outgoing(request, uri, self._layer.via()), peer)
            return
        server = self._layer.accept(request, now)
        if server is not None:
            self._forward(Forwarding(server, call), request, uri, peer, now)

    def _routed(self, request: Request) -> Request:
        """Take ourselves out of the route (section 16.4)."""
        uri, routes = request.uri, list(request.routes)
        if routes and not uri.user and uri.loose_router and uri.address == self._layer.address:
            uri = routes.pop().uri  # from a strict router: the target was put at the end
        if routes and routes[0].uri.address == self._layer.address:
            del routes[0]
        return replace(request, uri=uri, routes=routes)

    def _outgoing(self, request: Request, target: Uri, *vias: Via) -> Request:
        forwards = MAX_FORWARDS if request.max_forwards is None else request.max_forwards
        routes = list(request.routes)
        if routes and not routes[0].uri.loose_router:
            # The next hop is a strict router: it goes into the Request-URI, the target to the end (16.6 step 6).
            target, routes = routes[0].uri, [*routes[1:], NameAddr(target)]
        return replace(
            request,
            uri=replace(target, headers=""),
            vias=[*vias, *request.vias],
            routes=routes,
            max_forwards=max(0, forwards - 1),
            # Credentials for us are no business of the next hop.
            extra=[(name, value) for name, value in request.extra if name.lower() != "proxy-authorization"],
        )

    def _forward(
        self, forwarding: Forwarding, request: Request, target: Uri, peer: Address, now: float
    ) -> None:
        outgoing = self._outgoing(request, target)
        if request.method == "INVITE":
            outgoing.record_routes = [NameAddr(self.route), *request.record_routes]
            self.timers.set(forwarding, now + TIMER_C)
        forwarding.server.owner = forwarding
        forwarding.client = self._layer.request(
            outgoing, peer, now, owner=forwarding, mark=self._mark(request)
        )

    def cancel(self, cancel: Request, forwarding: Forwarding, now: float) -> None:
        """A CANCEL is answered here and sent anew on our side (section 16.10)."""
        own = self._layer.accept(cancel, now)
        if own is not None:
            self._layer.respond(own, cancel.reply(200, tag=self._layer.token()), now)
        self._cancel(forwarding, now)

    def _cancel(self, forwarding: Forwarding, now: float) -> None:
        forwarding.cancelled = True
        client = forwarding.client
        if client is not None and client.state is State.PROCEEDING and not forwarding.cancel_sent:
            forwarding.cancel_sent = True
            self._layer.cancel(client, now)
            self.timers.cancel(forwarding)  # from here the transaction has a limit of its own

    # Responses

    def handle_response(self, forwarding: Forwarding, response: Response, now: float) -> None:
        if response.status == 100:
            if forwarding.cancelled:
                self._cancel(forwarding, now)
            return
        if len(response.vias) < 2:  # not meant for anyone behind us (section 16.7 step 3)
            if response.status >= 200:
                self._fail(forwarding, 502, now)
            return
        response.vias.pop(0)
        if response.status < 200:
            self.timers.set(forwarding, now + TIMER_C)
            if forwarding.cancelled:
                self._cancel(forwarding, now)
        else:
            self.timers.cancel(forwarding)
        self._note(forwarding, response, now)
        if response.status == 503:  # our next hop is overloaded, we are not (section 16.7 step 6)
            response.status, response.reason = 500, "Server Internal Error"
        self._layer.respond(forwarding.server, response, now)

    def _note(self, forwarding: Forwarding, response: Response, now: float) -> None:
        call, request = forwarding.call, forwarding.server.request
        if call is None:
            return
        if response.method == "BYE" and (response.status < 300 or response.status in (408, 481)):
            call.answered -= {request.from_.tag, request.to.tag}
            if not call.answered:
                self._over(call, now, None)
        if response.method != "INVITE" or request.to.tag:
            return
        if response.status >= 300:
            self._over(call, now, response.status)
        elif response.to.tag:
            call.callee_tag = response.to.tag
            if response.status >= 200:
                self._answered(call, response.to.tag, now)

    def _answered(self, call: ProxiedCall, tag: str, now: float) -> None:
        if len(call.answered) < MAX_FORKS:
            call.answered.add(tag)
        if call.answered_at is None:
            call.answered_at = now
            self.events.append(CallAnswered(call.id, call.caller, call.callee, now))

    def _over(self, call: ProxiedCall, now: float, status: int | None) -> None:
        if self.calls.get((call.id, call.caller_tag)) is call:
            del self.calls[call.id, call.caller_tag]
            self.events.append(CallEnded(call.id, call.caller, call.callee, now, status))

    def handle_timed_out(self, forwarding: Forwarding, transaction: Transaction, now: float) -> None:
        """The next hop said nothing (section 16.9)."""
        if transaction is forwarding.client:
            self._fail(forwarding, 408, now)

    def _fail(self, forwarding: Forwarding, status: int, now: float) -> None:
        self.timers.cancel(forwarding)
        request = forwarding.server.request
        reply = request.reply(status, tag=self._layer.token())
        if self._layer.respond(forwarding.server, reply, now):
            self._note(forwarding, reply, now)

    # Time

    def handle_timeout(self, now: float) -> None:
        while (forwarding := self.timers.pop_due(now)) is not None:
            client = forwarding.client
            if client is not None and client.state is State.PROCEEDING and not forwarding.cancel_sent:
                self._cancel(forwarding, now)  # timer C; the 487 (or its absence) answers the caller
            else:
                self._fail(forwarding, 408, now)
