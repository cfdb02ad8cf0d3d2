"""A WireGuard device: one private key, many tunnels, datagrams in and packets out (and the other way round).

Roles are symmetric: the PoP adds ten thousand peers without endpoint, a client adds one with an endpoint. What a
stranger can send is answered by a counted drop; nothing here raises on network input.

Call order: ``open`` and ``seal`` as data comes, ``handle_timeout`` when ``poll_timeout`` is due, and after each of
them ``poll_transmit`` and ``poll_events``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from edge.proto.types import NEVER, Address, BadPacket, Deadline, DropReason
from edge.proto.wireguard.admission import Admission
from edge.proto.wireguard.agenda import Agenda
from edge.proto.wireguard.events import (
    EndpointChanged,
    Event,
    HandshakeCompleted,
    HandshakeGivenUp,
    TimestampAdvanced,
)
from edge.proto.wireguard.handshakes import Handshakes
from edge.proto.wireguard.messages import (
    COOKIE_REPLY_SIZE,
    INITIATION_SIZE,
    RESPONSE_SIZE,
    TAG_SIZE,
    TRANSPORT_HEADER_SIZE,
    TYPE_COOKIE_REPLY,
    TYPE_INITIATION,
    TYPE_RESPONSE,
    TYPE_TRANSPORT,
)
from edge.proto.wireguard.noise import Identity, RemoteStatic
from edge.proto.wireguard.tai64n import TimestampClock
from edge.proto.wireguard.timers import (
    KEEPALIVE_TIMEOUT,
    MAX_ATTEMPTS,
    MAX_TIMER_JITTER,
    REJECT_AFTER_MESSAGES,
    REKEY_AFTER_MESSAGES,
    REKEY_TIMEOUT,
    SILENCE_TIMEOUT,
)
from edge.proto.wireguard.tunnel import Aead, Session, Tunnel

OVERHEAD = TRANSPORT_HEADER_SIZE + TAG_SIZE
PADDING = [bytes(n) for n in range(16)]  # plaintext is padded to 16 bytes, so that lengths say less
HANDSHAKES_PER_TURN = 8  # then the data path gets the processor back
TIMERS_PER_TURN = 64  # tunnels looked at; the rest stays due
STAGED_TOTAL_LIMIT = 8192  # packets that wait for handshakes in the whole device

_unpack_header = Struct("<IIQ").unpack_from
_pack_header = Struct("<IIQ").pack
_pack_nonce = Struct("<4xQ").pack


class Device:
    """See the module. `rng(n)` gives n secret random bytes, `clock` our own TAI64N timestamps.

    `aead` is for transport messages. Only a simulated network, where both ends are ours, has another one.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        rng: Callable[[int], bytes],
        clock: TimestampClock,
        now: float,
        aead: Aead = ChaCha20Poly1305,
    ) -> None:
        self.identity = identity
        self.tunnels: dict[bytes, Tunnel] = {}
        self.drops: Counter[DropReason] = Counter()  # datagrams, by reason
        self.datagrams_in = 0
        self.datagrams_out = 0
        self.cookies_sent = 0
        self._rng = rng
        self._handshakes = Handshakes(identity, self.tunnels, rng=rng, clock=clock, aead=aead)
        self._sessions = self._handshakes.sessions  # by index: looked up for every read
        self._outbox: list[tuple[Address, list[bytes]]] = []
        self._events: list[Event] = []
        self._agenda = Agenda()
        self._admission = Admission(identity, rng=rng, now=now)
        self._staged = 0
        self.on_lost: Callable[[Tunnel, list[bytearray]], None] | None = None
        """Told of packets that die waiting for a handshake, while somebody watches."""

    # -- peers --

    def add_peer(
        self,
        name: str,
        public: bytes,
        *,
        psk: bytes | None = None,
        endpoint: Address | None = None,
        persistent_keepalive: float | None = None,
        timestamp: bytes = b"",
        mtu: int = 1420,
        owner: Any = None,
    ) -> Tunnel:
        """Add a peer by its 32-byte public key. ValueError if the key is unusable, ours, or already here.

        Padding never makes a packet longer than `mtu`.
        """
        if public in self.tunnels:
            raise ValueError("this public key is already a peer")
        if public == self.identity.public:
            raise ValueError("a device cannot be its own peer")
        remote = RemoteStatic(public, psk, self.identity)
        tunnel = Tunnel(
            name,
            remote,
            endpoint=endpoint,
            persistent_keepalive=persistent_keepalive,
            timestamp=timestamp,
            mtu=mtu,
            owner=owner,
        )
        self.tunnels[public] = tunnel
        return tunnel

    def check_peer(self, public: bytes, psk: bytes | None) -> None:
        """ValueError if no peer can have these keys; nothing changes."""
        RemoteStatic(public, psk, self.identity)

    def remove_peer(self, public: bytes) -> int:
        """Forget a peer and its keys at once; returns how many staged packets died with it."""
        tunnel = self.tunnels.pop(public)
        self._handshakes.erase(tunnel)
        tunnel.timers.clear()
        self._agenda.forget(tunnel)
        self._handshakes.forget(tunnel)
        return self.drop_staged(tunnel)

    def under_load(self, now: float) -> bool:
        """Whether handshakes cost a cookie now."""
        return self._admission.under_load(now)

    def demand_cookies(self, until: float) -> None:
        """Be under load until then: an operator that expects a flood, or a test."""
        self._admission.demand_cookies(until)

    @property
    def staged(self) -> int:
        """Packets that wait for a handshake now, in all tunnels."""
        return self._staged

    @property
    def indices(self) -> tuple[int, int]:
        """How many are in use: for sessions that have keys, and for handshakes that wait for an answer."""
        return len(self._sessions), self._handshakes.waiting

    # -- the data path --

    def open(
        self, reads: Sequence[tuple[memoryview, int, Address]], now: float
    ) -> list[tuple[Tunnel, list[bytearray]]]:
        """Open what a socket brought: (bytes, segment size, source) per read, several datagrams where GRO merged.

        Returns runs of inner packets per tunnel, in order, padding still attached. Every error is a counted drop.
        """
        runs: list[tuple[Tunnel, list[bytearray]]] = []
        sessions = self._sessions
        drops = self.drops
        datagrams = 0
        admission = self._admission
        admission.new_turn()
        for data, segment, source in reads:
            length = len(data)
            if 0 < length <= segment:  # nothing merged: a phone's packets come like this
                datagrams += 1
                self._open_lone(data, source, now, runs)
                continue
            session: Session | None = None
            own_index = -1
            packets: list[bytearray] = []
            octets = 0
            starts = range(0, length, segment or 1)
            datagrams += len(starts)
            for start in starts:
                body = data[start + TRANSPORT_HEADER_SIZE : start + segment]
                size = len(body) - TAG_SIZE
                if size < 0:
                    drops[DropReason.MALFORMED] += 1
                    continue
                kind, index, counter = _unpack_header(data, start)
                if index != own_index or kind != TYPE_TRANSPORT:
                    if kind != TYPE_TRANSPORT:
                        self._handle_control(kind, bytes(data[start : start + segment]), source, now)
                        continue
                    found = sessions.get(index)
                    if found is None or now >= found.expires_at:
                        drops[DropReason.SESSION_EXPIRED if found else DropReason.UNKNOWN_SESSION] += 1
                        continue
                else:
                    assert session is not None
                    found = session
                if counter >= REJECT_AFTER_MESSAGES:
                    drops[DropReason.SESSION_EXPIRED] += 1
                    continue
                packet = bytearray(size)
                try:
                    found.decrypt_into(_pack_nonce(counter), body, None, packet)
                except InvalidTag:
                    drops[DropReason.DECRYPT_FAILED] += 1
                    continue
                window = found.window
                if counter == window.next:  # in order: what accept() would do
                    window.next = counter + 1
                elif not window.accept(counter):
                    drops[DropReason.REPLAYED] += 1
                    continue
                if found is not session:
                    if session is not None:
                        self._received(session, source, len(packets), octets, now)
                        if packets:
                            runs.append((session.tunnel, packets))
                            packets = []
                        octets = 0
                    session = found
                    own_index = index
                if size:
                    packets.append(packet)
                    octets += size
            if session is not None:
                self._received(session, source, len(packets), octets, now)
                if packets:
                    runs.append((session.tunnel, packets))
        self.datagrams_in += datagrams
        if admission.backlog:
            self._answer_backlog(now)
        return runs

    def _open_lone(
        self, data: memoryview, source: Address, now: float, runs: list[tuple[Tunnel, list[bytearray]]]
    ) -> None:
        """As the loop of ``open``, for a read of one datagram."""
        size = len(data) - OVERHEAD
        if size < 0:
            self.drops[DropReason.MALFORMED] += 1
            return
        kind, index, counter = _unpack_header(data)
        if kind != TYPE_TRANSPORT:
            self._handle_control(kind, bytes(data), source, now)
            return
        session = self._sessions.get(index)
        if session is None or now >= session.expires_at or counter >= REJECT_AFTER_MESSAGES:
            self.drops[DropReason.UNKNOWN_SESSION if session is None else DropReason.SESSION_EXPIRED] += 1
            return
        packet = bytearray(size)
        try:
            session.decrypt_into(_pack_nonce(counter), data[TRANSPORT_HEADER_SIZE:], None, packet)
        except InvalidTag:
            self.drops[DropReason.DECRYPT_FAILED] += 1
            return
        window = session.window
        if counter == window.next:
            window.next = counter + 1
        elif not window.accept(counter):
            self.drops[DropReason.REPLAYED] += 1
            return
        if not size:
            self._received(session, source, 0, 0, now)
            return
        self._received(session, source, 1, size, now)
        tunnel = session.tunnel
        if runs and runs[-1][0] is tunnel:
            runs[-1][1].append(packet)
        else:
            runs.append((tunnel, [packet]))

    def seal(self, tunnel: Tunnel, packets: list[bytearray], now: float) -> None:
        """Encrypt packets to the peer (they are padded in place), or stage them and start a handshake."""
        session = tunnel.current
        if session is None or now >= session.expires_at or session.counter >= REJECT_AFTER_MESSAGES:
            self._stage(tunnel, packets, now)
            return
        assert tunnel.endpoint is not None
        encrypt = session.encrypt
        index = session.remote_index
        counter = session.counter
        mtu = tunnel.mtu
        octets = 0
        datagrams = []
        for packet in packets:
            length = len(packet)
            octets += length
            if length & 15:
                packet += PADDING[
                    -length & 15 if length + 15 <= mtu else min(-length & 15, max(0, mtu - length))
                ]
            datagrams.append(
                _pack_header(TYPE_TRANSPORT, index, counter) + encrypt(_pack_nonce(counter), packet, None)
            )
            counter += 1
        session.counter = counter
        tunnel.packets_out += len(packets)
        tunnel.bytes_out += octets
        self._outbox.append((tunnel.endpoint, datagrams))
        self._sent(session, True, now)

    def poll_transmit(self) -> list[tuple[Address, list[bytes]]]:
        """Datagrams to send, grouped by destination, in order."""
        out = self._outbox
        if not out:
            return []
        self._outbox = []
        for _, datagrams in out:
            self.datagrams_out += len(datagrams)
        return out

    def poll_events(self) -> list[Event]:
        events = self._events
        if not events:
            return []
        self._events = []
        return events

    # -- time --

    def poll_timeout(self) -> Deadline:
        """When to call ``handle_timeout``; its ``at`` is NEVER if nothing is due."""
        if self._admission.backlog:
            return Deadline(-NEVER, "handshakes-waiting")
        return self._agenda.earliest()

    def next_timeout(self) -> float:
        """As ``poll_timeout``, without its reason: for whoever asks after every packet."""
        return -NEVER if self._admission.backlog else self._agenda.next()

    def handle_timeout(self, now: float) -> None:
        """Do all that is due. Calling early is harmless."""
        if self._admission.backlog:
            self._answer_backlog(now)
        for _ in range(TIMERS_PER_TURN):
            tunnel = self._agenda.due(now)
            if tunnel is None:
                break
            self._handle_timers(tunnel, now)
            self._agenda.arm(tunnel)

    def initiate(self, tunnel: Tunnel, now: float) -> None:
        """Start a handshake now, if the peer's address is known and none was started within REKEY_TIMEOUT."""
        if tunnel.endpoint is not None:
            self.keep_alive(tunnel, now)  # a peer that is away now is tried again after this one was given up
            self._initiate(tunnel, now)
            self._agenda.arm(tunnel)

    def keep_alive(self, tunnel: Tunnel, now: float) -> None:
        """Let a persistent keepalive that was set or shortened meanwhile begin without waiting for traffic."""
        seconds, timers = tunnel.persistent_keepalive, tunnel.timers
        if seconds and tunnel.endpoint is not None and timers.persistent_at > now + seconds:
            timers.persistent_at = now + seconds
            self._agenda.arm(tunnel)

    def announce(self, tunnel: Tunnel, now: float) -> None:
        """Have the peer learn where we are, as when our own address has changed: only what it authenticates tells it.

        With keys that is a keepalive. One datagram may be lost, so if nothing is heard within REKEY_TIMEOUT it is a
        handshake, which is repeated; without keys at once, but not within REKEY_TIMEOUT of another.
        """
        self._send_keepalive(tunnel, now)
        if tunnel.is_up(now):
            tunnel.timers.silence_at = min(tunnel.timers.silence_at, now + REKEY_TIMEOUT)
        self._agenda.arm(tunnel)

    def _handle_timers(self, tunnel: Tunnel, now: float) -> None:
        timers = tunnel.timers
        if now >= timers.erase_at:
            timers.erase_at = NEVER
            self._handshakes.erase(tunnel)
            self._handshakes.forget(tunnel)
        if now >= timers.retransmit_at:
            timers.retransmit_at = NEVER
            if tunnel.attempts >= MAX_ATTEMPTS:
                self._give_up(tunnel, now)
            else:
                self._initiate(tunnel, now, retry=True)
        if now >= timers.silence_at:
            timers.silence_at = NEVER
            self._initiate(tunnel, now)
        if now >= timers.keepalive_at:
            again = timers.another_keepalive
            self._send_keepalive(tunnel, now)
            if again:
                timers.keepalive_at = now + KEEPALIVE_TIMEOUT
        if now >= timers.persistent_at:
            timers.persistent_at = NEVER
            if tunnel.persistent_keepalive:
                timers.persistent_at = now + tunnel.persistent_keepalive
                self._send_keepalive(tunnel, now)

    # -- sending what is not data --

    def _send_keepalive(self, tunnel: Tunnel, now: float) -> None:
        """An empty transport message; without a session, a handshake."""
        session = tunnel.current
        if session is None or now >= session.expires_at or session.counter >= REJECT_AFTER_MESSAGES:
            tunnel.timers.keepalive_at = NEVER
            if tunnel.endpoint is not None:
                self._initiate(tunnel, now)
            return
        assert tunnel.endpoint is not None
        counter = session.counter
        session.counter = counter + 1
        datagram = _pack_header(TYPE_TRANSPORT, session.remote_index, counter) + session.encrypt(
            _pack_nonce(counter), b"", None
        )
        self._outbox.append((tunnel.endpoint, [datagram]))
        self._sent(session, False, now)

    def _initiate(self, tunnel: Tunnel, now: float, *, retry: bool = False) -> None:
        """Send an initiation, at most one per REKEY_TIMEOUT. A retry keeps counting the attempts."""
        if tunnel.endpoint is None or now < tunnel.last_initiation_out + REKEY_TIMEOUT:
            return
        if not retry:
            tunnel.attempts = 0
        if tunnel.attempts == 0:
            tunnel.started_at = now
            tunnel.handshakes_initiated += 1
        tunnel.attempts += 1
        tunnel.last_initiation_out = now
        self._outbox.append((tunnel.endpoint, [self._handshakes.initiate(tunnel, now)]))
        tunnel.timers.retransmit_at = now + REKEY_TIMEOUT + self._jitter()
        self._agenda.arm(tunnel)

    def _give_up(self, tunnel: Tunnel, now: float) -> None:
        """Nobody answers: let go of what waits. New data starts afresh; a persistent keepalive tries again."""
        self._handshakes.forget(tunnel)
        self._events.append(HandshakeGivenUp(tunnel, self.drop_staged(tunnel)))
        tunnel.attempts = 0

    # -- receiving what is not data --

    def _received(self, session: Session, source: Address, packets: int, octets: int, now: float) -> None:
        """Account authenticated messages of one session: so many packets and bytes, and perhaps keepalives."""
        tunnel = session.tunnel
        if session is tunnel.next:
            self._confirmed(session, source, now)
        if source != tunnel.endpoint:
            self._move(tunnel, source)
        timers = tunnel.timers
        timers.silence_at = NEVER
        if packets:
            tunnel.packets_in += packets
            tunnel.bytes_in += octets
            if timers.keepalive_at == NEVER:
                timers.keepalive_at = now + KEEPALIVE_TIMEOUT
                if timers.keepalive_at < tunnel.armed_at:
                    self._agenda.arm(tunnel)
            else:
                timers.another_keepalive = True
        if tunnel.persistent_keepalive:
            self._postpone_persistent(tunnel, now)
        if now >= session.renew_at and session is tunnel.current:
            self._initiate(tunnel, now)

    def _confirmed(self, session: Session, source: Address, now: float) -> None:
        """The first message of the peer under a session that we answered for: it has the key."""
        tunnel = session.tunnel
        self._handshakes.retire(tunnel.confirm())
        self._completed(tunnel, session, now)
        if source != tunnel.endpoint:
            self._move(tunnel, source)  # before what waits is sent
        if tunnel.staged:
            self._flush(tunnel, now)

    def _sent(self, session: Session, data: bool, now: float) -> None:
        """Account what was sent under a session."""
        tunnel = session.tunnel
        timers = tunnel.timers
        timers.keepalive_at = NEVER
        timers.another_keepalive = False
        if data and timers.silence_at == NEVER:
            timers.silence_at = now + SILENCE_TIMEOUT
            if timers.silence_at < tunnel.armed_at:
                self._agenda.arm(tunnel)
        if tunnel.persistent_keepalive:
            self._postpone_persistent(tunnel, now)
        if now >= session.rekey_at or session.counter >= REKEY_AFTER_MESSAGES:
            self._initiate(tunnel, now)

    def _postpone_persistent(self, tunnel: Tunnel, now: float) -> None:
        assert tunnel.persistent_keepalive is not None
        tunnel.timers.persistent_at = now + tunnel.persistent_keepalive
        if tunnel.timers.persistent_at < tunnel.armed_at:
            self._agenda.arm(tunnel)

    def _move(self, tunnel: Tunnel, source: Address) -> None:
        """Follow a peer that roamed. Only ever called after authentication (whitepaper 2.1)."""
        before, tunnel.endpoint = tunnel.endpoint, source
        self._events.append(EndpointChanged(tunnel, before))

    def _handle_control(self, kind: int, message: bytes, source: Address, now: float) -> None:
        size = len(message)
        try:
            if (kind, size) in ((TYPE_INITIATION, INITIATION_SIZE), (TYPE_RESPONSE, RESPONSE_SIZE)):
                reply = self._admission.admit(kind, message, source, now)
                if reply is not None:
                    self._outbox.append((source, [reply]))
                    self.cookies_sent += 1
                    raise BadPacket(DropReason.COOKIE_SENT)
            elif kind == TYPE_COOKIE_REPLY and size == COOKIE_REPLY_SIZE:
                self._handshakes.take_cookie(message, now)
            else:
                raise BadPacket(DropReason.MALFORMED)
        except BadPacket as bad:
            self.drops[bad.reason] += 1

    def _answer_backlog(self, now: float) -> None:
        for _ in range(min(HANDSHAKES_PER_TURN, len(self._admission.backlog))):
            kind, message, source = self._admission.take()
            try:
                if kind == TYPE_INITIATION:
                    self._handle_initiation(message, source, now)
                else:
                    self._handle_response(message, source, now)
            except BadPacket as bad:
                self.drops[bad.reason] += 1

    def _handle_initiation(self, message: bytes, source: Address, now: float) -> None:
        tunnel, response = self._handshakes.answer(message, now)
        tunnel.timers.silence_at = NEVER  # we hear the peer, and a new session is on its way
        self._events.append(TimestampAdvanced(tunnel))
        if source != tunnel.endpoint:
            self._move(tunnel, source)
        self._outbox.append((source, [response]))
        self._agenda.arm(tunnel)

    def _handle_response(self, message: bytes, source: Address, now: float) -> None:
        session = self._handshakes.finish(message, now)
        tunnel = session.tunnel
        if source != tunnel.endpoint:
            self._move(tunnel, source)
        tunnel.timers.silence_at = NEVER
        self._completed(tunnel, session, now)
        # The responder may not send before it has heard the new key: say something at once.
        if tunnel.staged:
            self._flush(tunnel, now)
        else:
            self._send_keepalive(tunnel, now)
        self._agenda.arm(tunnel)

    # -- completed handshakes and the packets that waited for them --

    def _completed(self, tunnel: Tunnel, session: Session, now: float) -> None:
        tunnel.handshakes += 1
        tunnel.last_handshake = now
        # Whoever began it: what we may have begun ourselves meanwhile is no longer wanted.
        tunnel.timers.retransmit_at = NEVER
        tunnel.attempts = 0
        self._handshakes.forget(tunnel)
        self._events.append(HandshakeCompleted(tunnel, session.initiator, now - session.started_at))

    def _stage(self, tunnel: Tunnel, packets: list[bytearray], now: float) -> None:
        if tunnel.endpoint is None or self._staged >= STAGED_TOTAL_LIMIT:
            self._lose(tunnel, packets)
            return
        before = len(tunnel.staged)
        displaced = tunnel.stage(packets)
        self._staged += len(tunnel.staged) - before
        self._lose(tunnel, displaced)
        if tunnel.pending is None or now >= tunnel.last_initiation_out + REKEY_TIMEOUT:
            self._initiate(tunnel, now)
        self._agenda.arm(tunnel)

    def _flush(self, tunnel: Tunnel, now: float) -> None:
        packets = list(tunnel.staged)
        tunnel.staged.clear()
        self._staged -= len(packets)
        self.seal(tunnel, packets, now)

    def drop_staged(self, tunnel: Tunnel) -> int:
        """Give up the packets that wait for a handshake; returns how many."""
        lost = list(tunnel.staged)
        tunnel.staged.clear()
        self._staged -= len(lost)
        self._lose(tunnel, lost)
        return len(lost)

    def _lose(self, tunnel: Tunnel, packets: list[bytearray]) -> None:
        """Packets that got no session in time."""
        tunnel.staged_dropped += len(packets)
        if packets and self.on_lost is not None:
            self.on_lost(tunnel, packets)

    def _jitter(self) -> float:
        return int.from_bytes(self._rng(2), "little") / 65536 * MAX_TIMER_JITTER
