"""A directory server on a simulated host: decides and audits by source address, and pushes policy to its clients.

Every NAT on the way would break it as it breaks the real ones: clients behind one address have one role, the audit
names the wrong machine, and a push goes nowhere.
"""

from __future__ import annotations

import hmac
from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from edge.proto.types import BadPacket
from scenarios.proto.app import Endpoint
from scenarios.proto.directory_message import (
    REQUESTS,
    Kind,
    Message,
    Verdict,
    encode,
    message_untrusted,
    proof,
    version_untrusted,
)
from scenarios.proto.timer_queue import TimerQueue

DIRECTORY_PORT = 10389  # not 389: what is spoken there is not LDAP
AGENT_PORT = 10123
PUSH_PORT = 10122
"""Policy goes out from here: a flow of its own, that the server began, and no late answer to a bind."""

AUDITED = 10_000
MAX_SESSIONS = 4096
MAX_CLIENTS = 4096
MAX_NAMES = 4096
SESSION_LIFETIME = 3600.0
FIRST_RETRY = 1.0
MAX_ATTEMPTS = 5

USUAL_ROLES: Mapping[str, Collection[Kind]] = {
    "reader": (Kind.SEARCH,),
    "admin": (Kind.SEARCH, Kind.MODIFY),
}


class AuditEntry(NamedTuple):
    """One request. `source` is what the packet said on arrival; `user` is empty if nobody was bound."""

    at: float
    source: Endpoint
    user: str
    request: Kind
    verdict: Verdict


class DeliveryState(StrEnum):
    PENDING = "pending"
    APPLIED = "applied"
    UNREACHABLE = "unreachable"  # no acknowledgement of any attempt
    SUPERSEDED = "superseded"  # a newer version went out first


@dataclass(slots=True)
class Delivery:
    """One version of the policy on its way to one client address."""

    client: str
    version: int
    ident: int
    started_at: float
    state: DeliveryState = DeliveryState.PENDING
    attempts: int = 0
    applied_at: float | None = None


class PolicyDelivered(NamedTuple):
    """A delivery ended, well or not: see its state."""

    delivery: Delivery
    at: float


class _Session(NamedTuple):
    user: str
    until: float


