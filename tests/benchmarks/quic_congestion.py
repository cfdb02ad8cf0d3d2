"""How datagrams fare over a bad link with each congestion control, in memory and in virtual time.

``python -m tests.benchmarks.quic_congestion`` prints a table: delivery, the delay that QUIC adds, what waits.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from statistics import median

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from edge.io.quic import ClientSettings, QuicClient, QuicServer, ServerSettings
from edge.io.quic.aioquic_backend import AioquicBackend
from edge.proto.masque.carrier import CarrierReady, DatagramsReceived, RequestReceived
from edge.proto.types import Address
from tests.benchmarks.quic import POP, REQUEST, identity

SIZE = 1200
SECONDS = 20.0


@dataclass
class Link:
    """One way. Without `bandwidth` (bytes per second) it is as fast as one likes; its queue is in packets."""

    delay: float
    loss: float = 0.0
    bandwidth: float = 0.0
    queue: int = 50
    free_at: float = 0.0

    def arrival(self, size: int, now: float, draw: random.Random) -> float | None:
        if self.loss and draw.random() < self.loss:
            return None
        if not self.bandwidth:
            return now + self.delay
        start = max(now, self.free_at)
        if (start - now) * self.bandwidth > self.queue * SIZE:
            return None
        self.free_at = start + size / self.bandwidth
        return self.free_at + self.delay


@dataclass
class Flow:
    """A client that sends `rate` bits per second of SIZE byte packets through a PoP."""

    client: QuicClient
    address: Address
    rate: float
    next_at: float
    sent: int = 0
    delays: list[float] = field(default_factory=list)


class World:
    def __init__(self, flows: dict[str, float], up: Link, delay: float, seed: int = 1) -> None:
        """`flows` by algorithm, in bits per second."""
        certificate, key = identity()
        pem = certificate.public_bytes(Encoding.PEM)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.draw = random.Random(seed)
        self.up, self.down = up, Link(delay)
        self.now = 100.0
        self.server = QuicServer(ServerSettings(pem, secret), now=self.now, rng=self.draw.randbytes)
        settings = ClientSettings("pop", server_key=spki)
        self.flows: dict[Address, Flow] = {}
        self.algorithms: dict[Address, str] = {}
        for number, (algorithm, rate) in enumerate(flows.items()):
            address = (f"198.51.100.{number + 1}", 1)
            client = QuicClient(settings, POP, now=self.now, backend=AioquicBackend(algorithm))
            self.flows[address] = Flow(client, address, rate, self.now + 1)
            self.algorithms[address] = algorithm
        self.wire: list[tuple[float, int, bytes, Address, Address]] = []
        self.count = 0

    def _send(self, batches: list[tuple[Address, list[bytes]]], source: Address) -> None:
        link = self.down if source == POP else self.up
        for target, datagrams in batches:
            for datagram in datagrams:
                at = link.arrival(len(datagram), self.now, self.draw)
                if at is not None:
                    self.count += 1
                    heappush(self.wire, (at, self.count, datagram, source, target))

    def _wakes(self, end: float) -> Iterator[float]:
        yield end
        yield self.server.next_timeout()
        if self.wire:
            yield self.wire[0][0]
        for flow in self.flows.values():
            yield flow.client.next_timeout()
            if flow.client.carrier.established:
                yield flow.next_at

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        for flow in self.flows.values():
            self._send(flow.client.poll_transmit(self.now), flow.address)
        while self.now < end:
            self.now = max(self.now, min(self._wakes(end)))
            while self.wire and self.wire[0][0] <= self.now:
                _, _, datagram, source, target = heappop(self.wire)
                endpoint = self.server if target == POP else self.flows[target].client
                endpoint.receive([(memoryview(datagram), len(datagram), source)], self.now)
            self.server.handle_timeout(self.now)
            for event in self.server.poll_events():
                if isinstance(event, RequestReceived):
                    event.carrier.respond(0, [(b":status", b"200")])
                elif isinstance(event, DatagramsReceived):
                    for payload in event.payloads:
                        sent_at = float(payload[1:33].split(b" ")[0])
                        self.flows[event.carrier.peer].delays.append(self.now - sent_at)
            self._send(self.server.poll_transmit(self.now), POP)
            for flow in self.flows.values():
                self._turn(flow)

    def _turn(self, flow: Flow) -> None:
        client = flow.client
        client.handle_timeout(self.now)
        for event in client.poll_events():
            if isinstance(event, CarrierReady):
                client.carrier.request(REQUEST)
        while client.carrier.established and flow.next_at <= self.now:
            payload = b"\0" + f"{self.now:.9f} ".encode()
            client.carrier.send_datagrams(0, [payload.ljust(SIZE, b" ")])
            flow.sent += 1
            flow.next_at += SIZE * 8 / flow.rate
        self._send(client.poll_transmit(self.now), flow.address)


def row(world: World, flow: Flow, seconds: float) -> str:
    added = sorted((delay - world.up.delay) * 1000 for delay in flow.delays)
    delivered = len(flow.delays) / max(1, flow.sent)
    rate = len(flow.delays) * SIZE * 8 / seconds / 1e6
    p99 = added[int(len(added) * 0.99)] if added else 0.0
    waiting = len(flow.client.carrier.queue(0))
    return (
        f"{delivered:7.1%} {rate:6.2f} Mbit/s, added delay median {median(added or [0]):6.1f} ms, "
        f"p99 {p99:6.1f} ms, {waiting} wait"
    )


def compare(title: str, rate: float, **link: float) -> None:
    print(title)
    for algorithm in ("reno", "cubic", "poplab-tunnel"):
        world = World({algorithm: rate}, Link(0.02, **link), 0.02)  # type: ignore[arg-type]
        start = time.thread_time()
        world.run(SECONDS)
        [flow] = world.flows.values()
        print(f"  {algorithm:14} {row(world, flow, SECONDS)} ({time.thread_time() - start:.1f} s)")


def share(title: str, rate: float, **link: float) -> None:
    print(title)
    for rival in ("reno", "cubic"):
        world = World({rival: rate, "poplab-tunnel": rate}, Link(0.02, **link), 0.02)  # type: ignore[arg-type]
        world.run(SECONDS)
        for address, flow in world.flows.items():
            print(f"  {world.algorithms[address]:14} {row(world, flow, SECONDS)}")


def main() -> None:
    for loss in (0.0, 0.001, 0.01, 0.03):
        compare(f"5 Mbit/s, 40 ms round trip, {loss:.1%} loss", 5e6, loss=loss)
    compare("8 Mbit/s into 5 Mbit/s, queue of 50 packets", 8e6, bandwidth=5e6 / 8)
    compare("8 Mbit/s into 5 Mbit/s, queue of 10 packets", 8e6, bandwidth=5e6 / 8, queue=10)
    share("two of 8 Mbit/s share 5 Mbit/s, queue of 50 packets", 8e6, bandwidth=5e6 / 8)
    share("two of 8 Mbit/s share 5 Mbit/s, queue of 10 packets", 8e6, bandwidth=5e6 / 8, queue=10)


if __name__ == "__main__":
    main()
