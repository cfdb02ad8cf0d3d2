"""Real UDP sockets on 127.0.0.1, the real clock, one nursery; no root, nothing left behind."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

import trio

from connectors.client import Client
from connectors.connector import Connector
from edge.config import Kind, public_key
from edge.document import HostPort
from edge.errors import FabricUnavailable
from edge.metrics import Snapshot
from edge.proto.types import Address
from edge.server.relay import Relay
from edge.state import MemoryStore, StateStore
from scenarios.certificate import Certificate
from scenarios.fabric.base import EDGE, KEPT_CHANGES, WayChange
from scenarios.fabric.linked_port import LinkedPort
from scenarios.fabric.linked_streams import LinkedStreams
from scenarios.fabric.totals import of_the_dead, total
from scenarios.proto.host import Host
from scenarios.proto.link_pair import LinkPair
from scenarios.proto.premises import Premises
from scenarios.world import End, World, masque_target

T = TypeVar("T")

WIREGUARD_PORT, MASQUE_PORT = 51820, 443
"""What firewalls on the way take the PoP's ports to be; the real ones are whatever is free."""

PUBLIC = "198.51.100.1"
"""What a NAT takes its address to be; its ports are real."""

ORPHANS = 0.05
"""Seconds between two looks at hosts whose tunnel is dead."""

LONGEST_PATH = 2.0
"""Seconds that what is on its way gets at the end of a run."""

DRAIN = 0.1
"""Seconds: on loopback what is on its way arrives within a millisecond, even on a busy machine."""


STOPPING = 5.0
"""Seconds in which every far end must have stopped."""

WATCH = 0.25
"""Seconds between two looks of a watcher."""


