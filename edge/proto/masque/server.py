"""The PoP's end of CONNECT-IP (RFC 9484): requests become sessions of tunnels, datagrams packets, and back.

Call order: ``handle`` with what the carriers tell, ``seal`` as packets are decided, ``poll_events``. Sending is the
carriers' business.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from edge.proto.ip import parse_untrusted
from edge.proto.masque.address import (
    AssignedAddress,
    RequestedAddress,
    decode_address_assign,
    decode_address_request,
    encode_address_assign,
)
from edge.proto.masque.capsule import BadCapsule, CapsuleType
from edge.proto.masque.carrier import (
    Carrier,
    CarrierClosed,
    CarrierEvent,
    CarrierReady,
    DatagramsReceived,
    DataReceived,
    HttpVersion,
    PeerMoved,
    RequestReceived,
    StreamAborted,
)
from edge.proto.masque.context import unwrap
from edge.proto.masque.credential import Credential
from edge.proto.masque.refusal import Refusal, refuse
from edge.proto.masque.request import Accepted, Dialect, accept_headers, judge
from edge.proto.masque.route import decode_route_advertisement, encode_route_advertisement, ranges_of
from edge.proto.masque.scope import Scope
from edge.proto.masque.template import Template
from edge.proto.masque.tunnel import MasqueTunnel, Session
from edge.proto.types import Address, BadPacket, DropReason

MINIMUM_MTU = 1280
"""RFC 9484 section 10.1: a path that does not carry this carries no IPv6; then there is no session."""

EARLY_DATAGRAMS, EARLY_OCTETS = 32, 1 << 16
EARLY_SECONDS = 1.0
"""Datagrams may overtake the request that opens their stream (RFC 9297 2.1): so many wait, so long, per carrier."""

CAPSULES_LIMIT = 256
"""Requests for addresses and advertisements in one session; an honest client sends a handful."""

REFUSALS_LIMIT = 8
"""Of one carrier; then it is closed."""

ACCESS_DENIED = 0x131
"""TLS alert access_denied (49) as an error of QUIC: what clients of the WARP dialect take for "login failed"."""


@dataclass(frozen=True, slots=True)
class SessionUp:
    """A tunnel has a session; `first` if it had none."""

    session: Session
    first: bool


@dataclass(frozen=True, slots=True)
class SessionDown:
    """A session is over; `reason` is for people."""

    session: Session
    reason: str


@dataclass(frozen=True, slots=True)
class SessionRefused:
    """Somebody asked for a session in vain; `status` is of HTTP."""

    peer: Address
    version: HttpVersion
    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class SessionMoved:
    """The peer of a session has another address now."""

    session: Session
    before: Address


@dataclass(frozen=True, slots=True)
class SessionSwitched:
    """The tunnel goes on in `session`, over another HTTP version than `before`: a fallback, or the return from it."""

    session: Session
    before: HttpVersion


SessionEvent = SessionUp | SessionDown | SessionRefused | SessionMoved | SessionSwitched


class _Peer:
    """What we know about one carrier: its sessions, and what came too early."""

    __slots__ = ("closed", "early", "early_octets", "refusals", "sessions")

    def __init__(self) -> None:
        self.sessions: dict[int, Session] = {}
        self.early: deque[tuple[float, int, bytes]] = deque()  # when, stream, datagram
        self.early_octets = 0
        self.refusals = 0
        self.closed = False  # by us; what it has said before that is not heard any more


class MasqueServer:
    """`template` is where sessions are asked for; `warp_names` are the server names that get the WARP dialect."""

    def __init__(self, template: Template, *, warp_names: Iterable[str] = ()) -> None:
        self.tunnels: dict[bytes, MasqueTunnel] = {}  # by identity
        self.drops: Counter[DropReason] = (
            Counter()
        )  # datagrams and packets that belong to no tunnel, by reason
        self.refusals: Counter[int] = Counter()  # by status
        self.sessions: Counter[HttpVersion] = Counter()  # accepted, ever
        self.switches: Counter[HttpVersion] = Counter()  # tunnels that spoke over another version before
        self._template = template
        self._warp_names = frozenset(name.lower() for name in warp_names)
        self._by_token: dict[bytes, MasqueTunnel] = {}
        self._by_key: dict[bytes, MasqueTunnel] = {}
        self._events: list[SessionEvent] = []
        self.on_lost: Callable[[MasqueTunnel, list[bytearray]], None] | None = None
        """Told of packets that find no session, while somebody watches."""

    def reconfigure(self, template: Template, warp_names: Iterable[str]) -> None:
        """For requests from now on."""
        self._template = template
        self._warp_names = frozenset(name.lower() for name in warp_names)

    # -- tunnels --

    def add_tunnel(self, tunnel: MasqueTunnel) -> None:
        """ValueError if its token or key is another's."""
        if tunnel.token_sha256 in self._by_token or tunnel.client_key in self._by_key:
            raise ValueError("this credential is already a tunnel's")
        self.tunnels[tunnel.identity] = tunnel
        if tunnel.token_sha256:
            self._by_token[tunnel.token_sha256] = tunnel
        if tunnel.client_key:
            self._by_key[tunnel.client_key] = tunnel

    def remove_tunnel(self, tunnel: MasqueTunnel) -> None:
        """End its sessions and forget its credentials at once."""
        del self.tunnels[tunnel.identity]
        self._by_token.pop(tunnel.token_sha256, None)
        self._by_key.pop(tunnel.client_key, None)
        for session in list(tunnel.sessions):
            self._finish(session, "removed")

    def configure(
        self, tunnel: MasqueTunnel, addresses: tuple[bytes, ...], routes: tuple[tuple[bytes, int], ...]
    ) -> None:
        """Change what the tunnel is assigned and may reach; sessions are told if that is new."""
        assigned, advertised = tunnel.addresses != addresses, tunnel.routes != routes
        tunnel.addresses, tunnel.routes = addresses, routes
        for session in tunnel.sessions:
            if session.dialect is Dialect.STANDARD:
                capsules = self._assignment(session) if assigned else b""
                if advertised:
                    capsules += self._advertisement(session)
                if capsules:
                    session.carrier.send_data(session.stream, capsules)

    # -- from the carriers --

    def handle(
        self, events: Iterable[CarrierEvent], now: float
    ) -> list[tuple[MasqueTunnel, list[bytearray]]]:
        """Take what the carriers tell; returns runs of inner packets per tunnel, in order."""
        runs: list[tuple[MasqueTunnel, list[bytearray]]] = []
        for event in events:
            carrier = event.carrier
            if isinstance(event, DatagramsReceived):
                peer = carrier.owner
                session = None if peer is None else peer.sessions.get(event.stream)
                if session is not None:
                    self._unwrap(session, event.payloads, runs)
                else:
                    self._early(_peer(carrier), event, now)
            elif isinstance(event, RequestReceived):
                self._request(event, now, runs)
            elif isinstance(event, DataReceived):
                self._data(event, runs)
            elif isinstance(event, CarrierReady):
                self._ready(carrier)
            elif isinstance(event, StreamAborted):
                session = _peer(carrier).sessions.get(event.stream)
                if session is not None:
                    self._remove(session, "reset by the peer")
            elif isinstance(event, PeerMoved):
                for session in _peer(carrier).sessions.values():
                    self._events.append(SessionMoved(session, event.before))
            elif isinstance(event, CarrierClosed):
                reason = event.reason or ("closed by the peer" if event.by_peer else "closed")
                self._forget(_peer(carrier), reason)
        return runs

    def seal(self, tunnel: MasqueTunnel, packets: list[bytearray]) -> None:
        """Hand packets to the tunnel's session; without one they die counted."""
        session = tunnel.current
        if session is None:
            tunnel.dead[DropReason.TUNNEL_DOWN] += len(packets)
            if self.on_lost is not None:
                self.on_lost(tunnel, packets)
            return
        if not session.scope.everything:
            packets, outside = _within(session.scope, packets, to_client=True)
            tunnel.dead[DropReason.OUT_OF_SCOPE] += outside
        if session.bare:
            payloads = [bytes(packet) for packet in packets]
        else:
            payloads = [b"\0" + packet for packet in packets]
        session.carrier.send_datagrams(session.stream, payloads)

    def poll_events(self) -> list[SessionEvent]:
        events, self._events = self._events, []
        return events

    def drain(self) -> None:
        """Let every client know that it shall look for another PoP: a clean end of each stream."""
        for tunnel in self.tunnels.values():
            for session in list(tunnel.sessions):
                self._finish(session, "drained")

    # -- requests --

    def _ready(self, carrier: Carrier) -> None:
        carrier.owner = _Peer()
        if carrier.version is HttpVersion.H2:
            # TLS over TCP can only be ended without a word by then, and some clients wait on for ever: they are told in
            # answer to their request.
            return
        # A client of the dialect has nothing but its key: without a known one there is no need to wait for its request.
        # The reason stays empty, for only then clients take it for a refused login.
        if carrier.server_name.lower() in self._warp_names and carrier.peer_key not in self._by_key:
            self.refusals[403] += 1
            self._events.append(SessionRefused(carrier.peer, carrier.version, 403, "unknown key"))
            self._close(carrier, ACCESS_DENIED, transport=True)

    def _request(
        self, event: RequestReceived, now: float, runs: list[tuple[MasqueTunnel, list[bytearray]]]
    ) -> None:
        carrier, stream = event.carrier, event.stream
        peer = _peer(carrier)
        if peer.closed:
            return
        judged = judge(
            event.headers,
            carrier.version,
            (self._template,),
            warp=True,
            anonymous=carrier.peer_key in self._by_key,
        )
        if isinstance(judged, Refusal):
            self._refuse(carrier, stream, judged)
            return
        tunnel = self._authenticate(carrier, judged)
        if tunnel is None:
            # Who has shown something may not come in with it; who has shown nothing is asked for it.
            self._refuse(
                carrier, stream, refuse(401 if judged.dialect is Dialect.STANDARD else 403, "unknown")
            )
            return
        if carrier.datagram_room(stream) < MINIMUM_MTU + 1:
            self._refuse(carrier, stream, refuse(400, "the path is too narrow for IPv6"))
            return
        session = Session(carrier, stream, tunnel, judged.dialect, judged.scope, now)
        peer.sessions[stream] = session
        self.sessions[carrier.version] += 1
        first = tunnel.current is None
        excess = tunnel.add(session, now)
        if excess is not None:
            self._finish(excess, "replaced")
        carrier.respond(stream, accept_headers())
        if judged.dialect is Dialect.STANDARD:
            carrier.send_data(stream, self._assignment(session) + self._advertisement(session))
            tunnel.prefer(session)
        elif tunnel.current is None:
            tunnel.prefer(session)
        if first:
            self._note_version(tunnel)
        self._events.append(SessionUp(session, first))
        if peer.early:
            self._unwrap(session, self._take_early(peer, stream, now), runs)
        if event.ended:
            self._finish(session, "ended by the peer")

    def _authenticate(self, carrier: Carrier, accepted: Accepted) -> MasqueTunnel | None:
        """Whose tunnel it is: by what the request says, else by the key of the client's certificate."""
        credential: Credential | None = accepted.credential
        if accepted.dialect is Dialect.STANDARD and credential is not None:
            tunnel = self._by_token.get(sha256(credential.token).digest())
            return tunnel if tunnel is not None and credential.user in ("", tunnel.name) else None
        return None if carrier.peer_key is None else self._by_key.get(carrier.peer_key)

    def _refuse(self, carrier: Carrier, stream: int, refusal: Refusal) -> None:
        self.refusals[refusal.status] += 1
        self._events.append(SessionRefused(carrier.peer, carrier.version, refusal.status, refusal.reason))
        carrier.respond(stream, refusal.headers, end=True)
        peer = _peer(carrier)
        peer.refusals += 1
        if peer.refusals >= REFUSALS_LIMIT:
            code = 0x107 if carrier.version is HttpVersion.H3 else 0xB
            self._close(carrier, code, "too many refused requests")

    # -- the stream: capsules --

    def _data(self, event: DataReceived, runs: list[tuple[MasqueTunnel, list[bytearray]]]) -> None:
        session = _peer(event.carrier).sessions.get(event.stream)
        if session is None:
            return  # of a refused request, or one that is over
        try:
            datagrams, others = session.parser.feed(event.data)
            for kind, value in others:
                self._capsule(session, kind, value)
            if event.ended:
                session.parser.finish()
        except BadCapsule as bad:
            # RFC 9297 3.3: the message is malformed, which is an error of the stream.
            self.drops[DropReason.MALFORMED] += 1
            event.carrier.reset(event.stream, _malformed(event.carrier.version))
            self._remove(session, f"malformed: {bad}")
            return
        if datagrams:
            self._unwrap(session, datagrams, runs)
        if event.ended:
            self._finish(session, "ended by the peer")

    def _capsule(self, session: Session, kind: int, value: bytes) -> None:
        session.capsules += 1
        if session.capsules > CAPSULES_LIMIT:
            raise BadCapsule("too many capsules")
        if kind == CapsuleType.ADDRESS_REQUEST:
            requests = decode_address_request(value)
            session.request_ids.use(requests)
            if session.dialect is Dialect.STANDARD:
                session.carrier.send_data(session.stream, self._assignment(session, requests))
        elif kind == CapsuleType.ROUTE_ADVERTISEMENT:
            # What a client wants to serve is known from its enrolment; that it says so makes no route.
            decode_route_advertisement(value)
        elif kind == CapsuleType.ADDRESS_ASSIGN:
            # It offers us addresses in its own network: we never send from there.
            decode_address_assign(value)

    @staticmethod
    def _assignment(session: Session, requests: Sequence[RequestedAddress] = ()) -> bytes:
        """All addresses of the tunnel in one capsule, as answers to `requests` where they are some.

        A request of a version of which the tunnel has no address (left) is refused (RFC 9484 4.7.2).
        """
        left = list(session.tunnel.addresses)
        entries: list[AssignedAddress] = []
        for request in requests:
            wanted = request.prefix[0]
            found = wanted if wanted in left else next((a for a in left if len(a) == len(wanted)), None)
            if found is None:
                entries.append(AssignedAddress.refusal(request))
            else:
                left.remove(found)
                entries.append(AssignedAddress((found, len(found) * 8), request.request_id))
        entries += [AssignedAddress((address, len(address) * 8)) for address in left]
        return encode_address_assign(entries)

    @staticmethod
    def _advertisement(session: Session) -> bytes:
        scope = session.scope
        return encode_route_advertisement(
            ranges_of(scope.narrow(session.tunnel.routes), scope.route_protocol)
        )

    # -- datagrams --

    def _early(self, peer: _Peer, event: DatagramsReceived, now: float) -> None:
        early = peer.early
        for payload in event.payloads:
            early.append((now, event.stream, payload))
            peer.early_octets += len(payload)
        dead = 0
        while early and (
            len(early) > EARLY_DATAGRAMS
            or peer.early_octets > EARLY_OCTETS
            or now > early[0][0] + EARLY_SECONDS
        ):
            peer.early_octets -= len(early.popleft()[2])
            dead += 1
        if dead:
            self.drops[DropReason.UNKNOWN_SESSION] += dead

    def _take_early(self, peer: _Peer, stream: int, now: float) -> list[bytes]:
        """What waits for `stream`; what is too old dies, whatever it waits for."""
        young = [each for each in peer.early if now <= each[0] + EARLY_SECONDS]
        if len(young) < len(peer.early):
            self.drops[DropReason.UNKNOWN_SESSION] += len(peer.early) - len(young)
        peer.early = deque(each for each in young if each[1] != stream)
        peer.early_octets = sum(len(payload) for _, _, payload in peer.early)
        return [payload for _, number, payload in young if number == stream]

    def _unwrap(
        self, session: Session, payloads: list[bytes], runs: list[tuple[MasqueTunnel, list[bytearray]]]
    ) -> None:
        """HTTP datagrams to IP packets: context id 0 in front, unless the dialect leaves it out."""
        packets, malformed = unwrap(payloads, bare=session.bare)
        if malformed:
            self.drops[DropReason.MALFORMED] += malformed
        if not session.scope.everything:
            packets, outside = _within(session.scope, packets, to_client=False)
            self.drops[DropReason.OUT_OF_SCOPE] += outside
        if packets:
            tunnel = session.tunnel
            if tunnel.current is not session:
                tunnel.prefer(session)
            if tunnel.version is not session.carrier.version:
                self._note_version(tunnel)
            runs.append((tunnel, packets))

    def _note_version(self, tunnel: MasqueTunnel) -> None:
        """When its only session, or the one that it sends through, is of another version than before.

        A client that tries two ways at once has a session more for a moment, and that is no change.
        """
        current = tunnel.current
        if current is None or current.carrier.version is tunnel.version:
            return
        if tunnel.version is not None:
            self.switches[current.carrier.version] += 1
            self._events.append(SessionSwitched(current, tunnel.version))
        tunnel.version = current.carrier.version

    # -- the end --

    def _close(self, carrier: Carrier, code: int, reason: str = "", *, transport: bool = False) -> None:
        """Its sessions are over at once: what is sealed from now on must not be handed to it."""
        peer = _peer(carrier)
        peer.closed = True
        carrier.close(code, reason, transport=transport)
        self._forget(peer, reason or "refused")

    def _forget(self, peer: _Peer, reason: str) -> None:
        """Its carrier is gone."""
        for session in list(peer.sessions.values()):
            self._remove(session, reason)
        if peer.early:
            self.drops[DropReason.UNKNOWN_SESSION] += len(peer.early)
            peer.early.clear()
            peer.early_octets = 0

    def _finish(self, session: Session, reason: str) -> None:
        """End it cleanly from our side."""
        session.carrier.end(session.stream)
        self._remove(session, reason)

    def _remove(self, session: Session, reason: str) -> None:
        peer = _peer(session.carrier)
        if peer.sessions.pop(session.stream, None) is None:
            return
        session.tunnel.remove(session)
        self._note_version(session.tunnel)
        self._events.append(SessionDown(session, reason))


def _peer(carrier: Carrier) -> _Peer:
    """Ours for this carrier; there is none before the handshake was complete."""
    if carrier.owner is None:
        carrier.owner = _Peer()
    peer: _Peer = carrier.owner
    return peer


def _within(scope: Scope, packets: list[bytearray], *, to_client: bool) -> tuple[list[bytearray], int]:
    """What of `packets` is within `scope`, and how many are not. What cannot be read is left to who forwards it."""
    inside = []
    for packet in packets:
        try:
            if not scope.allows(parse_untrusted(packet), to_client=to_client):
                continue
        except BadPacket:
            pass
        inside.append(packet)
    return inside, len(packets) - len(inside)


def _malformed(version: HttpVersion) -> int:
    """H3_MESSAGE_ERROR (RFC 9114 8.1), PROTOCOL_ERROR (RFC 9113 7)."""
    return 0x10E if version is HttpVersion.H3 else 0x1
