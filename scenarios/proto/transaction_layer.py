"""Between datagrams and the transaction user: parsing, matching (RFC 3261 sections 17.1.3 and 17.2.3), timers.

A new request makes no state by itself: the user sees it first and either answers it statelessly (what every stranger
gets) or opens a server transaction for it.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TypeAlias

from edge.proto.types import Address, BadPacket, DropReason
from scenarios.proto.digest import Rng
from scenarios.proto.sip import (
    MAGIC_COOKIE,
    Message,
    Request,
    Response,
    is_keepalive,
    message_untrusted,
)
from scenarios.proto.sip_uri import SIP_PORT, Via
from scenarios.proto.timer_queue import TimerQueue
from scenarios.proto.transaction import Do, Kind, On, State, Transaction

MAX_TRANSACTIONS = 4096


@dataclass(frozen=True, slots=True)
class RequestIn:
    """A request that belongs to no transaction: a new one, or an ACK of a 2xx. `source` is as seen on the wire."""

    request: Request
    source: Address


@dataclass(frozen=True, slots=True)
class ResponseIn:
    transaction: Transaction
    response: Response


@dataclass(frozen=True, slots=True)
class TimedOut:
    """No final response came (client, timers B and F), or no ACK of a failure (server, timer H)."""

    transaction: Transaction


TransactionEvent: TypeAlias = RequestIn | ResponseIn | TimedOut


def reply_address(via: Via) -> Address:
    """Where responses go (RFC 3261 section 18.2.2, RFC 3581): the source as seen; maddr is not followed."""
    host, rport = via.param("received") or via.sent_by[0], via.param("rport")
    return host.strip("[]"), int(rport) if rport else via.port or SIP_PORT


def server_key(request: Request) -> tuple[str, ...]:
    via = request.vias[0]
    method = "INVITE" if request.method == "ACK" else request.method
    if via.branch.startswith(MAGIC_COOKIE) and len(via.branch) > len(MAGIC_COOKIE):
        return (via.branch.lower(), *map(str, via.sent_by), method)
    # RFC 2543 peers: compare what identifies the request (section 17.2.3); an ACK has another To tag, so To is out.
    return (str(request.uri), request.from_.tag, request.call_id, str(request.cseq), str(via.sent_by), method)


class TransactionLayer:
    """All transactions of one SIP entity on one UDP port."""

    def __init__(self, address: Address, rng: Rng, *, capacity: int = MAX_TRANSACTIONS) -> None:
        self.address = (address[0].lower(), address[1])
        self.dropped: Counter[DropReason] = Counter()
        self._rng = rng
        self._capacity = capacity
        self._clients: dict[tuple[str, ...], Transaction] = {}
        self._servers: dict[tuple[str, ...], Transaction] = {}
        self.timers: TimerQueue[tuple[Transaction, str]] = TimerQueue()
        self._out: list[tuple[Address, bytes]] = []
        self._events: deque[TransactionEvent] = deque()

    @property
    def open(self) -> int:
        """Transactions held now."""
        return len(self._clients) + len(self._servers)

    def token(self) -> str:
        """A fresh tag, branch or Call-ID part: 64 random bits."""
        return f"{self._rng.getrandbits(64):016x}"

    # Datagrams

    def receive(self, source: Address, data: bytes, now: float) -> None:
        if is_keepalive(data):
            return
        try:
            message = message_untrusted(data)
        except BadPacket as bad:
            self.dropped[bad.reason] += 1
            return
        if isinstance(message, Request):
            message.vias[0] = message.vias[0].seen_from(source)
            self._receive_request(message, source, now)
        else:
            self._receive_response(message, now)

    def _receive_request(self, request: Request, source: Address, now: float) -> None:
        transaction = self._servers.get(server_key(request))
        if transaction is None or (request.method == "ACK" and transaction.state is State.ACCEPTED):
            self._events.append(RequestIn(request, source))
            return
        do = transaction.happens(On.ACK if request.method == "ACK" else On.REQUEST, now)
        self._perform(transaction, do or (), None, now)

    def _receive_response(self, response: Response, now: float) -> None:
        via = response.vias[0]
        transaction = self._clients.get((via.branch, response.method))
        # A response whose top Via is not ours was not meant for us (section 18.1.2).
        if transaction is None or via.sent_by != self.address:
            self.dropped[DropReason.UNKNOWN_SESSION] += 1
            return
        if response.status >= 300 and transaction.kind is Kind.INVITE_CLIENT:
            transaction.ack = self._failure_ack(transaction.request, response).encode()
        do = transaction.happens(On.status(response.status), now)
        self._perform(transaction, do or (), response, now)

    def poll_transmit(self) -> list[tuple[Address, bytes]]:
        out = self._out
        if not out:
            return []
        self._out = []
        return out

    def poll_event(self) -> TransactionEvent | None:
        return self._events.popleft() if self._events else None

    # Client side

    def request(
        self, request: Request, peer: Address, now: float, *, owner: object = None, mark: str = ""
    ) -> Transaction:
        """Send a request in a new client transaction; `mark` becomes part of the branch (loop detection)."""
        request.vias.insert(0, self.via(mark))
        return self._start_client(request, peer, now, owner)

    def via(self, mark: str = "") -> Via:
        host = f"[{self.address[0]}]" if ":" in self.address[0] else self.address[0]
        return Via(
            host, self.address[1], (("branch", f"{MAGIC_COOKIE}{self.token()}{mark}"), ("rport", None))
        )

    def cancel(self, transaction: Transaction, now: float, *, owner: object = None) -> Transaction:
        """Send a CANCEL for a pending INVITE (section 9.1: same Request-URI, top Via, Route, CSeq number)."""
        cancel = _hop_request(transaction.request, "CANCEL")
        cancel.max_forwards = 70
        self.limit(transaction, now)  # a peer that knows no CANCEL never sends the 487
        return self._start_client(cancel, transaction.peer, now, owner)

    def limit(self, transaction: Transaction, now: float) -> None:
        """Give a pending INVITE 64*T1 for its final response, then time out: by itself it would stay for ever."""
        transaction.limit(now)
        self._perform(transaction, (), None, now)

    def _start_client(self, request: Request, peer: Address, now: float, owner: object) -> Transaction:
        kind = Kind.INVITE_CLIENT if request.method == "INVITE" else Kind.CLIENT
        key = (request.vias[0].branch, request.method)
        transaction = Transaction(kind, key, request, peer, owner, wire=request.encode())
        if len(self._clients) >= self._capacity:
            self.dropped[DropReason.QUEUE_FULL] += 1
            self._events.append(TimedOut(transaction))
            return transaction
        self._clients[key] = transaction
        transaction.start(now)
        self._perform(transaction, (Do.SEND,), None, now)
        return transaction

    @staticmethod
    def _failure_ack(request: Request, response: Response) -> Request:
        ack = _hop_request(request, "ACK")  # section 17.1.1.3
        ack.to = response.to
        ack.max_forwards = 70
        return ack

    def send(self, message: Message, peer: Address) -> None:
        """Send outside any transaction: an ACK of a 2xx, a stateless response."""
        self._out.append((peer, message.encode()))

    # Server side

    def accept(self, request: Request, now: float, *, owner: object = None) -> Transaction | None:
        """Open a server transaction; None (and the request is dropped) if there are too many."""
        if len(self._servers) >= self._capacity:
            self.dropped[DropReason.QUEUE_FULL] += 1
            return None
        kind = Kind.INVITE_SERVER if request.method == "INVITE" else Kind.SERVER
        transaction = Transaction(kind, server_key(request), request, reply_address(request.vias[0]), owner)
        self._servers[transaction.key] = transaction
        transaction.start(now)
        return transaction

    def respond(self, transaction: Transaction, response: Response, now: float) -> bool:
        """Send a response; False if the transaction has already sent a final one."""
        do = transaction.happens(On.status(response.status), now)
        if do is None:
            return False
        transaction.wire = response.encode()
        self._perform(transaction, do, None, now)
        return True

    def reply(self, request: Request, response: Response) -> None:
        """Answer without keeping anything: a repeated request gets the same tag again (section 8.2.7)."""
        if not response.to.tag:
            same = (*server_key(request), request.from_.tag, request.call_id, str(request.cseq))
            digest = blake2b("\0".join(same).encode(), digest_size=8)
            response.to = response.to.with_param("tag", digest.hexdigest())
        self.send(response, reply_address(request.vias[0]))

    def cancelled(self, cancel: Request) -> Transaction | None:
        """The INVITE server transaction that a CANCEL is about (section 9.2)."""
        return self._servers.get(server_key(replace(cancel, method="INVITE")))

    # Time

    def poll_timeout(self) -> float:
        return self.timers.next()

    def handle_timeout(self, now: float) -> None:
        while (due := self.timers.pop_due(now)) is not None:
            transaction, letter = due
            self._perform(transaction, transaction.expire(letter, now), None, now)

    def _perform(
        self, transaction: Transaction, do: tuple[Do, ...], response: Response | None, now: float
    ) -> None:
        for action in do:
            if action is Do.SEND and transaction.wire:
                self._out.append((transaction.peer, transaction.wire))
            elif action is Do.ACK:
                self._out.append((transaction.peer, transaction.ack))
            elif action is Do.UP and response is not None:
                self._events.append(ResponseIn(transaction, response))
            elif action is Do.TIMED_OUT:
                self._events.append(TimedOut(transaction))
        for letter in transaction.stopped():
            self.timers.cancel((transaction, letter))
        if transaction.state is State.TERMINATED:
            table = self._clients if transaction.is_client else self._servers
            table.pop(transaction.key, None)
            return
        for letter, at in transaction.deadlines.items():
            self.timers.set((transaction, letter), at)


def _hop_request(request: Request, method: str) -> Request:
    """A CANCEL or ACK that follows the path of `request` for one hop."""
    return Request(
        uri=request.uri,
        vias=request.vias[:1],
        from_=request.from_,
        to=request.to,
        call_id=request.call_id,
        cseq=request.cseq,
        method=method,
        routes=list(request.routes),
        extra=[(name, value) for name, value in request.extra if name.endswith("Authorization")],
    )
