"""UDP echo (RFC 862) and the probe that measures with it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from edge.proto.types import NEVER
from scenarios.proto.app import TTL, Endpoint

ECHO_PORT = 7


class Echoed(NamedTuple):
    """The server answered one datagram."""

    source: Endpoint
    size: int


class UdpEcho:
    """Sends every datagram back to where it came from."""

    def __init__(self, port: int = ECHO_PORT) -> None:
        self.port = port
        self.answered = 0
        self._out: list[tuple[int, Endpoint, bytes]] = []
        self._events: deque[Echoed] = deque(maxlen=1000)

    def wants(self, port: int) -> bool:
        return port == self.port

    def handle_datagram(self, local_port: int, source: Endpoint, data: bytes, now: float) -> None:
        if source[1] < 1024:
            return  # another server, not a client: two echo servers would never stop
        self.answered += 1
        self._out.append((local_port, source, data))
        self._events.append(Echoed(source, len(data)))

    def poll_transmit(self) -> list[tuple[int, Endpoint, bytes]]:
        out, self._out = self._out, []
        return out

    def handle_timeout(self, now: float) -> None:
        """Nothing here waits."""

    def poll_timeout(self) -> float:
        return NEVER

    def poll_event(self) -> Echoed | None:
        return self._events.popleft() if self._events else None


class ProbeEnded(NamedTuple):
    """A probe has all its answers, or has waited long enough for them."""

    probe: Probe


@dataclass(slots=True)
class Probe:
    """`count` numbered requests, one every `interval`, each answered within `patience` or lost."""

    destination: Endpoint
    payload: bytes
    count: int
    interval: float
    patience: float
    local_port: int
    ttl: int = TTL
    sent: int = 0
    next_at: float = 0.0
    last_sent_at: float = 0.0
    sent_at: dict[int, float] = field(default_factory=dict)
    round_trips: dict[int, float] = field(default_factory=dict)
    replies_from: set[str] = field(default_factory=set)
    ended: bool = False

    @property
    def received(self) -> int:
        return len(self.round_trips)

    def answered(self, sequence: int, source: str, now: float) -> None:
        """Note the answer to request `sequence`; a second answer to the same changes nothing."""
        if sequence in self.sent_at and sequence not in self.round_trips:
            self.round_trips[sequence] = now - self.sent_at[sequence]
            self.replies_from.add(source)

    def due(self, now: float) -> list[int]:
        """The numbers of the requests to send now."""
        numbers = []
        while self.sent < self.count and self.next_at <= now:
            self.sent_at[self.sent] = now
            numbers.append(self.sent)
            self.sent += 1
            self.last_sent_at = now
            self.next_at += self.interval
        return numbers

    def deadline(self) -> float:
        """When to look at this probe again."""
        if self.ended:
            return NEVER
        if self.sent < self.count:
            return self.next_at
        return NEVER if self.received == self.count else self.last_sent_at + self.patience

    def finish(self, now: float) -> bool:
        """True once, when nothing more is to be expected."""
        complete = self.received == self.count
        waited = self.sent == self.count and now >= self.last_sent_at + self.patience
        if self.ended or not (complete or waited):
            return False
        self.ended = True
        return True


class UdpProbe:
    """The client side: sends numbered datagrams to an echo server and times the answers."""

    FIRST_PORT = 49152  # RFC 6335: dynamic ports begin here

    def __init__(self) -> None:
        self._probes: dict[int, Probe] = {}
        self._open: dict[int, Probe] = {}  # those that have not ended
        self._out: list[tuple[int, Endpoint, bytes]] = []
        self._events: deque[ProbeEnded] = deque()

    def start(
        self,
        destination: Endpoint,
        payload: bytes,
        *,
        count: int,
        interval: float,
        patience: float,
        now: float,
    ) -> Probe:
        """Begin a series; its end is a `ProbeEnded` event."""
        port = self.FIRST_PORT + len(self._probes) % 16384
        probe = Probe(destination, payload, count, interval, patience, port, next_at=now)
        self._probes[port] = self._open[port] = probe
        self.handle_timeout(now)
        return probe

    def wants(self, port: int) -> bool:
        return port in self._probes

    def handle_datagram(self, local_port: int, source: Endpoint, data: bytes, now: float) -> None:
        probe = self._probes[local_port]
        if source != probe.destination or len(data) < 4 or data[4:] != probe.payload:
            return
        probe.answered(int.from_bytes(data[:4]), source[0], now)
        self._finish(probe, now)

    def handle_timeout(self, now: float) -> None:
        for port, probe in list(self._open.items()):
            for number in probe.due(now):
                self._out.append((port, probe.destination, number.to_bytes(4) + probe.payload))
            self._finish(probe, now)

    def poll_transmit(self) -> list[tuple[int, Endpoint, bytes]]:
        out, self._out = self._out, []
        return out

    def poll_timeout(self) -> float:
        return min(probe.deadline() for probe in self._open.values()) if self._open else NEVER

    def poll_event(self) -> ProbeEnded | None:
        return self._events.popleft() if self._events else None

    def _finish(self, probe: Probe, now: float) -> None:
        if probe.finish(now):
            del self._open[probe.local_port]
            self._events.append(ProbeEnded(probe))