class DirectoryServer:
    """An application (`host.App`) on UDP port 10389, and PUSH_PORT for what it begins itself.

    `allow`: source prefix -> role, the longest prefix decides; `roles`: what each may do once it is bound;
    `users`: passwords; `clients`: addresses that get the policy before they have ever bound, at `agent_port`. Who has
    bound gets it at the port that the bind came from.
    Raises ValueError for a prefix, an address or a role that there is not, and for texts that fit no datagram.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str],
        allow: Mapping[str, str],
        roles: Mapping[str, Collection[Kind]] = USUAL_ROLES,
        names: Mapping[str, str] | None = None,
        clients: Iterable[str] = (),
        port: int = DIRECTORY_PORT,
        agent_port: int = AGENT_PORT,
    ) -> None:
        self.port = port
        self.names = dict(names or {})
        self.version = 0
        """Of the policy; 0 is none yet."""
        self.audit: deque[AuditEntry] = deque(maxlen=AUDITED)
        """The last requests; a retransmission is a request of its own."""
        self.verdicts: Counter[Verdict] = Counter()
        self.dropped: Counter[str] = Counter()
        """Datagrams that are no requests, by reason."""
        self.deliveries: dict[str, Delivery] = {}
        """The last one to each client address, in the order of their first."""
        self._users = dict(users)
        self._roles = {role: frozenset(may) for role, may in roles.items()}
        prefixes = [(ip_network(prefix), role) for prefix, role in allow.items()]
        self._allow = sorted(prefixes, key=lambda entry: entry[0].prefixlen, reverse=True)
        for _, role in self._allow:
            if role not in self._roles:
                raise ValueError(f"there is no role {role!r}: {', '.join(self._roles)}")
        for text in (*self.names.values(), *self._roles):
            encode(Message(Kind.RESULT, 0, (Verdict.OK, text)))  # can it be said?
        self._clients = dict.fromkeys((str(ip_address(client)) for client in clients), agent_port)
        self._policy = ""
        self._ident = 0
        self._sessions: OrderedDict[Endpoint, _Session] = OrderedDict()
        self._timers: TimerQueue[str] = TimerQueue()
        self._out: list[tuple[int, Endpoint, bytes]] = []
        self._events: deque[AuditEntry | PolicyDelivered] = deque(maxlen=AUDITED)

    # What its administrator does

    @property
    def clients(self) -> list[str]:
        """Addresses that get the policy, in the order in which they became known."""
        return list(self._clients)

    def push(self, policy: str, now: float, version: int | None = None) -> int:
        """Send a new version to all clients; returns its number, which is the next one if none is given.

        Raises ValueError if it does not fit a datagram, or is older than the present one.
        """
        number = self.version + 1 if version is None else version
        if number < self.version:
            raise ValueError(f"the policy is at version {self.version}, after {number}")
        encode(Message(Kind.POLICY, 0, (str(number), policy)))
        self.version = number
        self._policy = policy
        for client in self._clients:
            self._deliver(client, now)
        return self.version

    def role_of(self, address: str) -> str | None:
        """The role that the list gives to a source address."""
        ip = ip_address(address)
        return next((role for prefix, role in self._allow if ip in prefix), None)

    # An application on a host

    def wants(self, port: int) -> bool:
        return port in (self.port, PUSH_PORT)

    def handle_datagram(self, local_port: int, source: Endpoint, data: bytes, now: float) -> None:
        try:
            message = message_untrusted(data)
            if message.kind is Kind.APPLIED:
                self._applied(message, source, now)
                return
        except BadPacket as bad:
            self.dropped[bad.reason] += 1
            return
        if message.kind not in REQUESTS or local_port != self.port:
            self.dropped["unexpected"] += 1
            return
        session = self._session(source, now)
        verdict, text = self._judge(message, source, session, now)
        user = message.texts[0] if message.kind is Kind.BIND else session.user if session else ""
        entry = AuditEntry(now, source, user[:64], message.kind, verdict)
        self.audit.append(entry)
        self._events.append(entry)
        self.verdicts[verdict] += 1
        self._out.append((self.port, source, encode(Message(Kind.RESULT, message.ident, (verdict, text)))))
        if message.kind is Kind.BIND and verdict is Verdict.OK:
            self._know(source, now)

    def handle_timeout(self, now: float) -> None:
        while (client := self._timers.pop_due(now)) is not None:
            delivery = self.deliveries[client]
            if delivery.attempts < MAX_ATTEMPTS:
                self._attempt(delivery, now)
            else:
                self._end(delivery, DeliveryState.UNREACHABLE, now)

    def poll_timeout(self) -> float:
        return self._timers.next()

    def poll_transmit(self) -> list[tuple[int, Endpoint, bytes]]:
        out, self._out = self._out, []
        return out

    def poll_event(self) -> AuditEntry | PolicyDelivered | None:
        return self._events.popleft() if self._events else None

    # Requests

    def _judge(
        self, message: Message, source: Endpoint, session: _Session | None, now: float
    ) -> tuple[Verdict, str]:
        role = self.role_of(source[0])
        if role is None:
            return Verdict.REFUSED, ""
        if message.kind is Kind.BIND:
            return self._bind(message, source, now), role
        if session is None:
            return Verdict.NOT_BOUND, ""
        if message.kind not in self._roles[role]:
            return Verdict.FORBIDDEN, ""
        name = message.texts[0]
        if message.kind is Kind.SEARCH:
            found = self.names.get(name)
            return (Verdict.NO_SUCH_NAME, "") if found is None else (Verdict.OK, found)
        if name not in self.names and len(self.names) >= MAX_NAMES:
            return Verdict.FULL, ""
        self.names[name] = message.texts[1]
        return Verdict.OK, ""

    def _bind(self, message: Message, source: Endpoint, now: float) -> Verdict:
        user, nonce, given = message.texts
        password = self._users.get(user)
        right = password is not None and hmac.compare_digest(
            proof(password, nonce, user).encode(), given.encode()
        )
        if not right:
            return Verdict.BAD_CREDENTIALS
        self._sessions[source] = _Session(user, now + SESSION_LIFETIME)
        self._sessions.move_to_end(source)
        if len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return Verdict.OK

    def _session(self, source: Endpoint, now: float) -> _Session | None:
        session = self._sessions.get(source)
        return session if session is not None and now < session.until else None

    # Policy

    def _know(self, source: Endpoint, now: float) -> None:
        """A client has bound: from now on it gets the policy, and the current one unless it has that."""
        client, port = source
        if client not in self._clients and len(self._clients) >= MAX_CLIENTS:
            self.dropped["too_many_clients"] += 1
            return
        self._clients[client] = port
        last = self.deliveries.get(client)
        if self.version and (last is None or last.state is DeliveryState.UNREACHABLE):
            self._deliver(client, now)

    def _deliver(self, client: str, now: float) -> None:
        last = self.deliveries.get(client)
        if last is not None and last.state is DeliveryState.PENDING:
            self._end(last, DeliveryState.SUPERSEDED, now)
        self._ident = self._ident + 1 & 0xFFFFFFFF
        self.deliveries[client] = Delivery(client, self.version, self._ident, now)
        self._attempt(self.deliveries[client], now)

    def _attempt(self, delivery: Delivery, now: float) -> None:
        wait = FIRST_RETRY * 2**delivery.attempts
        delivery.attempts += 1
        self._timers.set(delivery.client, now + wait)
        message = Message(Kind.POLICY, delivery.ident, (str(delivery.version), self._policy))
        self._out.append((PUSH_PORT, (delivery.client, self._clients[delivery.client]), encode(message)))

    def _applied(self, message: Message, source: Endpoint, now: float) -> None:
        version = version_untrusted(message.texts[0])
        delivery = self.deliveries.get(source[0])
        if (
            delivery is None
            or delivery.state is not DeliveryState.PENDING
            or source[1] != self._clients[source[0]]
            or (message.ident, version) != (delivery.ident, delivery.version)
        ):
            self.dropped["unexpected"] += 1
            return
        delivery.applied_at = now
        self._end(delivery, DeliveryState.APPLIED, now)

    def _end(self, delivery: Delivery, state: DeliveryState, now: float) -> None:
        delivery.state = state
        self._timers.cancel(delivery.client)
        self._events.append(PolicyDelivered(delivery, now))
