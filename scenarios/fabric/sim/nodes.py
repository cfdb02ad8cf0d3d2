"""The machines of a simulated network: the PoP and the far ends of tunnels. Each does a turn when the heap says so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from connectors.proto import TunnelEnd
from edge.metrics import Snapshot
from edge.proto.types import NEVER, Address
from edge.server.engine import Engine
from edge.state import MemoryStore
from scenarios.fabric.base import of_the_dead
from scenarios.proto.link_pair import LinkPair
from scenarios.world import End

if TYPE_CHECKING:
    from scenarios.fabric.sim.underlay import Underlay
    from scenarios.proto.nat import Nat

NOWHERE: Address = ("", 0)

SOCKET_BUFFER = 4096
"""Datagrams that wait while a machine is paused, as in the socket buffer of a stopped process."""

Datagrams = list[tuple[memoryview, int, Address]]


class Node(ABC):
    """A machine on the underlay with one UDP socket. `start` makes its core, which forgets everything when killed."""

    def __init__(self, underlay: Underlay, name: str, address: Address) -> None:
        self.name = name
        self.address = address
        self.paused = False
        """As after SIGSTOP: datagrams and deadlines wait."""
        self.lost = 0
        """Datagrams that found no process, or a full socket buffer."""
        self._underlay = underlay
        self._heap = underlay.heap
        self._core: Any = None
        self._inbox: Datagrams = []
        self._scheduled = False
        self._armed = NEVER

    @property
    def running(self) -> bool:
        return self._core is not None

    @abstractmethod
    def start(self) -> None:
        """Make the core anew and ask for its first turn."""

    def stop(self, *, graceful: bool) -> None:
        """Without grace, there is no goodbye. What was in memory is gone either way."""
        if graceful and not self.paused:
            self._turn()
        self._core = None
        self._inbox = []
        self.paused = False

    def deliver(self, source: Address, datagrams: list[bytes]) -> None:
        """What arrives now; all that arrives at one moment is one turn."""
        if self._core is None or len(self._inbox) + len(datagrams) > SOCKET_BUFFER:
            self.lost += len(datagrams)
            self._unheard(datagrams)
            return
        self._inbox += [(memoryview(datagram), len(datagram), source) for datagram in datagrams]
        if not self._scheduled and self._heap.next() > self._heap.now:
            self._turn()  # nothing else can come at this moment
        else:
            self.wake()

    def _unheard(self, datagrams: list[bytes]) -> None:
        """Datagrams that found no process, or no room."""
        recorder = self._underlay.recorder
        if recorder is not None:
            reason = "no_process" if self._core is None else "queue_full"
            for datagram in datagrams:
                recorder.lost(self.name, "", reason, "", len(datagram))

    def wake(self) -> None:
        """A turn at this moment, after what else is due."""
        if not self._scheduled:
            self._scheduled = True
            self._heap.at(self._heap.now, self._turn_now)

    def resume(self) -> None:
        """What came while it was paused is handled now."""
        self.paused = False
        self.wake()

    def _turn_now(self, _: object) -> None:
        self._scheduled = False
        self._turn()

    def _due(self, at: float) -> None:
        if at == self._armed:
            self._armed = NEVER
            self._turn()

    def _turn(self) -> None:
        core = self._core
        if core is None or self.paused:
            return
        reads, self._inbox = self._inbox, []
        now = self._heap.now
        core.turn(reads, now)
        for destination, datagrams in core.poll_transmit():
            self._send(destination, datagrams)
        at = core.poll_timeout()
        if at < self._armed:
            self._armed = at
            self._heap.at(at, self._due, at)

    @abstractmethod
    def _send(self, destination: Address, datagrams: list[bytes]) -> None:
        """Onto the link to `destination`."""


class PopNode(Node):
    """The PoP. What it keeps for a restart outlives a kill, as a file would."""

    def __init__(
        self, underlay: Underlay, name: str, address: Address, make: Callable[[MemoryStore], Engine]
    ) -> None:
        super().__init__(underlay, name, address)
        self.store = MemoryStore()
        self.last_snapshot = Snapshot()
        self._make = make
        self._core: Engine | None = None

    @property
    def engine(self) -> Engine | None:
        """None while it is down."""
        return self._core

    def start(self) -> None:
        self._core = self._make(self.store)
        self.wake()

    def stop(self, *, graceful: bool) -> None:
        if self._core is not None:
            if graceful:
                self._core.save()
            self.last_snapshot = of_the_dead(self._core.snapshot(self._heap.now))
        super().stop(graceful=graceful)

    def snapshot(self) -> Snapshot:
        """Of the process that runs, or of the last one."""
        return self.last_snapshot if self._core is None else self._core.snapshot(self._heap.now)

    def _send(self, destination: Address, datagrams: list[bytes]) -> None:
        self._underlay.from_pop(destination, datagrams)


class EndNode(Node):
    """A connector or a client. Behind it is `end.premises`, which live on when this process dies."""

    def __init__(
        self, underlay: Underlay, end: End, path: LinkPair, make: Callable[[EndNode], TunnelEnd]
    ) -> None:
        super().__init__(underlay, end.name, NOWHERE)
        self.end = end
        self.path = path
        self.port = end.premises.ports[end.name]
        self.nat: Nat | None = None
        self.starts = 0
        self.has_been_up = False
        self.on_up: Callable[[], None] | None = None
        self._make = make
        self._core: TunnelEnd | None = None

    @property
    def core(self) -> TunnelEnd | None:
        """None while it is down."""
        return self._core

    def start(self) -> None:
        self.starts += 1
        self._core = self._make(self)
        self.port.running = True
        self.end.premises.elect(self._heap.now)
        self.wake()

    def stop(self, *, graceful: bool) -> None:
        super().stop(graceful=graceful)
        self.port.running = False
        self.end.premises.elect(self._heap.now)
        self._underlay.orphaned(self.end.premises)

    def _send(self, destination: Address, datagrams: list[bytes]) -> None:
        self._underlay.from_end(self, destination, datagrams)

    def _turn(self) -> None:
        super()._turn()
        if not self.has_been_up and self._core is not None and self._core.has_been_up:
            self.has_been_up = True
            if self.on_up is not None:
                self.on_up()
