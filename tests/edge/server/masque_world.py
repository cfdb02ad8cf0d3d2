"""A PoP without IO and real clients of MASQUE and WireGuard, in virtual time: a millisecond from one to the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import MutableMapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import structlog

from edge.config import EdgeConfig, Kind, MasqueConfig, TunnelConfig, TunnelKind, VnetConfig
from edge.document import Prefix
from edge.io.http2 import ClientSettings as Http2Settings
from edge.io.http2 import Http2Client
from edge.io.quic import ClientSettings as QuicSettings
from edge.io.quic import QuicClient
from edge.proto.ip import build_udp
from edge.proto.masque.carrier import CarrierClosed, CarrierEvent, HttpVersion
from edge.proto.masque.client import ClientSession, SessionState
from edge.proto.masque.credential import Credential
from edge.proto.masque.request import Dialect
from edge.proto.masque.template import DEFAULT_TEMPLATE, Template
from edge.proto.types import NEVER, Eof, Octets, Opened, StreamOutput, Written
from edge.proto.wireguard import Device, Identity, TimestampClock
from edge.server.engine import Engine
from edge.state import MemoryStore
from tests.edge.io.http2 import identities
from tests.edge.server.lab import POP_PUBLIC, ip, key, network, pop

H3, H2 = HttpVersion.H3, HttpVersion.H2
QUIC, WIREGUARD = ("192.0.2.1", 443), ("192.0.2.1", 51820)
STEP, SILENT_STEPS = 0.001, 4
WARP_NAME = "consumer-masque.cloudflareclient.com"


def token(name: str) -> bytes:
    return b"token-of-" + name.encode()


def listener(**changes: Any) -> MasqueConfig:
    server = identities.server()
    config = MasqueConfig(
        ("127.0.0.1", 0),
        server.certificate,
        server.private_key,
        handshake_rate=1e6,
        source_rate=1e6,
    )
    return replace(config, **changes)


def client(name: str, address: str, vnet: str = "acme", **rest: Any) -> TunnelConfig:
    """A device that comes by MASQUE; `tunnel` and `public_key` say otherwise."""
    settings = {
        "tunnel": TunnelKind.MASQUE,
        "token_sha256": sha256(token(name)).digest(),
        "addresses": (ip(address),),
        **rest,
    }
    return TunnelConfig(name, vnet, Kind.CLIENT, **settings)


def site(name: str, *routes: str, vnet: str = "acme", **rest: Any) -> TunnelConfig:
    settings = {
        "tunnel": TunnelKind.MASQUE,
        "token_sha256": sha256(token(name)).digest(),
        "routes": tuple(map(Prefix.parse, routes)),
        "site": name,
        **rest,
    }
    return TunnelConfig(name, vnet, Kind.CONNECTOR, **settings)


def config(
    *tunnels: TunnelConfig, vnets: tuple[VnetConfig, ...] = (), masque: MasqueConfig | None = None
) -> EdgeConfig:
    return replace(pop(*tunnels, vnets=vnets or (network(mtu=1420),)), masque=masque or listener())


def packet(source: str, to: str, payload: bytes = b"hello") -> bytes:
    return bytes(build_udp(ip(source), ip(to), 4000, 5000, payload))


class Far:
    """A client: its session, and the packets that reached it. Unless it `hears`, datagrams are lost and TCP waits."""

    def __init__(self, session: ClientSession) -> None:
        self.session = session
        self.arrived: list[bytes] = []
        self.events: list[CarrierEvent] = []
        self.hears = True
        self.unheard: list[StreamOutput] = []
        self.client: Any = None

    @property
    def up(self) -> bool:
        return self.session.state is SessionState.UP

    @property
    def end(self) -> CarrierClosed | None:
        return next((event for event in self.events if isinstance(event, CarrierClosed)), None)

    def take(self) -> None:
        events = self.client.poll_events()
        self.events += events
        self.arrived += map(bytes, self.session.handle(events))

    def seal(self, *packets: bytes) -> None:
        self.session.seal([bytearray(each) for each in packets])

    def payloads(self) -> list[bytes]:
        """Of what arrived, forgotten with that."""
        arrived, self.arrived = self.arrived, []
        return [each[28:] for each in arrived]


class World:
    def __init__(self, of: EdgeConfig) -> None:
        self.now = 100.0
        capture = structlog.testing.LogCapture()
        self.lines: list[MutableMapping[str, Any]] = capture.entries
        log = structlog.wrap_logger(
            None, processors=[capture], wrapper_class=structlog.make_filtering_bound_logger("debug")
        )
        self.engine = Engine(
            of, MemoryStore(), now=self.now, epoch=1e9, rng=rng("pop"), timer=lambda: 0.0, log=log
        )
        self.quic: dict[tuple[str, int], Far] = {}
        self.tcp: dict[int, Far] = {}
        self.devices: dict[tuple[str, int], Device] = {}
        self.from_wireguard: dict[str, list[bytes]] = {}  # packets that reached a device, by name
        self._names: dict[tuple[str, int], str] = {}
        self._opened: set[int] = set()
        self._written: Counter[int] = Counter()
        self._ports = iter(range(40000, 60000))

    # -- clients --

    def dial(
        self,
        version: HttpVersion,
        name: str = "",
        *,
        shown: bytes | None = None,
        user: str = "",
        identity: identities.Identity | None = None,
        dialect: Dialect = Dialect.STANDARD,
        server_name: str = identities.SERVER_NAME,
    ) -> Far:
        """A client that shows the token of `name`, or what is `shown`; nothing if that is empty."""
        secret = token(name) if shown is None and name else shown or b""
        far = Far(
            ClientSession(
                authority=server_name,
                template=Template.parse(DEFAULT_TEMPLATE),
                credential=Credential(user, secret) if secret else None,
                dialect=dialect,
            )
        )
        certificate, private_key = (identity.certificate, identity.private_key) if identity else (None, None)
        pinned = identities.server().public_key
        if version is H3:
            far.client = QuicClient(
                QuicSettings(
                    server_name, server_key=pinned, certificate=certificate, private_key=private_key
                ),
                QUIC,
                now=self.now,
            )
            self.quic["198.51.100.7", next(self._ports)] = far
        else:
            far.client = Http2Client(
                Http2Settings(
                    server_name, pinned_key=pinned, certificate=certificate, private_key=private_key
                ),
                peer=QUIC,
                now=self.now,
                rng=rng(f"client {name}"),
            )
            self.tcp[next(self._ports)] = far
        self.settle()
        return far

    def device(self, name: str) -> Device:
        """A peer of WireGuard whose handshake is done."""
        device = Device(
            Identity.from_bytes(key(name)), rng=rng(name), clock=TimestampClock(1e9), now=self.now
        )
        address = "198.51.100.7", next(self._ports)
        self.devices[address] = device
        self._names[address] = name
        self.from_wireguard[name] = []
        tunnel = device.add_peer("pop", POP_PUBLIC, endpoint=WIREGUARD)
        device.initiate(tunnel, self.now)
        self.settle()
        return device

    def say(self, device: Device, *packets: bytes) -> None:
        (tunnel,) = device.tunnels.values()
        device.seal(tunnel, [bytearray(each) for each in packets], self.now)
        self.settle()

    def vanishes(self, far: Far) -> None:
        """Without a word."""
        self.quic = {address: each for address, each in self.quic.items() if each is not far}

    # -- time --

    def settle(self) -> None:
        """Until nobody has anything to say."""
        silent = 0
        for _ in range(1000):
            silent = 0 if self.step() else silent + 1
            if silent == SILENT_STEPS:
                return
        raise AssertionError("they talk for ever")

    def step(self) -> bool:
        """One turn of everybody; whether anything was said."""
        self.now += STEP
        for far in [*self.quic.values(), *self.tcp.values()]:
            at = far.client.next_timeout()
            if (at if isinstance(at, float) else at.at) <= self.now:
                far.client.handle_timeout(self.now)
        quic = [read(d, a) for a, far in self.quic.items() for d in self._quic_said(far)]
        wireguard = [
            read(datagram, address)
            for address, device in self.devices.items()
            for _, datagrams in device.poll_transmit()
            for datagram in datagrams
        ]
        streams = self._tcp_said()
        said = bool(quic or wireguard or streams)
        self.engine.turn(wireguard, self.now, quic, streams)
        return self._deliver() or said

    def _quic_said(self, far: Far) -> list[bytes]:
        return [datagram for _, datagrams in far.client.poll_transmit(self.now) for datagram in datagrams]

    def _tcp_said(self) -> list[Any]:
        events: list[Any] = []
        for number, far in self.tcp.items():
            if number not in self._opened:
                self._opened.add(number)
                events.append(Opened(number, ("198.51.100.8", number)))
            if written := self._written.pop(number, 0):
                events.append(Written(number, written))
            if data := far.client.poll_transmit():
                far.client.written(len(data))
                events.append(Octets(number, data))
            if far.client.closed and number in self._opened:
                events.append(Eof(number))
        for number in [n for n, far in self.tcp.items() if far.client.closed]:
            del self.tcp[number]
        return events

    def _deliver(self) -> bool:
        said = False
        for address, datagrams in self.engine.poll_quic():
            said = True
            far = self.quic.get(address)
            if far is not None and far.hears:
                far.client.receive([read(each, QUIC) for each in datagrams], self.now)
        for address, datagrams in self.engine.poll_transmit():
            said = True
            for _, packets in self.devices[address].open([read(d, WIREGUARD) for d in datagrams], self.now):
                self.from_wireguard[self._names[address]] += map(bytes, packets)
        late = [output for far in [*self.tcp.values()] if far.hears for output in far.unheard]
        for far in self.tcp.values():
            far.unheard = [] if far.hears else far.unheard
        for output in late + self.engine.poll_streams():
            said = True
            self._to_tcp(output)
        for far in [*self.quic.values(), *self.tcp.values()]:
            far.take()
        return said

    def _to_tcp(self, output: StreamOutput) -> None:
        far = self.tcp.get(output.connection_id)
        if far is None:
            return
        if not far.hears:
            far.unheard.append(output)
            return
        if output.data:
            self._written[output.connection_id] += len(output.data)
            far.client.receive(output.data, self.now)
        if output.close:
            far.client.receive(b"", self.now)
        far.take()

    def later(self, seconds: float) -> None:
        """Time passes; timers fire when they are due."""
        until = self.now + seconds
        while (at := self._due()) <= until:
            self.now = max(self.now, at - STEP)
            self.settle()
        self.now = max(self.now, until)
        self.settle()

    def _due(self) -> float:
        quic = (far.client.next_timeout() for far in self.quic.values())
        tcp = (far.client.next_timeout().at for far in self.tcp.values())
        return min(self.engine.poll_timeout(), *quic, *tcp, NEVER)

    # -- what it counts --

    @property
    def snapshot(self):
        return self.engine.snapshot(self.now)

    def accounted(self) -> None:
        for vnet in self.snapshot.vnets:
            assert vnet.unaccounted == 0 and vnet.packets_out >= 0, vnet

    def events(self, name: str) -> list[MutableMapping[str, Any]]:
        return [line for line in self.lines if line["event"] == name]


def read(datagram: bytes, source: tuple[str, int]) -> tuple[memoryview, int, tuple[str, int]]:
    return memoryview(bytearray(datagram)), len(datagram), source


def rng(seed: str) -> Any:
    drawn = iter(range(10**9))
    return lambda size: (sha256(f"{seed} {next(drawn)}".encode()).digest() * (size // 32 + 1))[:size]
