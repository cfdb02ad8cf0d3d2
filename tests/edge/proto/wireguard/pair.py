"""Two devices and the wire between them, in virtual time: a protocol test in three lines."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable

from edge.proto.types import NEVER, Address
from edge.proto.wireguard import Device, Event, Identity, TimestampClock, Tunnel

EPOCH = 1_700_000_000.0


def key(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def device(name: str, *, now: float = 0.0, seed: int = 1, clock: TimestampClock | None = None) -> Device:
    return Device(
        Identity.from_bytes(key(name)),
        rng=random.Random(f"{name}/{seed}").randbytes,
        clock=TimestampClock(EPOCH) if clock is None else clock,
        now=now,
    )


class Pair:
    """`a` knows where `b` is and begins; `b` only answers, as a PoP does.

    `filter(sender, datagram)` decides on the wire: False loses the datagram. Everything that passed is in `wire`.
    """

    A: Address = ("192.0.2.1", 1111)
    B: Address = ("192.0.2.2", 2222)

    def __init__(
        self,
        *,
        psk: bytes | None = None,
        keepalive: float | None = None,
        b_knows_a: bool = False,
        latency: float = 0.01,
        seed: int = 1,
    ) -> None:
        self.now = 0.0
        self.latency = latency
        self.a = device("a", seed=seed)
        self.b = device("b", seed=seed)
        self.to_b: Tunnel = self.a.add_peer(
            "b", self.b.identity.public, psk=psk, endpoint=self.B, persistent_keepalive=keepalive
        )
        self.to_a: Tunnel = self.b.add_peer(
            "a", self.a.identity.public, psk=psk, endpoint=self.A if b_knows_a else None
        )
        self.filter: Callable[[str, bytes], bool] = lambda sender, datagram: True
        self.wire: list[tuple[float, str, bytes]] = []
        self.packets: dict[str, list[bytes]] = {"a": [], "b": []}
        self.events: dict[str, list[Event]] = {"a": [], "b": []}
        self._in_flight: list[tuple[float, str, bytes]] = []
        self._sources = {"a": self.A, "b": self.B}

    def move_a(self, address: Address) -> None:
        """From now on `a` sends from `address`, and only there it hears."""
        self._sources["a"] = address

    def send(self, sender: str, *payloads: bytes) -> None:
        dev, tunnel = (self.a, self.to_b) if sender == "a" else (self.b, self.to_a)
        dev.seal(tunnel, [bytearray(p) for p in payloads], self.now)
        self._collect()

    def initiate(self, sender: str) -> None:
        dev, tunnel = (self.a, self.to_b) if sender == "a" else (self.b, self.to_a)
        dev.initiate(tunnel, self.now)
        self._collect()

    def announce(self) -> None:
        """`a` tells where it is."""
        self.a.announce(self.to_b, self.now)
        self._collect()

    def inject(self, receiver: str, datagram: bytes, source: Address) -> None:
        """A datagram from anywhere, at once."""
        self._open(receiver, datagram, source)
        self._collect()

    def drive(self, until: float, steps: int = 20_000) -> None:
        """Deliver and fire timers in order until the clock stands at `until`; a livelock is an error, not a hang."""
        for _ in range(steps):
            at = min(
                min((t for t, _, _ in self._in_flight), default=NEVER),
                self.a.poll_timeout().at,
                self.b.poll_timeout().at,
            )
            if at > until:
                self.now = until
                return
            self.now = max(self.now, at)
            due = [d for d in self._in_flight if d[0] <= self.now]
            self._in_flight = [d for d in self._in_flight if d[0] > self.now]
            for _, sender, datagram in due:
                self._open("b" if sender == "a" else "a", datagram, self._sources[sender])
            for dev in (self.a, self.b):
                if dev.poll_timeout().at <= self.now:
                    dev.handle_timeout(self.now)
            self._collect()
        raise AssertionError(f"still busy after {steps} steps at {self.now}")

    def connect(self) -> None:
        self.initiate("a")
        self.drive(self.now + 1)
        assert self.to_b.is_up(self.now)
        assert self.to_a.is_up(self.now)

    def _open(self, receiver: str, datagram: bytes, source: Address) -> None:
        dev = self.b if receiver == "b" else self.a
        for _, packets in dev.open([(memoryview(datagram), len(datagram), source)], self.now):
            self.packets[receiver] += [bytes(p) for p in packets]

    def _collect(self) -> None:
        for name, dev, other in (("a", self.a, self.B), ("b", self.b, self._sources["a"])):
            self.events[name] += dev.poll_events()
            for address, datagrams in dev.poll_transmit():
                for datagram in datagrams:
                    if self.filter(name, datagram):
                        self.wire.append((self.now, name, datagram))
                        if address == other:
                            self._in_flight.append((self.now + self.latency, name, datagram))

    def on_wire(self, sender: str, kind: int) -> list[bytes]:
        return [d for _, s, d in self.wire if s == sender and d[0] == kind]
