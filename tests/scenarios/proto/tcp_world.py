"""Two hosts that speak TCP, and a path between them that can lose, repeat, delay and shorten; virtual time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple

from edge.proto.ip import TCP, Header, build_tcp, parse_untrusted, tcp_segment, too_big
from edge.proto.types import NEVER
from scenarios.proto.host import Host
from scenarios.proto.ledger import Ledger
from scenarios.proto.tcp import StackLimits, TcpStack
from scenarios.proto.tcp_connection import Connection
from scenarios.proto.tcp_state import StreamEvent

CLIENT, SERVER, ROUTER, STRANGER = "100.96.0.12", "10.0.50.60", "100.96.0.1", "100.96.0.66"
CLIENT6, SERVER6 = "fd00:96::12", "fd00:50::60"


@dataclass(frozen=True)
class Path:
    """What happens to packets on their way, both ways. `vanish` decides on single packets."""

    delay: float = 0.02
    jitter: float = 0.0
    loss: float = 0.0
    repeat: float = 0.0
    mtu: int = 65535
    tells: bool = True
    """Whether a router says that a packet was too big."""
    vanish: Callable[[str, Wire], bool] | None = None


class Wire(NamedTuple):
    """A segment as it was sent."""

    at: float
    source: str
    sequence: int
    acknowledgment: int
    flags: int
    window: int
    options: bytes
    payload: bytes
    size: int


@dataclass
class Stream:
    """One connection of a `Peer` and what it has heard."""

    connection: Connection
    pending: bytearray = field(default_factory=bytearray)
    closing: bool = False
    received: bytearray = field(default_factory=bytearray)
    events: list[StreamEvent] = field(default_factory=list)


class Peer:
    """Writes what it is given, reads what comes, and closes when both is done; each of these can be turned off."""

    def __init__(self, *, answer: bytes = b"", reads: bool = True, closes: bool = True) -> None:
        self.answer, self.reads, self.closes = answer, reads, closes
        self.streams: list[Stream] = []
        self.tcp: TcpStack | None = None

    def attach(self, tcp: TcpStack) -> None:
        self.tcp = tcp

    def connect(self, remote: tuple[str, int], data: bytes, now: float) -> Stream:
        assert self.tcp is not None
        stream = Stream(self.tcp.connect(remote, self, now), bytearray(data))
        self.streams.append(stream)
        self.go_on(stream)
        return stream

    def handle_stream(self, connection: Connection, event: StreamEvent, now: float) -> None:
        stream = next((s for s in self.streams if s.connection is connection), None)
        if stream is None:
            stream = Stream(connection, bytearray(self.answer))
            self.streams.append(stream)
        stream.events.append(event)
        self.go_on(stream)

    def go_on(self, stream: Stream) -> None:
        if self.reads:
            stream.received += stream.connection.read()
        del stream.pending[: stream.connection.write(bytes(stream.pending))]
        if self.closes and not stream.pending:
            stream.connection.close()

    def handle_timeout(self, now: float) -> None:
        """Nothing here waits."""

    def poll_timeout(self) -> float:
        return NEVER

    def poll_event(self) -> None:
        return None


class TcpWorld:
    """`run` moves time until all is quiet or `until`; `wire` has every segment that was sent."""

    def __init__(
        self,
        path: Path | None = None,
        *,
        seed: int = 1,
        ipv6: bool = False,
        limits: StackLimits | None = None,
        server_limits: StackLimits | None = None,
    ) -> None:
        self.now = 0.0
        self.path = path or Path()
        self.rng = random.Random(seed)
        self.ledger = Ledger()
        addresses = (CLIENT6, SERVER6) if ipv6 else (CLIENT, SERVER)
        self.client, self.server = (
            Host(
                name,
                address,
                vnet="acme",
                ledger=self.ledger,
                rng=random.Random(f"{seed}/{name}"),
                tcp_limits=own,
            )
            for name, address, own in zip(
                ("client", "server"), addresses, (limits, server_limits or limits), strict=True
            )
        )
        self.hosts = {host.packed: host for host in (self.client, self.server)}
        self.router = ip_address("fd00:96::1" if ipv6 else ROUTER).packed
        self.wire: list[Wire] = []
        self.raw: list[bytes] = []
        self._on_the_way: list[tuple[float, int, Host, bytes]] = []
        self._count = 0

    # -- what tests do

    def pair(
        self, client: Peer | None = None, server: Peer | None = None, port: int = 80
    ) -> tuple[Peer, Peer]:
        """Applications on both hosts; the server's listens."""
        client, server = client or Peer(), server or Peer()
        self.client.add_stream(client)
        self.server.add_stream(server)
        assert self.server.tcp is not None
        self.server.tcp.listen(port, server)
        return client, server

    def run(self, until: float = 10_000.0) -> None:
        for _ in range(200_000):
            self.collect()
            arrival = self._on_the_way[0][0] if self._on_the_way else NEVER
            at = min(arrival, *(host.poll_timeout() for host in self.hosts.values()))
            if at > until or at == NEVER:
                self.now = max(self.now, until) if until < 10_000.0 else self.now
                return
            self.now = max(self.now, at)
            batches: dict[Host, list[bytearray]] = {}
            while self._on_the_way and self._on_the_way[0][0] <= self.now:
                _, _, host, packet = heapq.heappop(self._on_the_way)
                batches.setdefault(host, []).append(bytearray(packet))
            for host, packets in batches.items():
                host.handle_packets(packets, self.now)
            for host in self.hosts.values():
                host.handle_timeout(self.now)
        raise AssertionError("never quiet")

    def collect(self) -> None:
        for host in self.hosts.values():
            host.handle_timeout(self.now)
            for packet in host.poll_packets():
                self._carry(host, packet)

    def inject(self, host: Host, packet: bytes | bytearray) -> None:
        """A packet that somebody else sent reaches `host` now."""
        host.handle_packets([bytearray(packet)], self.now)
        self.collect()

    def forge(self, host: Host, connection: Connection, **fields: object) -> None:
        """A segment in the name of the peer of `host`'s connection, by somebody who knows what `fields` say."""
        source, port = ip_address(connection.remote[0]).packed, connection.remote[1]
        self.inject(host, build_tcp(source, host.packed, port, connection.local_port, **fields))  # type: ignore[arg-type]

    def sent_by(self, host: Host) -> list[Wire]:
        return [wire for wire in self.wire if wire.source == host.name]

    def quiet(self) -> bool:
        """No connection is left anywhere."""
        return not any(host.tcp.connections for host in self.hosts.values() if host.tcp is not None)

    # -- the path

    def _carry(self, sender: Host, packet: bytearray) -> None:
        header = parse_untrusted(packet)
        wire = None
        if header.protocol == TCP:
            segment = tcp_segment(packet, header)
            wire = Wire(
                self.now, sender.name, *segment[:4], bytes(segment[4]), bytes(segment[5]), len(packet)
            )
            self.wire.append(wire)
            self.raw.append(bytes(packet))
        if len(packet) > self.path.mtu:
            self._too_big(sender, packet, header)
            return
        if wire is not None and self.path.vanish is not None and self.path.vanish(sender.name, wire):
            return
        for _ in range(2 if self.rng.random() < self.path.repeat else 1):
            if self.rng.random() >= self.path.loss:
                self._schedule(header.destination, packet)

    def _too_big(self, sender: Host, packet: bytearray, header: Header) -> None:
        if self.path.tells:
            error = too_big(packet, header, self.router, self.path.mtu)
            assert error is not None
            self._schedule(sender.packed, error)

    def _schedule(self, destination: bytes, packet: bytearray) -> None:
        host = self.hosts.get(destination)
        if host is not None:
            self._count += 1
            at = self.now + self.path.delay + self.path.jitter * self.rng.random()
            heapq.heappush(self._on_the_way, (at, self._count, host, bytes(packet)))
