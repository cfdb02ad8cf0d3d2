"""A real PoP and real far ends on 127.0.0.1, small enough to reason about."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address, ip_network

import trio

from connectors.client import Client
from connectors.connector import Connector
from connectors.endpoint import Endpoint
from edge.config import EdgeConfig, Kind, TunnelConfig, VnetConfig, public_key
from edge.document import Prefix
from edge.io.udp import UdpPort
from edge.metrics import Snapshot
from edge.proto.forwarding import Action
from edge.proto.ip import UDP, Header, build_udp, parse_untrusted, udp_payload
from edge.proto.types import NEVER, Address
from edge.proto.wireguard import Device, Identity, TimestampClock, Tunnel
from edge.server.relay import Relay
from edge.state import MemoryStore, StateStore

PATIENCE = 10.0  # seconds until a test gives up; nothing takes a tenth of it
PORTS = (4000, 5000)


def key(name: str) -> bytes:
    """The private key of `name`, the same in every run."""
    return sha256(name.encode()).digest()


def ip(text: str) -> bytes:
    return ip_address(text).packed


POP_KEY = key("pop")
POP_PUBLIC = public_key(POP_KEY)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for `condition`; TooSlowError if it never holds."""
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.sleep(0.001)


# -- configuration --


def client(name: str, *addresses: str, vnet: str = "acme", **rest) -> TunnelConfig:
    return TunnelConfig(
        name,
        vnet,
        Kind.CLIENT,
        public_key(key(name)),
        addresses=tuple(map(ip, addresses)),
        **rest,
    )


def site(name: str, *routes: str, vnet: str = "acme", **rest) -> TunnelConfig:
    settings = {"routes": tuple(map(Prefix.parse, routes)), "site": name, **rest}
    return TunnelConfig(name, vnet, Kind.CONNECTOR, public_key(key(name)), **settings)


def replica(of: str, name: str, address: str, *routes: str, **rest) -> TunnelConfig:
    return site(name, *routes, site=of, addresses=(ip(address),), **rest)


def network(name: str = "acme", **rest) -> VnetConfig:
    settings = {"pool": Prefix.parse("100.96.0.0/24"), "default": Action.ALLOW, **rest}
    return VnetConfig(name, **settings)


def pop(
    *tunnels: TunnelConfig, vnets: tuple[VnetConfig, ...] = (), listen: Address = ("127.0.0.1", 0)
) -> EdgeConfig:
    return EdgeConfig(
        name="lab",
        listen=listen,
        private_key=POP_KEY,
        vnets={vnet.name: vnet for vnet in vnets or (network(),)},
        tunnels={tunnel.name: tunnel for tunnel in tunnels},
    )


# -- hosts --


@dataclass(frozen=True)
class Arrival:
    """A UDP packet as it reached a host."""

    source: str
    destination: str
    payload: bytes
    ttl: int


@dataclass
class Host:
    """What lies behind a tunnel: it says what it is told to, with any source, and remembers what came."""

    address: str
    arrivals: list[Arrival] = field(default_factory=list)
    others: list[Header] = field(default_factory=list)
    outbox: list[bytearray] = field(default_factory=list)
    endpoint: Endpoint | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def run(self, *, task_status: trio.TaskStatus[Endpoint]) -> None:
        """The tunnel; it ends with `scope`, without a goodbye."""
        assert self.endpoint is not None
        with self.scope:
            await self.endpoint.run(task_status=task_status)

    def send(self, to: str, *payloads: bytes, source: str = "", ports: tuple[int, int] = PORTS) -> None:
        for payload in payloads:
            self.outbox.append(build_udp(ip(source or self.address), ip(to), *ports, payload))
        if self.endpoint is not None:
            self.endpoint.wake()

    @property
    def payloads(self) -> list[bytes]:
        return [arrival.payload for arrival in self.arrivals]

    async def receives(self, *payloads: bytes) -> None:
        """Wait for exactly these, in order, and forget them."""
        with trio.move_on_after(PATIENCE):
            while len(self.arrivals) < len(payloads):
                await trio.sleep(0.001)
        assert self.payloads == list(payloads)
        self.arrivals.clear()

    def handle_packets(self, packets: list[bytearray], now: float) -> None:
        for packet in packets:
            header = parse_untrusted(packet)
            if header.protocol == UDP:
                payload = bytes(udp_payload(packet, header))
                source, destination = str(ip_address(header.source)), str(ip_address(header.destination))
                self.arrivals.append(Arrival(source, destination, payload, header.ttl))
            else:
                self.others.append(header)

    def poll_packets(self) -> list[bytearray]:
        out, self.outbox = self.outbox, []
        return out

    def handle_timeout(self, now: float) -> None:
        pass

    def poll_timeout(self) -> float:
        return NEVER


# -- a world --


