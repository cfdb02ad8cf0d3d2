"""The machines of a simulated network: the PoP and the far ends of tunnels. Each does a turn when the heap says so."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from connectors.proto import ChoosingEnd, TunnelEnd
from edge.metrics import Snapshot
from edge.proto.types import NEVER, Address
from edge.server.engine import Engine
from edge.state import MemoryStore
from scenarios.fabric.totals import of_the_dead, total
from scenarios.proto.link_pair import LinkPair
from scenarios.proto.streams import MTU, Streams
from scenarios.world import End

if TYPE_CHECKING:
    from scenarios.fabric.sim.underlay import Underlay
    from scenarios.proto.nat import Nat

POP_ADDRESS: Address = ("198.18.0.1", 51820)
MASQUE_ADDRESS: Address = ("198.18.0.1", 443)
NOWHERE: Address = ("", 0)

SOCKET_BUFFER = 4096
"""Datagrams that wait while a machine is paused, as in the socket buffer of a stopped process."""

Datagrams = list[tuple[memoryview, int, Address]]


class Node(ABC):
    """A machine on the underlay with its sockets. `start` makes its core, which forgets everything when killed."""

    def __init__(self, underlay: Underlay, name: str, address: Address) -> None:
        self.name = name
        self.address = address
        self.paused = False
        """As after SIGSTOP: datagrams and deadlines wait."""
        self.lost = 0
        """Datagrams that found no process, or a full socket buffer."""
        self._underlay = underlay
        self._heap = underlay.heap
        self.streams: Streams | None = None
        """TCP, where a tunnel may need it."""
        self._core: Any = None
        self._inbox: Datagrams = []
        self._quic_inbox: Datagrams = []  # of the PoP's MASQUE port
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
            if self.streams is not None:
                self._goodbye()
                self._turn()
        self._core = None
        self._inbox = []
        self._quic_inbox = []
        self.streams = None
        self.paused = False

    def _goodbye(self) -> None:  # noqa: B027 - most have nothing to say
        """What a core says before its process ends."""

    def deliver(self, source: Address, datagrams: list[bytes], *, quic: bool = False) -> None:
        """What arrives now; all that arrives at one moment is one turn. `quic`: at the PoP's MASQUE port."""
        inbox = self._quic_inbox if quic else self._inbox
        if self._core is None or len(inbox) + len(datagrams) > SOCKET_BUFFER:
            self.lost += len(datagrams)
            self._unheard(datagrams)
            return
        inbox += [(memoryview(datagram), len(datagram), source) for datagram in datagrams]
        self._stir()

    def deliver_segments(self, packets: list[bytes]) -> None:
        """TCP segments that arrive now; without a process nobody answers them."""
        if self.streams is None:
            self.lost += len(packets)
            self._unheard(packets)
            return
        self.streams.receive(packets, self._heap.now)
        self._stir()

    def _stir(self) -> None:
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
        if self.streams is None:
            core.turn(reads, now)
            for destination, datagrams in core.poll_transmit():
                self._send(destination, datagrams)
            at = core.poll_timeout()
        else:
            at = self._turn_with_streams(core, self.streams, reads, now)
        if at < self._armed:
            self._armed = at
            self._heap.at(at, self._due, at)

    @abstractmethod
    def _turn_with_streams(self, core: Any, streams: Streams, reads: Datagrams, now: float) -> float:
        """A turn of a core that also has TCP; returns when the next one is due."""

    def _segments(self, streams: Streams, now: float) -> float:
        """Send what TCP has to send; returns when it wants a turn."""
        for host, packet in streams.poll_transmit(now):
            self._send_segment(host, packet)
        return now if streams.has_events else streams.poll_timeout()

    @abstractmethod
    def _send_segment(self, host: str, packet: bytes) -> None:
        """A segment of TCP onto the link to `host`."""

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
        self.starts = 0
        self.last_snapshot = Snapshot()
        """Of all processes that have died."""
        self._make = make
        self._core: Engine | None = None

    @property
    def engine(self) -> Engine | None:
        """None while it is down."""
        return self._core

    def start(self) -> None:
        self._core = self._make(self.store)
        if self._core.config.masque is not None:
            self.starts += 1
            self.streams = self._underlay.streams(f"{self.name}/{self.starts}", self.address[0])
            self.streams.listen(MASQUE_ADDRESS[1])
        self.wake()

    def stop(self, *, graceful: bool) -> None:
        core = self._core
        super().stop(graceful=graceful)
        if core is not None:
            if graceful:
                core.save()
            self.last_snapshot = total(self.last_snapshot, of_the_dead(core.snapshot(self._heap.now)))

    def snapshot(self) -> Snapshot:
        """Of the process that runs and of those before it."""
        if self._core is None:
            return self.last_snapshot
        return total(self.last_snapshot, self._core.snapshot(self._heap.now))

    def _send(self, destination: Address, datagrams: list[bytes]) -> None:
        self._underlay.from_pop(destination, datagrams, self.address)

    def _send_segment(self, host: str, packet: bytes) -> None:
        self._underlay.segment_from_pop(host, packet)

    def _turn_with_streams(self, core: Engine, streams: Streams, reads: Datagrams, now: float) -> float:
        quic, self._quic_inbox = self._quic_inbox, []
        core.turn(reads, now, quic, streams.poll_events(now))
        for destination, datagrams in core.poll_transmit():
            self._send(destination, datagrams)
        for destination, datagrams in core.poll_quic():
            self._underlay.from_pop(destination, datagrams, MASQUE_ADDRESS)
        streams.send(core.poll_streams())
        return min(self._segments(streams, now), core.poll_timeout())

    def _goodbye(self) -> None:
        if self._core is not None:
            self._core.drain(self._heap.now)


