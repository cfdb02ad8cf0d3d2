"""Real UDP sockets on 127.0.0.1, the real clock, one nursery; no root, nothing left behind."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext
from ipaddress import IPv4Network
from typing import TypeVar

import trio

from connectors.client import Client
from connectors.connector import Connector
from edge.config import Kind, public_key
from edge.document import HostPort
from edge.errors import FabricUnavailable
from edge.proto.types import Address
from edge.server.relay import Relay
from edge.state import MemoryStore, StateStore
from scenarios.certificate import Certificate
from scenarios.fabric.door import Door
from scenarios.fabric.linked_port import LinkedPort
from scenarios.fabric.linked_streams import LinkedStreams
from scenarios.fabric.sockets import SocketNetwork
from scenarios.fabric.watched_router import watch
from scenarios.flows import Planned
from scenarios.proto.host import Host
from scenarios.proto.link_pair import LinkPair
from scenarios.proto.premises import Premises
from scenarios.proto.route_table import Hop
from scenarios.world import End, World, masque_target

T = TypeVar("T")

WIREGUARD_PORT, MASQUE_PORT = 51820, 443
"""What firewalls on the way take the PoP's ports to be; the real ones are whatever is free."""

PUBLIC = "198.51.100.1"
"""What a NAT takes its address to be; its ports are real."""

ORPHANS = 0.05
"""Seconds between two looks at hosts whose tunnel is dead."""


class LoopbackNetwork(SocketNetwork):
    """The PoP and its tunnels, while they run."""

    INSIDE = IPv4Network("127.0.0.0/8")

    def __init__(
        self,
        world: World,
        relay: Relay,
        store: StateStore,
        servers: trio.Nursery,
        nursery: trio.Nursery,
        door: Door | None = None,
    ) -> None:
        super().__init__(world, relay, store, servers, nursery, door)
        self._paths: dict[str, LinkedPort] = {}
        self._streams: dict[str, LinkedStreams] = {}
        self.address = str(HostPort(self._pop))

    async def start(self) -> None:
        """Bring up every far end."""
        public = public_key(self._world.config.private_key)
        ports = {self._pop[1]: WIREGUARD_PORT}
        if self._masque_pop is not None:
            ports[self._masque_pop[1]] = MASQUE_PORT
        for end in self._world.ends:
            self._paths[end.name] = port = LinkedPort(end.path(), nat=end.nat(PUBLIC), ports=ports)
            self._streams[end.name] = streams = LinkedStreams(
                port.links, self._world.stream(f"{end.name}/streams"), ports=ports
            )
            certificate, masque_pop = self._world.certificate, self._masque_pop
            self._add_end(end, _endpoint(end, public, self._pop, port, streams, certificate, masque_pop))
            end.premises.on_waiting = lambda port: self._ends[port.name].wake()
        for name in self._ends:
            await self._nursery.start(self._run_end, name)
        self._watch_outside()

    def _ended(self, name: str, premises: Premises) -> None:
        if premises.gateway is None:  # the hosts go on; what they send is lost
            self._nursery.start_soon(self._run_orphans, premises)

    async def _run_orphans(self, premises: Premises) -> None:
        while premises.gateway is None:
            premises.run(trio.current_time())
            due = premises.inside.poll_timeout() - trio.current_time()
            await trio.sleep(min(max(due, 0.001), ORPHANS))

    def wake(self, host: Host) -> None:
        premises = self._world.members[host.name].premises
        premises.touch(host)
        if premises.gateway is not None:
            self._ends[premises.gateway.name].wake()

    def next_hop(self, machine: str, destination: str) -> Hop | None:
        return Planned(self._world.plans, self._world.script.cast).next_hop(machine, destination)

    def place(self, actor: str) -> None:
        """No host is a real machine."""

    @property
    def shells(self) -> Mapping[str, str]:
        return {}

    def _in_flight(self) -> bool:
        paths: list[LinkedPort | LinkedStreams] = [*self._paths.values(), *self._streams.values()]
        return any(path.in_flight for path in paths)

    def _left_open(self) -> list[str]:
        return [f"the socket of {name} is open" for name, path in self._paths.items() if path.is_open]

    # -- faults

    def path(self, tunnel: str) -> LinkPair:
        return self._paths[tunnel].links

    def roam(self, tunnel: str) -> None:
        self._paths[tunnel].rebind()
        self._streams[tunnel].move()
        self._ends[tunnel].moved()

    def rebind(self, tunnel: str) -> None:
        self._paths[tunnel].rebind()
        self._streams[tunnel].forget()
        self._ends[tunnel].wake()


class Loopback:
    """The fabric that needs nothing but Python."""

    name = "loopback"
    virtual = False

    def prepare(self) -> None:
        """Nothing."""

    def execute(self, main: Callable[[], Awaitable[T]], *, seed: int) -> T:
        return trio.run(main)

    @asynccontextmanager
    async def bring_up(self, world: World, door: Door | None = None) -> AsyncIterator[LoopbackNetwork]:
        store = MemoryStore()
        if world.recorder is not None:
            world.recorder.begin(trio.current_time, unix=time.time())
        relay = LoopbackNetwork.make_relay(world.config, store, world, nullcontext, door)
        try:
            async with trio.open_nursery() as servers:
                try:
                    await servers.start(relay.run)
                except OSError as error:
                    raise FabricUnavailable(f"no UDP socket on 127.0.0.1: {error.strerror}") from error
                async with trio.open_nursery() as nursery:
                    network = LoopbackNetwork(world, relay, store, servers, nursery, door)
                    await network.start()
                    yield network
                    # The far ends first: what they have sent is then still forwarded and counted.
                    nursery.cancel_scope.cancel()
                servers.cancel_scope.cancel()
        finally:
            store.close()


def _endpoint(
    end: End,
    pop_public: bytes,
    pop: Address,
    path: LinkedPort,
    streams: LinkedStreams,
    certificate: Certificate | None,
    masque_pop: Address | None,
) -> Client | Connector:
    port = end.premises.ports[end.name]
    masque = (
        None if certificate is None or masque_pop is None else masque_target(end, certificate, masque_pop)
    )
    if end.kind is Kind.CLIENT:
        return Client(
            end.name,
            end.private_key,
            pop_public,
            pop,
            port,
            psk=end.preshared_key,
            keepalive=end.keepalive,
            tunnel=end.tunnel,
            masque=masque,
            open_port=path.bind,
            open_streams=streams.open,
        )
    connector = Connector(
        end.name,
        end.private_key,
        pop_public,
        pop,
        port,
        end.networks,
        on_lan=end.on_lan,
        addresses=() if end.address is None else (end.address,),
        mtu=end.mtu,
        psk=end.preshared_key,
        keepalive=end.keepalive,
        tunnel=end.tunnel,
        masque=masque,
        open_port=path.bind,
        open_streams=streams.open,
    )
    watch(connector.router, end)
    return connector
