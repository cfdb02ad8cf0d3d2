"""Real UDP sockets on 127.0.0.1, the real clock, one nursery; no root, nothing left behind."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import trio

from connectors.client import Client
from connectors.connector import Connector
from edge.config import Kind, public_key
from edge.errors import FabricUnavailable
from edge.metrics import Snapshot
from edge.proto.types import Address
from edge.server.relay import Relay
from edge.state import MemoryStore
from scenarios.proto.lan import Lan
from scenarios.world import End, World

DRAIN = 0.1
"""Seconds: on loopback what is on its way arrives within a millisecond, even on a busy machine."""


class LoopbackNetwork:
    """The PoP and its tunnels, while they run."""

    def __init__(self, relay: Relay, ends: dict[str, Client | Connector]) -> None:
        self._relay = relay
        self._ends = ends
        host, port = relay.address
        self.address = f"{host}:{port}"

    def now(self) -> float:
        return trio.current_time()

    def wake(self, end: str) -> None:
        self._ends[end].wake()

    def snapshot(self) -> Snapshot:
        return self._relay.snapshot()

    def up(self) -> dict[str, bool]:
        return {name: end.up for name, end in self._ends.items()}

    def handshake_seconds(self) -> dict[str, float]:
        seconds = {name: end.statistics().last_handshake_seconds for name, end in self._ends.items()}
        return {name: value for name, value in seconds.items() if value is not None}

    async def wait_up(self) -> None:
        for end in self._ends.values():
            await end.wait_up()

    async def drain(self) -> None:
        await trio.sleep(DRAIN)


class Loopback:
    """The fabric that needs nothing but Python."""

    name = "loopback"

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
                    for endpoint in ends.values():
                        await nursery.start(endpoint.run)
                    yield LoopbackNetwork(relay, ends)
                    # The far ends first: what they have sent is then still forwarded and counted.
                    nursery.cancel_scope.cancel()
                servers.cancel_scope.cancel()
        finally:
            store.close()


def _endpoint(end: End, pop_public: bytes, pop: Address) -> Client | Connector:
    if end.kind is Kind.CLIENT:
        return Client(
            end.name,
            end.private_key,
            pop_public,
            pop,
            end.side,
            psk=end.preshared_key,
            keepalive=end.keepalive,
        )
    assert isinstance(end.side, Lan)
    routes = [ip_network(str(route)) for route in end.routes]
    return Connector(
        end.name,
        end.private_key,
        pop_public,
        pop,
        end.side,
        routes,
        psk=end.preshared_key,
        keepalive=end.keepalive,
    )
