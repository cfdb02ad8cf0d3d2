"""Real UDP sockets on 127.0.0.1, the real clock, one nursery; no root, nothing left behind."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from connectors.client import Client
from connectors.connector import Connector
from edge.config import Kind, public_key
from edge.errors import FabricUnavailable
from edge.metrics import Snapshot
from edge.proto.types import Address
from edge.server.relay import Relay
from edge.state import MemoryStore
from scenarios.proto.host import Host
from scenarios.world import End, World

T = TypeVar("T")

DRAIN = 0.1
"""Seconds: on loopback what is on its way arrives within a millisecond, even on a busy machine."""


WATCH = 0.25
"""Seconds between two looks of a watcher."""


class LoopbackNetwork:
    """The PoP and its tunnels, while they run."""

    events = 0

    def __init__(
        self, world: World, relay: Relay, ends: dict[str, Client | Connector], nursery: trio.Nursery
    ) -> None:
        self._world = world
        self._relay = relay
        self._ends = ends
        self._nursery = nursery
        host, port = relay.address
        self.address = f"{host}:{port}"

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
        return self._relay.snapshot()

    def up(self) -> dict[str, bool]:
        return {name: end.up for name, end in self._ends.items()}

    def handshake_seconds(self) -> dict[str, float]:
        seconds = {name: end.statistics().last_handshake_seconds for name, end in self._ends.items()}
        return {name: value for name, value in seconds.items() if value is not None}

    def active(self, site: str) -> str | None:
        return self._relay.active(site)

    async def wait_up(self) -> None:
        for end in self._ends.values():
            await end.wait_up()

    async def drain(self) -> None:
        await trio.sleep(DRAIN)


class Loopback:
    """The fabric that needs nothing but Python."""

    name = "loopback"
    virtual = False

    def execute(self, main: Callable[[], Awaitable[T]], *, seed: int) -> T:
        return trio.run(main)

    @asynccontextmanager
    async def bring_up(self, world: World) -> AsyncIterator[LoopbackNetwork]:
        store = MemoryStore()
        relay = Relay(world.config, store, rng=os.urandom)
        pop_public = public_key(world.config.private_key)
        try:
            async with trio.open_nursery() as servers:
                try:
                    pop = await servers.start(relay.run)
                except OSError as error:
                    raise FabricUnavailable(f"no UDP socket on 127.0.0.1: {error.strerror}") from error
                async with trio.open_nursery() as nursery:
                    ends = {end.name: _endpoint(end, pop_public, pop) for end in world.ends}
                    for end in world.ends:
                        end.premises.ports[end.name].running = True
                        end.premises.elect(trio.current_time())
                    for endpoint in ends.values():
                        await nursery.start(endpoint.run)
                    yield LoopbackNetwork(world, relay, ends, nursery)
                    # The far ends first: what they have sent is then still forwarded and counted.
                    nursery.cancel_scope.cancel()
                servers.cancel_scope.cancel()
        finally:
            store.close()


def _endpoint(end: End, pop_public: bytes, pop: Address) -> Client | Connector:
    port = end.premises.ports[end.name]
    if end.kind is Kind.CLIENT:
        return Client(
            end.name, end.private_key, pop_public, pop, port, psk=end.preshared_key, keepalive=end.keepalive
        )
    return Connector(
        end.name,
        end.private_key,
        pop_public,
        pop,
        port,
        end.networks,
        psk=end.preshared_key,
        keepalive=end.keepalive,
    )
