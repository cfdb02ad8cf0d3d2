"""What forwarding costs a PoP over HTTP/3: received on one connection, sent on another, beside aioquic alone.

Everything is in memory and only the PoP's side is timed. ``python -m tests.benchmarks.quic`` prints the table.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import groupby

from aioquic.h3.connection import H3Connection
from aioquic.h3.events import DatagramReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from edge.io.quic import ClientSettings, QuicClient, QuicServer, ServerSettings
from edge.proto.masque.carrier import Carrier, CarrierReady, DatagramsReceived, RequestReceived
from edge.proto.types import Address

SIZE = 1200
BATCHES = (1, 8, 32)
POP: Address = ("192.0.2.1", 443)
ENDS: tuple[Address, Address] = (("198.51.100.1", 1), ("198.51.100.2", 2))
REQUEST = [(b":method", b"CONNECT"), (b":protocol", b"connect-ip"), (b":scheme", b"https")]
REQUEST += [(b":authority", b"pop"), (b":path", b"/")]


class Stopwatch:
    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        start = time.thread_time()
        yield
        self.seconds += time.thread_time() - start


def identity() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()), key


def merged(datagrams: list[bytes], source: Address) -> list[tuple[memoryview, int, Address]]:
    """Reads as the kernel would merge them: equal sizes that follow each other."""
    runs = (list(run) for _, run in groupby(datagrams, len))
    return [(memoryview(b"".join(run)), len(run[0]), source) for run in runs]


class Pop:
    """Ours: a server, and two clients."""

    def __init__(self) -> None:
        certificate, key = identity()
        pem = certificate.public_bytes(Encoding.PEM)
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        now = time.monotonic()
        self.server = QuicServer(ServerSettings(pem, secret), now=now, rng=os.urandom)
        settings = ClientSettings("pop", server_key=spki)
        self.clients = {address: QuicClient(settings, POP, now=now) for address in ENDS}
        self.carriers: list[Carrier] = []
        while len(self.carriers) < len(ENDS):
            self._settle()
        self.outgoing: dict[Carrier, Carrier] = dict(zip(self.carriers, self.carriers[::-1], strict=True))

    def _settle(self) -> None:
        now = time.monotonic()
        for address, client in self.clients.items():
            for _, datagrams in client.poll_transmit(now):
                self.server.receive(merged(datagrams, address), now)
        self.server.handle_timeout(now)
        for event in self.server.poll_events():
            if isinstance(event, RequestReceived):
                event.carrier.respond(0, [(b":status", b"200")])
                self.carriers.append(event.carrier)
        self._back(self.server.poll_transmit(now), now)

    def _back(self, batches: list[tuple[Address, list[bytes]]], now: float) -> int:
        for address, datagrams in batches:
            self.clients[address].receive(merged(datagrams, POP), now)
        arrived = 0
        for client in self.clients.values():
            for event in client.poll_events():
                if isinstance(event, DatagramsReceived):
                    arrived += len(event.payloads)
                elif isinstance(event, CarrierReady):
                    client.carrier.request(REQUEST)
            if client.next_timeout() <= now:
                client.handle_timeout(now)
        return arrived

    def forward(self, batch: int, rounds: int) -> tuple[float, int]:
        """(seconds of the PoP, packets that arrived)."""
        watch, arrived = Stopwatch(), 0
        payloads = [bytes(SIZE)] * batch
        near = self.clients[ENDS[0]]
        for _ in range(rounds):
            now = time.monotonic()
            near.carrier.send_datagrams(0, payloads)
            reads = {a: c.poll_transmit(now) for a, c in self.clients.items()}
            incoming = [r for a, batches in reads.items() for _, d in batches for r in merged(d, a)]
            with watch.running():
                now = time.monotonic()
                if incoming:
                    self.server.receive(incoming, now)
                if self.server.next_timeout() <= now:
                    self.server.handle_timeout(now)
                for event in self.server.poll_events():
                    if isinstance(event, DatagramsReceived):
                        self.outgoing[event.carrier].send_datagrams(0, event.payloads)
                batches = self.server.poll_transmit(now)
            arrived += self._back(batches, time.monotonic())
        return watch.seconds, arrived


class Alone:
    """aioquic: two connections of a server that hand packets to each other, and nothing around them."""

    def __init__(self) -> None:
        certificate, key = identity()
        common = {"alpn_protocols": ["h3"], "max_datagram_frame_size": 65535, "max_datagram_size": 1350}
        self.near: list[QuicConnection] = []
        self.far: list[QuicConnection] = []
        for address in ENDS:
            near = QuicConnection(
                configuration=QuicConfiguration(is_client=True, verify_mode=ssl.CERT_NONE, **common)  # type: ignore[arg-type]
            )
            near.connect(POP, now=time.monotonic())
            far = QuicConnection(
                configuration=QuicConfiguration(
                    is_client=False,
                    certificate=certificate,
                    private_key=key,
                    **common,  # type: ignore[arg-type]
                ),
                original_destination_connection_id=near.original_destination_connection_id,
            )
            for _ in range(4):
                for one, other, source in ((near, far, address), (far, near, POP)):
                    now = time.monotonic()
                    for data, _to in one.datagrams_to_send(now):
                        other.receive_datagram(data, source, now)
            self.near.append(near)
            self.far.append(far)
        self.near_h3, self.far_h3 = ([H3Connection(q) for q in side] for side in (self.near, self.far))
        self.near_h3[0].send_headers(0, REQUEST)
        self.near_h3[1].send_headers(0, REQUEST)

    def forward(self, batch: int, rounds: int) -> tuple[float, int]:
        watch, arrived = Stopwatch(), 0
        payload = bytes(SIZE)
        source, sink = self.far
        source_h3, sink_h3 = self.far_h3
        for _ in range(rounds):
            now = time.monotonic()
            for _ in range(batch):
                self.near_h3[0].send_datagram(0, payload)
            incoming = [[d for d, _ in near.datagrams_to_send(now)] for near in self.near]
            with watch.running():
                now = time.monotonic()
                for data in incoming[0]:
                    source.receive_datagram(data, ENDS[0], now)
                for data in incoming[1]:
                    sink.receive_datagram(data, ENDS[1], now)
                while (event := source.next_event()) is not None:
                    for seen in source_h3.handle_event(event):
                        if isinstance(seen, DatagramReceived):
                            sink_h3.send_datagram(0, seen.data)
                while (event := sink.next_event()) is not None:
                    sink_h3.handle_event(event)
                outgoing = [[d for d, _ in far.datagrams_to_send(now)] for far in self.far]
                for far in self.far:
                    far.get_timer()
            now = time.monotonic()
            for near, h3, datagrams in zip(self.near, self.near_h3, outgoing, strict=True):
                for data in datagrams:
                    near.receive_datagram(data, POP, now)
                while (event := near.next_event()) is not None:
                    arrived += sum(isinstance(seen, DatagramReceived) for seen in h3.handle_event(event))
        return watch.seconds, arrived


def cost(forward: Callable[[int, int], tuple[float, int]], batch: int, packets: int) -> float:
    """Microseconds of the PoP per packet that arrived."""
    forward(batch, 200 // batch + 1)
    seconds, arrived = forward(batch, packets // batch)
    return seconds / arrived * 1e6


def main(packets: int = 8000, runs: int = 3) -> None:
    print(f"{SIZE} byte packets, in on one connection and out on another; microseconds of the PoP per packet")
    for batch in BATCHES:
        ours, alone = [], []
        for _ in range(runs):
            ours.append(cost(Pop().forward, batch, packets))
            alone.append(cost(Alone().forward, batch, packets))
        a, b = sorted(ours)[runs // 2], sorted(alone)[runs // 2]
        print(f"batch {batch:2}: poplab {a:5.1f}, aioquic alone {b:5.1f}, ratio {a / b:.2f}")


if __name__ == "__main__":
    main()
