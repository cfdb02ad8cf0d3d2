"""One WireGuard tunnel: its keypairs, endpoint, timers and the packets that wait for a session.

The same core serves a PoP with ten thousand tunnels and a client with one. It holds state and decides; the
device (``device.py``) moves the bytes, its ``handshakes.py`` speaks the handshake and owns the indices.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from edge.proto.types import NEVER, Address, DropReason
from edge.proto.wireguard.noise import InitiatorState, RemoteStatic, SessionKeys
from edge.proto.wireguard.replay import ReplayWindow
from edge.proto.wireguard.timers import (
    ERASE_AFTER_TIME,
    LAST_MINUTE_TIME,
    REJECT_AFTER_TIME,
    REKEY_AFTER_TIME,
    Timers,
)

Aead = Callable[[bytes], Any]
"""From a key to what ``encrypt`` and ``decrypt_into`` of a ChaCha20Poly1305 are."""

STAGED_LIMIT = 128  # packets that wait for a handshake, the oldest goes first (as in the kernel)


class Session:
    """One pair of transport keys, known to the peer under `local_index` and to us under `remote_index`."""

    __slots__ = (
        "counter",
        "created_at",
        "decrypt_into",
        "encrypt",
        "expires_at",
        "initiator",
        "local_index",
        "rekey_at",
        "remote_index",
        "renew_at",
        "started_at",
        "tunnel",
        "window",
    )

    def __init__(
        self,
        tunnel: Tunnel,
        keys: SessionKeys,
        local_index: int,
        remote_index: int,
        *,
        initiator: bool,
        now: float,
        aead: Aead,
    ) -> None:
        self.tunnel = tunnel
        self.local_index = local_index
        self.remote_index = remote_index
        self.initiator = initiator
        self.created_at = now
        self.started_at = now  # when the handshake that made it began
        self.expires_at = now + REJECT_AFTER_TIME
        # Only the initiator renews by age (whitepaper 6.2), else both sides would at once: when it sends, and when
        # it receives what it may soon no longer answer under this session.
        self.rekey_at = now + REKEY_AFTER_TIME if initiator else NEVER
        self.renew_at = now + LAST_MINUTE_TIME if initiator else NEVER
        self.counter = 0
        self.window = ReplayWindow()
        self.encrypt = aead(keys.send).encrypt
        self.decrypt_into = aead(keys.receive).decrypt_into


class Tunnel:
    """What we know about one peer. `owner` is the caller's own object for it and never looked into here."""

    __slots__ = (
        "armed_at",
        "attempts",
        "bad_answers",
        "bytes_in",
        "bytes_out",
        "cookie",
        "cookie_at",
        "current",
        "endpoint",
        "handshakes",
        "handshakes_initiated",
        "last_handshake",
        "last_initiation_in",
        "last_initiation_out",
        "mtu",
        "name",
        "next",
        "owner",
        "packets_in",
        "packets_out",
        "pending",
        "pending_index",
        "persistent_keepalive",
        "previous",
        "remote",
        "sent_mac1",
        "staged",
        "staged_dropped",
        "started_at",
        "timers",
        "timestamp",
    )

    def __init__(
        self,
        name: str,
        remote: RemoteStatic,
        *,
        endpoint: Address | None,
        persistent_keepalive: float | None,
        timestamp: bytes,
        mtu: int,
        owner: Any,
    ) -> None:
        self.name = name
        self.remote = remote
        self.endpoint = endpoint
        self.set_persistent_keepalive(persistent_keepalive)
        self.timestamp = timestamp  # greatest TAI64N accepted from the peer
        self.mtu = mtu
        self.owner = owner
        self.timers = Timers()
        self.armed_at = NEVER  # earliest deadline that the device has in its heap for us

        self.current: Session | None = None
        self.previous: Session | None = None
        self.next: Session | None = None  # responder: usable for receiving, for sending only once confirmed

        self.pending: InitiatorState | None = None
        self.pending_index = 0
        self.sent_mac1 = b""  # of the last handshake message sent: a cookie reply must answer it
        self.cookie = b""
        self.cookie_at = -NEVER
        self.attempts = 0
        self.bad_answers = 0  # to our last handshake message, that did not open
        self.started_at = 0.0
        self.last_initiation_out = -NEVER
        self.last_initiation_in = -NEVER
        self.last_handshake = -NEVER

        self.staged: deque[bytearray] = deque()
        self.staged_dropped = 0
        self.handshakes = 0
        self.handshakes_initiated = 0
        self.packets_in = self.bytes_in = 0  # inner packets, padding included as on the wire
        self.packets_out = self.bytes_out = 0

    def __repr__(self) -> str:
        return f"<Tunnel {self.name} endpoint={self.endpoint} up={self.current is not None}>"

    def set_persistent_keepalive(self, seconds: float | None) -> None:
        """None: none. ValueError below a second."""
        if seconds is not None and seconds < 1:
            raise ValueError("a persistent keepalive is at least 1 s apart")
        self.persistent_keepalive = seconds

    @property
    def waiting(self) -> int:
        """Packets handed to the tunnel that have not left yet."""
        return len(self.staged)

    @property
    def lost(self) -> Counter[DropReason]:
        """Packets handed to the tunnel that never left, ever."""
        return Counter({DropReason.TUNNEL_DOWN: self.staged_dropped} if self.staged_dropped else ())

    def is_up(self, now: float) -> bool:
        """True while there is a session that may still be used."""
        return self.current is not None and now < self.current.expires_at

    @property
    def was_heard(self) -> bool:
        """True once the peer has proven, to this device, to be at an endpoint of its own."""
        return self.handshakes > 0 or self.last_initiation_in > -NEVER

    # -- keypair rotation (whitepaper 6.3, kernel names) --

    def install(self, session: Session) -> list[Session]:
        """Take a fresh session into use; returns the sessions that are dead now."""
        dead: list[Session] = []
        if session.initiator:
            # We heard the response, so the peer has the key: use it at once. A `next` from a handshake that the
            # peer started at the same moment stays usable for receiving as `previous`.
            older = self.next if self.next is not None else self.current
            if self.next is not None and self.current is not None:
                dead.append(self.current)
            if self.previous is not None:
                dead.append(self.previous)
            self.previous, self.current, self.next = older, session, None
        else:
            if self.next is not None:
                dead.append(self.next)
            if self.previous is not None:
                dead.append(self.previous)
            self.next, self.previous = session, None
        self.timers.erase_at = session.created_at + ERASE_AFTER_TIME
        return dead

    def confirm(self) -> list[Session]:
        """The peer has used `next`: now we may send with it. Returns the sessions that are dead now."""
        dead = [self.previous] if self.previous is not None else []
        self.previous, self.current, self.next = self.current, self.next, None
        return dead

    def sessions(self) -> list[Session]:
        return [s for s in (self.current, self.previous, self.next) if s is not None]

    def stage(self, packets: list[bytearray]) -> list[bytearray]:
        """Keep packets until there is a session; the oldest give way and are returned."""
        self.staged.extend(packets)
        return [self.staged.popleft() for _ in range(len(self.staged) - STAGED_LIMIT)]
