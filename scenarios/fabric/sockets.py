"""What the fabrics with real sockets have in common: a relay, far ends that run as tasks, and the real clock."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network
from typing import Any, ClassVar

import trio

from edge.config import EdgeConfig
from edge.io.udp import UdpPort
from edge.metrics import Snapshot
from edge.server.ports import WireGuardPort
from edge.server.relay import Relay
from edge.state import StateStore
from scenarios.fabric.base import EDGE, KEPT_CHANGES, Agent, WayChange
from scenarios.fabric.door import Door, TwoDoors
from scenarios.fabric.far_end import FarEnd
from scenarios.fabric.totals import of_the_dead, total
from scenarios.proto.host import Host
from scenarios.proto.link_pair import LinkPair
from scenarios.proto.premises import Premises
from scenarios.world import End, World

STOPPING = 5.0
"""Seconds in which every far end must have stopped."""

WATCH = 0.25
"""Seconds between two looks of a watcher."""

LONGEST_PATH = 2.0
"""Seconds that what is on its way gets at the end of a run."""

SETTLING = 0.1
"""Seconds between two looks at what was sent to devices from outside."""

DRAIN = 0.1
"""Seconds: without a simulated path what is on its way arrives within a millisecond, even on a busy machine."""


class SocketNetwork(ABC):
    """The PoP and its tunnels, while they run."""

    events = 0
    address: str

    INSIDE: ClassVar[IPv4Network]
    """Where far ends in this world have their addresses."""

    def __init__(
        self,
        world: World,
        relay: Relay,
        store: StateStore,
        servers: trio.Nursery,
        nursery: trio.Nursery,
        door: Door | None = None,
    ) -> None:
        self._world = world
        self._door = door
        self._relay = relay
        self._store = store
        self._servers = servers
        self._nursery = nursery
        self._pop = relay.address
        self._masque_pop = relay.masque_address
        self._dead = Snapshot()  # of all processes of the PoP that a new one has replaced
        self._ends: dict[str, FarEnd] = {}
        self.agents: list[Agent] = []
        self.way_changes: deque[WayChange] = deque(maxlen=KEPT_CHANGES)
        self._premises = {end.name: end.premises for end in world.ends}

    @property
    def damage(self) -> list[str]:
        """Nothing can be broken where no programs are."""
        return []

    def _opening(self) -> AbstractContextManager[Any]:
        """What the sockets of the PoP are opened in."""
        return nullcontext()

    # -- far ends

    def _add_end(self, end: End, far_end: FarEnd) -> None:
        self._ends[end.name] = far_end
        far_end.on_way = partial(self._took_way, end)

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
            self._ended(name, premises)

    @abstractmethod
    def _ended(self, name: str, premises: Premises) -> None:
        """The process of a far end is gone."""

    # -- what the runner asks

    @abstractmethod
    def wake(self, host: Host) -> None: ...

    def now(self) -> float:
        return trio.current_time()

    def attention(self) -> None:  # noqa: B027
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

    async def wait_up(self) -> None:
        for end in self._ends.values():
            await end.wait_up()

    async def drain(self) -> None:
        await trio.sleep(DRAIN)
        with trio.move_on_after(LONGEST_PATH):
            while self._in_flight():  # noqa: ASYNC110 - what is on its way tells nobody
                await trio.sleep(DRAIN)
        self._settle()

    @abstractmethod
    def _in_flight(self) -> bool:
        """Whether something is still on a simulated path."""

    async def leftovers(self) -> list[str]:
        for end in self._ends.values():
            end.resume()
            end.stop(graceful=True)
        ports = [premises.ports[name] for name, premises in self._premises.items()]
        with trio.move_on_after(STOPPING):
            while any(port.running for port in ports):  # noqa: ASYNC110 - each has its own end
                await trio.sleep(0.01)
        return [*(f"tunnel {port.name} still runs" for port in ports if port.running), *self._left_open()]

    @abstractmethod
    def _left_open(self) -> list[str]:
        """What is open though every far end has stopped, a line each."""

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
                self._relay = self.make_relay(config, self._store, self._world, self._opening, self._door)
                self._servers.start_soon(self._relay.run)
        elif not self._premises[machine].ports[machine].running:
            self._nursery.start_soon(self._run_end, machine)

    @classmethod
    def make_relay(
        cls,
        config: EdgeConfig,
        store: StateStore,
        world: World,
        opening: Callable[[], AbstractContextManager[Any]],
        door: Door | None = None,
    ) -> Relay:
        """A process of the PoP; devices from outside come in by `door`."""

        def widen(port: UdpPort) -> WireGuardPort:
            return port if door is None else TwoDoors(port, door.port(), cls.INSIDE)

        return Relay(config, store, rng=os.urandom, observer=world.observer, opening=opening, widen=widen)

    def reload(self, config: EdgeConfig) -> None:
        present = self._relay.config
        self._relay.reload(replace(config, listen=present.listen, masque=present.masque))

    def _watch_outside(self) -> None:
        """Judge again and again what was sent to devices whose cards nobody can look at."""
        if self._world.lookout is not None:
            self.every(SETTLING, self._settle)

    def _settle(self) -> None:
        if self._world.lookout is not None:
            self._world.lookout.settle()

    def pause(self, machine: str) -> None:
        (self._relay if machine == EDGE else self._ends[machine]).pause()

    def resume(self, machine: str) -> None:
        (self._relay if machine == EDGE else self._ends[machine]).resume()

    @abstractmethod
    def path(self, tunnel: str) -> LinkPair: ...

    @abstractmethod
    def roam(self, tunnel: str) -> None: ...

    @abstractmethod
    def rebind(self, tunnel: str) -> None: ...

    def rekey(self, tunnel: str) -> None:
        end = self._ends[tunnel]
        if end.core is not None:
            end.core.rekey(trio.current_time())
            end.wake()

    def zombie(self, tunnel: str, *, on: bool) -> None:
        self._premises[tunnel].ports[tunnel].zombie = on
