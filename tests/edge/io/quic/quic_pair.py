"""A client and a server with a wire between them, all in memory and in virtual time."""

from __future__ import annotations

import datetime
import random
from dataclasses import replace
from functools import cache
from heapq import heappop, heappush

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

from edge.io.quic import ClientSettings, QuicClient, QuicServer, ServerSettings
from edge.proto.masque.carrier import (
    CarrierClosed,
    CarrierReady,
    DatagramsReceived,
    RequestReceived,
    ResponseReceived,
)
from edge.proto.types import NEVER

SERVER = ("192.0.2.1", 443)
CLIENT = ("198.51.100.7", 40000)
NAME = "pop.example"
CONNECT = [
    (b":method", b"CONNECT"),
    (b":protocol", b"connect-ip"),
    (b":scheme", b"https"),
    (b":authority", b"pop.example"),
    (b":path", b"/.well-known/masque/ip/*/*/"),
    (b"capsule-protocol", b"?1"),
]
OK = [(b":status", b"200"), (b"capsule-protocol", b"?1")]


def make_certificate(key, name=NAME, *, serial=None, authority=None, ca=False, days=1):
    """PEM of a certificate, self-signed or by `authority` (its certificate and key)."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])
    issuer, signer = subject, key
    if authority is not None:
        issuer = x509.load_pem_x509_certificate(authority[0]).subject
        signer = authority[1]
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial or x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
    if name and not ca:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    digest = None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(signer, digest).public_bytes(Encoding.PEM)


def key_pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def spki(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@cache
def identity(kind="ecdsa", name=NAME):
    """(certificate PEM, key PEM, SPKI): made once, as a test reads it only."""
    key = (
        ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    )
    return make_certificate(key, name), key_pem(key), spki(key)


def server_settings(kind="ecdsa", **changes):
    certificate, key, _ = identity(kind)
    return replace(ServerSettings(certificate, key), **changes)


def client_settings(kind="ecdsa", **changes):
    return replace(ClientSettings(NAME, server_key=identity(kind)[2], keepalive=None), **changes)


def read(datagram, source):
    return memoryview(datagram), len(datagram), source


class Side:
    """An endpoint, where it is, what it has reported, and what it sent."""

    def __init__(self, endpoint, address):
        self.endpoint = endpoint
        self.address = address
        self.events = []
        self.sent = []  # (time, size) of datagrams

    def seen(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def payloads(self, stream=0):
        return [p for event in self.seen(DatagramsReceived) if event.stream == stream for p in event.payloads]


class Pair:
    """`delay` one way in seconds; of each direction's datagrams a share of `loss` disappears."""

    def __init__(
        self, *, server=None, client=None, delay=0.01, loss=0.0, seed=1, backends=(None, None), now=1000.0
    ):
        self.now = now
        self.delay = delay
        self.loss = loss
        self._draw = random.Random(seed)
        rng = random.Random(seed + 1).randbytes
        self.server = Side(
            QuicServer(server or server_settings(), now=now, rng=rng, backend=backends[0]), SERVER
        )
        self.client = self.dial(client, backend=backends[1])
        self._wire = []
        self._sequence = 0
        self.clients = [self.client]
        self.on_event = None  # called with (side, event) as it happens
        self.lose = lambda datagram, source: False

    def dial(self, settings=None, address=CLIENT, backend=None):
        return Side(QuicClient(settings or client_settings(), SERVER, now=self.now, backend=backend), address)

    def add(self, settings=None, address=("198.51.100.8", 40000), backend=None):
        side = self.dial(settings, address, backend)
        self.clients.append(side)
        return side

    # -- the world --

    def deliver(self, datagram, source, target, after=None):
        self._sequence += 1
        heappush(
            self._wire,
            (self.now + (self.delay if after is None else after), self._sequence, datagram, source, target),
        )

    def _turn(self, side):
        for event in side.endpoint.poll_events():
            side.events.append(event)
            if self.on_event is not None:
                self.on_event(side, event)
        for address, datagrams in side.endpoint.poll_transmit(self.now):
            for datagram in datagrams:
                side.sent.append((self.now, len(datagram)))
                if self.lose(datagram, side.address) or (self.loss and self._draw.random() < self.loss):
                    continue
                self.deliver(datagram, side.address, address)

    @property
    def sides(self):
        return [self.server, *self.clients]

    def next_event(self):
        wire = self._wire[0][0] if self._wire else NEVER
        return min(wire, *(side.endpoint.next_timeout() for side in self.sides))

    def step(self):
        """One moment: everything that is due now."""
        reads = {side.address: [] for side in self.sides}
        while self._wire and self._wire[0][0] <= self.now:
            _, _, datagram, source, target = heappop(self._wire)
            if target in reads:
                reads[target].append(read(datagram, source))
        for side in self.sides:
            if reads[side.address]:
                side.endpoint.receive(reads[side.address], self.now)
            if side.endpoint.next_timeout() <= self.now:
                side.endpoint.handle_timeout(self.now)
            self._turn(side)

    def run(self, seconds):
        """Let `seconds` pass."""
        end = self.now + seconds
        for side in self.sides:
            self._turn(side)
        while (at := self.next_event()) <= end:
            self.now = max(self.now, at)
            self.step()
        self.now = end

    def until(self, condition, seconds=10.0):
        end = self.now + seconds
        for side in self.sides:
            self._turn(side)
        while not condition():
            at = self.next_event()
            assert at <= end, f"nothing happened in {seconds} s"
            self.now = max(self.now, at)
            self.step()

    # -- short ways --

    def connect(self, side=None):
        side = side or self.client
        self.until(lambda: side.seen(CarrierReady) or side.seen(CarrierClosed))
        assert side.seen(CarrierReady), side.events
        return side.endpoint.carrier

    def tunnel(self, side=None):
        """A request that is answered with 200; returns (client's carrier, server's carrier, stream)."""
        side = side or self.client
        carrier = self.connect(side)
        before = len(self.server.seen(RequestReceived))
        stream = carrier.request(CONNECT)
        self.until(lambda: len(self.server.seen(RequestReceived)) > before)
        far = self.server.seen(RequestReceived)[-1].carrier
        far.respond(stream, OK)
        self.until(lambda: any(event.stream == stream for event in side.seen(ResponseReceived)))
        return carrier, far, stream