class EndNode(Node):
    """A connector or a client. Behind it is `end.premises`, which live on when this process dies."""

    def __init__(
        self, underlay: Underlay, end: End, path: LinkPair, make: Callable[[EndNode], TunnelEnd | ChoosingEnd]
    ) -> None:
        super().__init__(underlay, end.name, NOWHERE)
        self.end = end
        self.path = path
        self.port = end.premises.ports[end.name]
        self.nat: Nat | None = None
        self.starts = 0
        self.has_been_up = False
        self.on_up: Callable[[], None] | None = None
        self.way = ""
        self.on_way: Callable[[EndNode], None] | None = None
        self._make = make
        self._core: TunnelEnd | ChoosingEnd | None = None

    @property
    def core(self) -> TunnelEnd | ChoosingEnd | None:
        """None while it is down."""
        return self._core

    def start(self) -> None:
        self.starts += 1
        self._core = self._make(self)
        if isinstance(self._core, ChoosingEnd):
            self.streams = self._fresh_streams()
        self.port.running = True
        self.end.premises.elect(self._heap.now)
        self.wake()

    def stop(self, *, graceful: bool) -> None:
        super().stop(graceful=graceful)
        self._took("")
        self.port.running = False
        self.end.premises.elect(self._heap.now)
        self._underlay.orphaned(self.end.premises)

    @property
    def host(self) -> str:
        """Its address on the Internet: a NAT's, if it is behind one."""
        return self.address[0] if self.nat is None else self.nat.host

    def moved(self) -> None:
        """The address has changed: TCP connections of the old one are lost, and the core is told."""
        if self._core is None:
            return
        if isinstance(self._core, ChoosingEnd):
            self.starts += 1
            self.streams = self._fresh_streams()
        self._core.moved(self._heap.now)
        self.wake()

    def forgotten(self) -> None:
        """The NAT has lost its mappings, those of TCP as well."""
        if self.streams is not None:
            self.streams.reset()
            self.wake()

    def _fresh_streams(self) -> Streams:
        name = f"{self.name}/{self.starts}"
        return self._underlay.streams(name, self.host, self.path.mtu or MTU)

    def _goodbye(self) -> None:
        if isinstance(self._core, ChoosingEnd):
            self._core.stop(self._heap.now)

    def _send(self, destination: Address, datagrams: list[bytes]) -> None:
        self._underlay.from_end(self, destination, datagrams)

    def _send_segment(self, host: str, packet: bytes) -> None:
        self._underlay.segment_from_end(self, host, packet)

    def _turn_with_streams(self, core: ChoosingEnd, streams: Streams, reads: Datagrams, now: float) -> float:
        core.turn(reads, now, streams.poll_events(now))
        for destination, datagrams in core.poll_transmit():
            self._send(destination, datagrams)
        for number, address in core.poll_dials():
            streams.dial(number, address, now)
        streams.send(core.poll_streams())
        return min(self._segments(streams, now), core.poll_timeout())

    def _turn(self) -> None:
        super()._turn()
        if self._core is not None and self._core.way != self.way:
            self._took(self._core.way)
        if not self.has_been_up and self._core is not None and self._core.has_been_up:
            self.has_been_up = True
            if self.on_up is not None:
                self.on_up()

    def _took(self, way: str) -> None:
        changed = way != self.way
        self.way = way
        if changed and self.on_way is not None:
            self.on_way(self)
