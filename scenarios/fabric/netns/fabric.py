"""The fabric of real kernels, from the outside."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

import trio

from edge.config import EdgeConfig
from edge.state import MemoryStore
from scenarios.fabric.door import Door
from scenarios.fabric.netns.namespace import become_privileged
from scenarios.fabric.netns.room import explained, make_room
from scenarios.world import World

if TYPE_CHECKING:
    from scenarios.fabric.netns.network import NetnsNetwork
    from scenarios.fabric.netns.places import Places

T = TypeVar("T")


class Netns:
    """Needs Linux, and root or user namespaces; everything is made in namespaces of its own."""

    name = "netns"
    virtual = False

    def prepare(self) -> None:
        become_privileged()

    def execute(self, main: Callable[[], Awaitable[T]], *, seed: int) -> T:
        self.prepare()
        return trio.run(main)

    @asynccontextmanager
    async def bring_up(self, world: World, door: Door | None = None) -> AsyncIterator[NetnsNetwork]:
        # Only here: it is for Linux alone.
        from scenarios.fabric.netns.network import NetnsNetwork

        become_privileged()
        store = MemoryStore()
        if world.recorder is not None:
            world.recorder.begin(trio.current_time, unix=time.time())
        try:
            with _places(world) as places:
                inside = places.pop.space.inside
                relay = NetnsNetwork.make_relay(_at_home(world.config), store, world, inside, door)
                async with trio.open_nursery() as servers:
                    await servers.start(relay.run)
                    async with trio.open_nursery() as nursery:
                        network = NetnsNetwork(world, places, relay, store, servers, nursery, door)
                        await network.start()
                        yield network
                        # The far ends first: what they have sent is then still forwarded and counted.
                        nursery.cancel_scope.cancel()
                    servers.cancel_scope.cancel()
        finally:
            store.close()


@contextmanager
def _places(world: World) -> Iterator[Places]:
    from scenarios.fabric.netns.places import Places

    open_files = make_room(world)
    with ExitStack() as stack:
        with explained(world):
            places = stack.enter_context(Places(world, open_files=open_files))
        yield places


def _at_home(config: EdgeConfig) -> EdgeConfig:
    """On its address in this world, with the ports that are usual."""
    from scenarios.fabric.netns.places import MASQUE, WIREGUARD

    config = replace(config, listen=WIREGUARD)
    return config if config.masque is None else replace(config, masque=replace(config.masque, listen=MASQUE))
