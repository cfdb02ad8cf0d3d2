"""Handshakes of one device: the messages that it makes, answers and is answered with, and the indices they go by.

What comes of them, a session or a cookie, is in the tunnel afterwards. Sending, timers, events and where the peer is
are the device's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from struct import Struct

from edge.proto.types import BadPacket, DropReason
from edge.proto.wireguard import noise
from edge.proto.wireguard.cookie import append_macs, open_cookie_reply_untrusted
from edge.proto.wireguard.noise import Identity, RemoteStatic
from edge.proto.wireguard.tai64n import TimestampClock
from edge.proto.wireguard.timers import COOKIE_SECRET_TIME, INITIATION_SPACING
from edge.proto.wireguard.tunnel import Aead, Session, Tunnel

BAD_ANSWERS = 8  # that may come to one handshake message of ours: its index is no secret to the peer

_unpack_index = Struct("<I").unpack_from


class Handshakes:
    """`tunnels` by public key are the device's, and looked into only; `sessions` by our index are for it to read."""

    __slots__ = ("_aead", "_clock", "_identity", "_pending", "_rng", "_tunnels", "sessions")

    def __init__(
        self,
        identity: Identity,
        tunnels: Mapping[bytes, Tunnel],
        *,
        rng: Callable[[int], bytes],
        clock: TimestampClock,
        aead: Aead,
    ) -> None:
        self.sessions: dict[int, Session] = {}
        self._identity = identity
        self._tunnels = tunnels
        self._rng = rng
        self._clock = clock
        self._aead = aead
        self._pending: dict[int, Tunnel] = {}  # by the index of the initiation that waits for its answer

    @property
    def waiting(self) -> int:
        """Initiations that wait for their answer."""
        return len(self._pending)

    def initiate(self, tunnel: Tunnel, now: float) -> bytes:
        """An initiation to send; the one before it is not waited for any more."""
        self.forget(tunnel)
        index = self._new_index()
        body, tunnel.pending = noise.create_initiation(
            self._identity,
            tunnel.remote,
            ephemeral_private=self._rng(32),
            timestamp=self._clock.stamp(now),
            sender_index=index,
        )
        tunnel.pending_index = index
        self._pending[index] = tunnel
        return _with_macs(tunnel, body, now)

    def answer(self, message: bytes, now: float) -> tuple[Tunnel, bytes]:
        """Whose initiation this is, and the response to send; its session is the tunnel's `next`. BadPacket if none."""
        initiation = noise.consume_initiation(self._identity, message, self._lookup)
        tunnel = self._tunnels[initiation.remote.public]
        if initiation.timestamp <= tunnel.timestamp:
            raise BadPacket(DropReason.HANDSHAKE_REPLAYED)
        if now < tunnel.last_initiation_in + INITIATION_SPACING:
            raise BadPacket(DropReason.HANDSHAKE_RATE)
        if tunnel.pending is not None and self._identity.public > tunnel.remote.public:
            # Both began at once. Two sessions, each end sending under its own, would lose packets at every later
            # rekey: the end with the greater key gives way, and the other's handshake is the one.
            self.forget(tunnel)
        tunnel.last_initiation_in = now
        tunnel.timestamp = initiation.timestamp
        index = self._new_index()
        body, keys = noise.create_response(initiation, ephemeral_private=self._rng(32), sender_index=index)
        self._install(
            Session(tunnel, keys, index, initiation.sender_index, initiator=False, now=now, aead=self._aead)
        )
        return tunnel, _with_macs(tunnel, body, now)

    def finish(self, message: bytes, now: float) -> Session:
        """The session that a response to an initiation of ours makes, in use at once. BadPacket if it is none."""
        (receiver,) = _unpack_index(message, 8)
        tunnel = self._pending.get(receiver)
        if tunnel is None or tunnel.pending is None:
            raise BadPacket(DropReason.HANDSHAKE_FAILED)
        try:
            keys = noise.consume_response(self._identity, tunnel.pending, message)
        except BadPacket:
            tunnel.bad_answers += 1
            if tunnel.bad_answers >= BAD_ANSWERS:
                self.forget(tunnel)  # the next initiation has an index of its own
            raise
        (remote_index,) = _unpack_index(message, 4)
        self.forget(tunnel)
        session = Session(tunnel, keys, receiver, remote_index, initiator=True, now=now, aead=self._aead)
        session.started_at = tunnel.started_at
        self._install(session)
        return session

    def take_cookie(self, message: bytes, now: float) -> None:
        """Keep the cookie that came instead of an answer for the tunnel's next message. BadPacket if it is none."""
        (receiver,) = _unpack_index(message, 4)
        tunnel = self._pending.get(receiver)
        if tunnel is None:
            session = self.sessions.get(receiver)
            tunnel = session.tunnel if session is not None else None
        if tunnel is None or not tunnel.sent_mac1:
            raise BadPacket(DropReason.BAD_COOKIE)
        try:
            tunnel.cookie = open_cookie_reply_untrusted(message, tunnel.remote.cookie_key, tunnel.sent_mac1)
        except BadPacket:
            tunnel.bad_answers += 1
            if tunnel.bad_answers >= BAD_ANSWERS:
                tunnel.sent_mac1 = b""
            raise
        tunnel.cookie_at = now
        tunnel.sent_mac1 = b""  # one reply per message: a replayed one must not keep an old cookie fresh

    def forget(self, tunnel: Tunnel) -> None:
        """Wait no more for the answer to an initiation, if one is on its way."""
        if tunnel.pending is not None:
            self._pending.pop(tunnel.pending_index, None)
            tunnel.pending = None

    def retire(self, dead: Iterable[Session]) -> None:
        """Nothing comes under these sessions any more."""
        for session in dead:
            self.sessions.pop(session.local_index, None)

    def erase(self, tunnel: Tunnel) -> None:
        """Forget all keys that were agreed on with the peer."""
        self.retire(tunnel.sessions())
        tunnel.current = tunnel.previous = tunnel.next = None

    def _install(self, session: Session) -> None:
        self.sessions[session.local_index] = session
        self.retire(session.tunnel.install(session))

    def _lookup(self, public: bytes) -> RemoteStatic | None:
        tunnel = self._tunnels.get(public)
        return tunnel.remote if tunnel is not None else None

    def _new_index(self) -> int:
        while True:
            index = int.from_bytes(self._rng(4), "little")
            if index not in self.sessions and index not in self._pending:
                return index


def _with_macs(tunnel: Tunnel, body: bytes, now: float) -> bytes:
    """A handshake message ready to send, with the peer's cookie while that is fresh."""
    fresh = now < tunnel.cookie_at + COOKIE_SECRET_TIME
    message = append_macs(body, tunnel.remote.mac1_key, tunnel.cookie if fresh and tunnel.cookie else None)
    tunnel.sent_mac1 = message[-32:-16]
    tunnel.bad_answers = 0
    return message