class LoopbackNetwork:
    """The PoP and its tunnels, while they run."""

    events = 0

    def __init__(
        self, world: World, relay: Relay, store: StateStore, servers: trio.Nursery, nursery: trio.Nursery
    ) -> None:
        self._world = world
        self._relay = relay
        self._store = store
        self._servers = servers
        self._nursery = nursery
        self._pop = relay.address
        self._masque_pop = relay.masque_address
        self._dead = Snapshot()  # of all processes of the PoP that a new one has replaced
        self._paths: dict[str, LinkedPort] = {}
        self._streams: dict[str, LinkedStreams] = {}
        self._ends: dict[str, Client | Connector] = {}
        self.way_changes: deque[WayChange] = deque(maxlen=KEPT_CHANGES)
        self._premises = {end.name: end.premises for end in world.ends}
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
            self._ends[end.name] = _endpoint(
                end, public, self._pop, port, streams, self._world.certificate, self._masque_pop
            )
            self._ends[end.name].on_way = partial(self._took_way, end)
            end.premises.on_waiting = lambda port: self._ends[port.name].wake()
        for name in self._ends:
            await self._nursery.start(self._run_end, name)

    def _took_way(self, end: End, way: str) -> None:
        self.way_changes.append(WayChange(trio.current_time(), end.name, way))
        recorder = self._world.recorder
        if recorder is not None and end.has_choice:
            recorder.way_changed(end.name, end.vnet, way)

    async def _run_end(
        self, name: str, *, task_status: trio.TaskStatus[object] = trio.TASK_STATUS_IGNORED
    ) -> None:
        premises = self._premises[name]
        port = premises.ports[name]
        port.running = True
        premises.elect(trio.current_time())
        try:
            await self._ends[name].run(task_status=task_status)
        finally:
            port.running = False
            premises.elect(trio.current_time())
        if premises.gateway is None:  # the hosts go on; what they send is lost
            self._nursery.start_soon(self._run_orphans, premises)

    async def _run_orphans(self, premises: Premises) -> None:
        while premises.gateway is None:
            premises.run(trio.current_time())
            due = premises.inside.poll_timeout() - trio.current_time()
            await trio.sleep(min(max(due, 0.001), ORPHANS))

    def now(self) -> float:
        return trio.current_time()

    def wake(self, host: Host) -> None:
        premises = self._world.members[host.name].premises
        premises.touch(host)
        if premises.gateway is not None:
            self._ends[premises.gateway.name].wake()

    def attention(self) -> None:
        """trio runs whoever was woken."""

    def every(self, seconds: float, look: Callable[[], None]) -> None:
        async def again() -> None:
            while True:
                await trio.sleep(seconds)
                look()

        self._nursery.start_soon(again)

    def watch(self, look: Callable[[], None]) -> None:
        self.every(WATCH, look)

    def snapshot(self) -> Snapshot:
        present = self._relay.snapshot()
        if not present.vnets:  # a new process that has not begun yet
            return self._dead
        return total(self._dead, present if self._relay.running else of_the_dead(present))

    def up(self) -> dict[str, bool]:
        return {name: end.up and self._premises[name].ports[name].running for name, end in self._ends.items()}

    def handshake_seconds(self) -> dict[str, float]:
        seconds = {name: end.statistics().last_handshake_seconds for name, end in self._ends.items()}
        return {name: value for name, value in seconds.items() if value is not None}

    def ways(self) -> dict[str, str]:
        return {name: end.way for name, end in self._ends.items()}

    def active(self, site: str) -> str | None:
        return self._relay.active(site)

    def place(self, actor: str) -> None:
        """No host is a real machine."""

    async def wait_up(self) -> None:
        for end in self._ends.values():
            await end.wait_up()

    async def drain(self) -> None:
        await trio.sleep(DRAIN)
        paths: list[LinkedPort | LinkedStreams] = [*self._paths.values(), *self._streams.values()]
        with trio.move_on_after(LONGEST_PATH):
            while any(path.in_flight for path in paths):  # noqa: ASYNC110 - what is on its way tells nobody
                await trio.sleep(DRAIN)

    async def leftovers(self) -> list[str]:
        for end in self._ends.values():
            end.resume()
            end.stop(graceful=True)
        ports = [premises.ports[name] for name, premises in self._premises.items()]
        with trio.move_on_after(STOPPING):
            while any(port.running for port in ports):  # noqa: ASYNC110 - each has its own end
                await trio.sleep(0.01)
        return [
            *(f"tunnel {port.name} still runs" for port in ports if port.running),
            *(f"the socket of {name} is open" for name, path in self._paths.items() if path.is_open),
        ]

    # -- faults

    def kill(self, machine: str, *, graceful: bool) -> None:
        (self._relay if machine == EDGE else self._ends[machine]).stop(graceful=graceful)

    def restart(self, machine: str) -> None:
        if machine == EDGE:
            if not self._relay.running:
                self._dead = self.snapshot()
                config = replace(self._world.config, listen=self._pop)
                if config.masque is not None and self._masque_pop is not None:
                    config = replace(config, masque=replace(config.masque, listen=self._masque_pop))
                self._relay = Relay(config, self._store, rng=os.urandom, observer=self._world.recorder)
                self._servers.start_soon(self._relay.run)
        elif not self._premises[machine].ports[machine].running:
            self._nursery.start_soon(self._run_end, machine)

    def pause(self, machine: str) -> None:
        (self._relay if machine == EDGE else self._ends[machine]).pause()

    def resume(self, machine: str) -> None:
        (self._relay if machine == EDGE else self._ends[machine]).resume()

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

    def rekey(self, tunnel: str) -> None:
        end = self._ends[tunnel]
        if end.core is not None:
            end.core.rekey(trio.current_time())
            end.wake()

    def zombie(self, tunnel: str, *, on: bool) -> None:
        self._premises[tunnel].ports[tunnel].zombie = on


class Loopback:
    """The fabric that needs nothing but Python."""

    name = "loopback"
    virtual = False

    def execute(self, main: Callable[[], Awaitable[T]], *, seed: int) -> T:
        return trio.run(main)

    @asynccontextmanager
    async def bring_up(self, world: World) -> AsyncIterator[LoopbackNetwork]:
        store = MemoryStore()
        if world.recorder is not None:
            world.recorder.begin(trio.current_time, unix=time.time())
        relay = Relay(world.config, store, rng=os.urandom, observer=world.recorder)
        try:
            async with trio.open_nursery() as servers:
                try:
                    await servers.start(relay.run)
                except OSError as error:
                    raise FabricUnavailable(f"no UDP socket on 127.0.0.1: {error.strerror}") from error
                async with trio.open_nursery() as nursery:
                    network = LoopbackNetwork(world, relay, store, servers, nursery)
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
    return Connector(
        end.name,
        end.private_key,
        pop_public,
        pop,
        port,
        end.networks,
        addresses=() if end.address is None else (end.address,),
        mtu=end.mtu,
        psk=end.preshared_key,
        keepalive=end.keepalive,
        tunnel=end.tunnel,
        masque=masque,
        open_port=path.bind,
        open_streams=streams.open,
    )
