"""A world in virtual time: no socket, no thread, no task per packet. Every run with one seed is the same run."""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from math import inf
from typing import TypeVar

import trio
import trio.testing
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from connectors.proto import ChoosingEnd, PacketSide, SiteRouter, TunnelEnd
from connectors.ways import WireGuardTarget, make_end
from edge.config import EdgeConfig, Kind, public_key
from edge.errors import FabricUnavailable, Refused
from edge.metrics import Snapshot
from edge.proto.wireguard import Aead
from edge.server.engine import Engine
from edge.state import MemoryStore
from scenarios.fabric.base import EDGE, KEPT_CHANGES, Agent, WayChange
from scenarios.fabric.door import Door
from scenarios.fabric.sim.clock import VirtualClock, next_deadline, seeded_scheduler
from scenarios.fabric.sim.heap import EventHeap
from scenarios.fabric.sim.leftovers import after_everything
from scenarios.fabric.sim.nodes import MASQUE_ADDRESS, POP_ADDRESS, EndNode, Node, PopNode
from scenarios.fabric.sim.underlay import Underlay
from scenarios.fabric.watched_router import watch
from scenarios.flows import Planned
from scenarios.proto.host import Host
from scenarios.proto.link_pair import LinkPair
from scenarios.proto.null_aead import NullAead
from scenarios.proto.route_table import Hop
from scenarios.world import World, masque_target

T = TypeVar("T")

EPOCH = 1_750_000_000.0
"""Unix time at the virtual time 0: a run must not depend on when it is run."""

COLLECT = (100_000, 100, 50)
"""When Python looks for cycles: what a world makes per packet dies without, and looking costs a seventh of the time."""

EVENTS_PER_TURN = 2000  # then signals and watchers get a look
WATCH = 0.1  # real seconds between two looks of a watcher
DRAIN = 1.0
"""Virtual seconds; longer than any path of the presets, queue included."""