@dataclass
class Lab:
    """A running PoP, and a nursery for far ends."""

    relay: Relay
    nursery: trio.Nursery
    scope: trio.CancelScope
    stopped: trio.Event

    @property
    def snapshot(self) -> Snapshot:
        return self.relay.snapshot()

    async def stop_pop(self) -> None:
        self.scope.cancel()
        with trio.fail_after(PATIENCE):
            await self.stopped.wait()

    async def client(self, name: str, address: str, *, via: Address | None = None, up: bool = True) -> Host:
        host = Host(address)
        end = Client(name, key(name), POP_PUBLIC, via or self.relay.address, host)
        return await self.attach(end, host, up)

    async def site(self, name: str, address: str, route: str, own: str = "") -> Host:
        host = Host(address)
        addresses = (ip(own),) if own else ()
        routes = [ip_network(route)]
        end = Connector(name, key(name), POP_PUBLIC, self.relay.address, host, routes, addresses=addresses)
        return await self.attach(end, host, True)

    async def attach(self, end: Endpoint, host: Host, up: bool) -> Host:
        host.endpoint = end
        await self.nursery.start(host.run)
        if up:
            with trio.fail_after(PATIENCE):
                await end.wait_up()
            await until(lambda: self.snapshot.tunnel(end.name).up)
        return host

    def accounted(self) -> None:
        for vnet in self.snapshot.vnets:
            assert vnet.unaccounted == 0, vnet


@asynccontextmanager
async def running(config: EdgeConfig, store: StateStore | None = None) -> AsyncIterator[Lab]:
    relay = Relay(config, store or MemoryStore())
    scope, stopped = trio.CancelScope(), trio.Event()

    async def serve(*, task_status: trio.TaskStatus[Address]) -> None:
        try:
            with scope:
                await relay.run(task_status=task_status)
        finally:
            stopped.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(serve)
        yield Lab(relay, nursery, scope, stopped)
        nursery.cancel_scope.cancel()


# -- a far end without a task of its own --


class Hand:
    """A peer worked by hand: every datagram goes when the test says so."""

    def __init__(self, name: str, to: Address, address: str) -> None:
        now = trio.current_time()
        self.port = UdpPort.bind(("127.0.0.1", 0), reads=64)
        self.port.gso = False
        self.device = Device(
            Identity.from_bytes(key(name)), rng=_rng(name), clock=TimestampClock(time.time() - now), now=now
        )
        self.tunnel: Tunnel = self.device.add_peer("pop", POP_PUBLIC, endpoint=to)
        self.host = Host(address)

    def receive(self) -> None:
        now = trio.current_time()
        while reads := self.port.receive():
            for _, packets in self.device.open(reads, now):
                self.host.handle_packets(packets, now)
        self.flush()

    def flush(self) -> None:
        now = trio.current_time()
        if packets := self.host.poll_packets():
            self.device.seal(self.tunnel, packets, now)
        self.port.send(self.device.poll_transmit())

    async def up(self) -> None:
        self.device.initiate(self.tunnel, trio.current_time())
        self.flush()
        with trio.fail_after(PATIENCE):
            while not self.tunnel.is_up(trio.current_time()):
                await self.port.wait_readable()
                self.receive()


@contextmanager
def by_hand(name: str, to: Address, address: str) -> Iterator[Hand]:
    hand = Hand(name, to, address)
    try:
        yield hand
    finally:
        hand.port.close()


def _rng(name: str) -> Callable[[int], bytes]:
    count = 0

    def draw(size: int) -> bytes:
        nonlocal count
        count += 1
        return sha256(f"{name} {count}".encode()).digest()[:size]

    return draw


# -- a NAT between a client and the PoP --


class Nat:
    """Translates one client to a port of its own; ``rebind`` changes that port as a NAT does that forgot."""

    def __init__(self, nursery: trio.Nursery, server: Address) -> None:
        self.captured: list[bytes] = []  # from the client
        self._nursery = nursery
        self._server = server
        self._client: Address | None = None
        self._inside = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        self._outside = self._inside
        self._scope = trio.CancelScope()

    async def start(self) -> Address:
        await self._inside.bind(("127.0.0.1", 0))
        await self.rebind()
        self._nursery.start_soon(self._outwards)
        address = self._inside.getsockname()
        return address[0], address[1]

    async def rebind(self) -> Address:
        self._scope.cancel()
        self._outside = trio.socket.socket(type=trio.socket.SOCK_DGRAM)
        await self._outside.bind(("127.0.0.1", 0))
        self._scope = trio.CancelScope()
        self._nursery.start_soon(self._inwards, self._outside, self._scope)
        address = self._outside.getsockname()
        return address[0], address[1]

    async def _outwards(self) -> None:
        with self._inside:
            while True:
                data, self._client = await self._inside.recvfrom(65535)
                self.captured.append(data)
                await self._outside.sendto(data, self._server)

    async def _inwards(self, outside: trio.socket.SocketType, scope: trio.CancelScope) -> None:
        with outside, scope:
            while True:
                data, _ = await outside.recvfrom(65535)
                if self._client is not None:
                    await self._inside.sendto(data, self._client)