class SimNetwork:
    """The PoP and its tunnels, while they run."""

    def __init__(self, world: World, clock: VirtualClock) -> None:
        self.world = world
        self.heap = EventHeap(clock.now)
        self.underlay = Underlay(self.heap, world.recorder, random=world.stream)
        self._clock = clock
        self._aead: Aead = NullAead if world.scenario.crypto is None else ChaCha20Poly1305
        self._all_up = trio.Event()
        self._watchers: list[Callable[[], None]] = []
        self._watched_at = 0.0
        self.way_changes: deque[WayChange] = deque(maxlen=KEPT_CHANGES)
        self.agents: tuple[Agent, ...] = ()
        self.damage: tuple[str, ...] = ()
        if world.recorder is not None:
            world.recorder.begin(self.now, unix=EPOCH)
        self._over = False
        pop_public = public_key(world.config.private_key)
        self.underlay.pop = PopNode(self.underlay, EDGE, POP_ADDRESS, self._make_engine)
        for end in world.ends:
            node = EndNode(self.underlay, end, end.path(), lambda node: self._make_end(node, pop_public))
            node.on_up = self._one_is_up
            node.on_way = self._took_way
            self.underlay.ends[end.name] = node
            self.underlay.place(node)
            end.premises.on_waiting = lambda port: self.underlay.ends[port.name].wake()
        self.underlay.pop.start()
        for node in self.underlay.ends.values():
            node.start()
        if not self.underlay.ends:
            self._all_up.set()
        self.address = f"{POP_ADDRESS[0]}:{POP_ADDRESS[1]}"

    def _make_engine(self, store: MemoryStore) -> Engine:
        return Engine(
            self.world.config,
            store,
            now=self.heap.now,
            epoch=EPOCH,
            rng=self.world.stream(EDGE).randbytes,
            timer=self.now,
            observer=self.world.recorder,
            aead=self._aead,
        )

    def _make_end(self, node: EndNode, pop_public: bytes) -> TunnelEnd | ChoosingEnd:
        end = node.end
        own = () if end.address is None else (end.address,)
        side: PacketSide = node.port
        if end.kind is Kind.CONNECTOR:
            side = SiteRouter(node.port, end.networks, on_lan=end.on_lan, addresses=own, mtu=end.mtu)
            watch(side, end)
        certificate = self.world.certificate
        return make_end(
            end.tunnel,
            side,
            wireguard=WireGuardTarget(
                POP_ADDRESS, pop_public, end.private_key, end.preshared_key, end.keepalive
            ),
            masque=None if certificate is None else masque_target(end, certificate, MASQUE_ADDRESS),
            now=self.heap.now,
            epoch=EPOCH,
            rng=self.world.stream(f"{end.name}/tunnel/{node.starts}").randbytes,
            aead=self._aead,
        )

    def _one_is_up(self) -> None:
        if not self._all_up.is_set() and all(node.has_been_up for node in self.underlay.ends.values()):
            self._all_up.set()
            self.attention()

    def _took_way(self, node: EndNode) -> None:
        self.way_changes.append(WayChange(self.heap.now, node.name, node.way))
        recorder = self.world.recorder
        if recorder is not None and node.end.has_choice:
            recorder.way_changed(node.name, node.end.vnet, node.way)

    # -- time

    def now(self) -> float:
        return self.heap.now

    async def drive(self) -> None:
        """Let the world go on, up to whatever a task waits for; then let the tasks go on. For ever."""
        heap, clock = self.heap, self._clock
        while True:
            await trio.testing.wait_all_tasks_blocked()
            until = next_deadline()
            if until == inf and not len(heap):
                await trio.to_thread.run_sync(time.sleep, WATCH)  # only a signal can change anything
                continue
            heap.run(until, at_most=EVENTS_PER_TURN)
            clock.now = heap.now
            if self._watchers and time.monotonic() >= self._watched_at + WATCH:
                self._watched_at = time.monotonic()
                for look in self._watchers:
                    look()

    def attention(self) -> None:
        self.heap.stop()

    def every(self, seconds: float, look: Callable[[], None]) -> None:
        def again(_: object) -> None:
            if self._over:
                return
            look()
            self.heap.at(self.heap.now + seconds, again)

        self.heap.at(self.heap.now + seconds, again)

    def watch(self, look: Callable[[], None]) -> None:
        self._watchers.append(look)

    # -- the world

    def wake(self, host: Host) -> None:
        premises = self.world.members[host.name].premises
        premises.touch(host)
        gateway = premises.gateway
        if gateway is None:
            self.underlay.orphaned(premises)
        else:
            self.underlay.ends[gateway.name].wake()

    def snapshot(self) -> Snapshot:
        return self.underlay.pop.snapshot()

    def up(self) -> dict[str, bool]:
        return {
            name: node.core is not None and node.core.has_been_up for name, node in self.underlay.ends.items()
        }

    def handshake_seconds(self) -> dict[str, float]:
        cores = {name: node.core for name, node in self.underlay.ends.items()}
        return {
            name: core.last_handshake_seconds
            for name, core in cores.items()
            if core is not None and core.last_handshake_seconds is not None
        }

    def ways(self) -> dict[str, str]:
        return {name: node.way for name, node in self.underlay.ends.items()}

    def next_hop(self, machine: str, destination: str) -> Hop | None:
        return Planned(self.world.plans, self.world.script.cast).next_hop(machine, destination)

    def active(self, site: str) -> str | None:
        engine = self.underlay.pop.engine
        return None if engine is None else engine.active(site)

    @property
    def events(self) -> int:
        return self.heap.done

    def place(self, actor: str) -> None:
        """No host is a real machine."""

    @property
    def shells(self) -> Mapping[str, str]:
        return {}

    def reload(self, config: EdgeConfig) -> None:
        raise Refused("a world in virtual time does not stay until somebody changes it")

    async def wait_up(self) -> None:
        await self._all_up.wait()

    async def drain(self) -> None:
        await trio.sleep(DRAIN)

    async def leftovers(self) -> list[str]:
        self._over = True
        for node in self.underlay.ends.values():
            node.resume()
            if node.running:
                node.stop(graceful=False)
        self.underlay.pop.resume()
        return after_everything(self.heap, self.underlay)

    # -- faults

    def _machine(self, name: str) -> Node:
        return self.underlay.pop if name == EDGE else self.underlay.ends[name]

    def kill(self, machine: str, *, graceful: bool) -> None:
        node = self._machine(machine)
        if node.running:
            node.stop(graceful=graceful)

    def restart(self, machine: str) -> None:
        node = self._machine(machine)
        if not node.running:
            node.start()

    def pause(self, machine: str) -> None:
        self._machine(machine).paused = True

    def resume(self, machine: str) -> None:
        self._machine(machine).resume()

    def path(self, tunnel: str) -> LinkPair:
        return self.underlay.ends[tunnel].path

    def roam(self, tunnel: str) -> None:
        self.underlay.roam(self.underlay.ends[tunnel])

    def rebind(self, tunnel: str) -> None:
        node = self.underlay.ends[tunnel]
        if node.nat is not None:
            node.nat.rebind()
            node.forgotten()

    def rekey(self, tunnel: str) -> None:
        node = self.underlay.ends[tunnel]
        if node.core is not None:
            node.core.rekey(self.heap.now)
            node.wake()

    def zombie(self, tunnel: str, *, on: bool) -> None:
        self.underlay.ends[tunnel].port.zombie = on


class Sim:
    """Virtual time: as fast as the machine can, the same every time, no privilege and no socket."""

    name = "sim"
    virtual = True

    def prepare(self) -> None:
        """Nothing."""

    def execute(self, main: Callable[[], Awaitable[T]], *, seed: int) -> T:
        before = gc.get_threshold()
        gc.set_threshold(*COLLECT)
        try:
            with seeded_scheduler(seed):
                return trio.run(main, clock=VirtualClock())
        finally:
            gc.set_threshold(*before)

    @asynccontextmanager
    async def bring_up(self, world: World, door: Door | None = None) -> AsyncIterator[SimNetwork]:
        if door is not None:
            raise Refused("nobody can join a world in virtual time\n    fix: --fabric loopback, or netns")
        clock = trio.lowlevel.current_clock()
        if not isinstance(clock, VirtualClock):
            raise FabricUnavailable(
                "the sim fabric needs trio under a VirtualClock; run it with Sim().execute"
            )
        network = SimNetwork(world, clock)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.drive)
            yield network
            nursery.cancel_scope.cancel()
