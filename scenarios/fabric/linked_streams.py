"""TCP at the end of a path: real connections to the PoP, and between them and the far end a simulated TCP.

Octets cross the path as segments of our own TCP, so that delay, rate, loss and faults act on them as in virtual time:
what is lost is sent again, what is blocked waits. Where the segments come out, the real connection begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from types import MappingProxyType
from typing import Self

import trio

from connectors.dialer import Dialer
from edge.proto.types import NEVER, Address, Eof, Octets, Opened, StreamEvent, StreamOutput
from scenarios.proto.digest import Rng
from scenarios.proto.link import Link, flip
from scenarios.proto.link_pair import LinkPair
from scenarios.proto.streams import MTU, Streams

NEAR, FAR = "198.18.0.2", "198.18.0.1"
"""Of the far end and of the PoP on the simulated path (RFC 2544); nobody sees them."""

BUFFER = 128 << 10
"""Octets from the PoP that wait for the path; with more of them nothing is read from it."""


class LinkedStreams:
    """Give its ``open`` to an endpoint as `open_streams`; what happens to the path is done to `links`.

    The object outlives the runs of its endpoint. `ports` as in ``LinkedPort``. A connection is open for the far end
    once it reaches the other end of the path; if the PoP then refuses it, it ends at once.
    """

    def __init__(self, links: LinkPair, rng: Rng, *, ports: Mapping[int, int] = MappingProxyType({})) -> None:
        self.links = links
        self.ports = ports
        self._rng = rng
        self._dialer: Dialer | None = None
        self._begin()

    def _begin(self) -> None:
        self._near = Streams(NEAR, self._rng, mtu=self.links.mtu or MTU)
        self._far = Streams(FAR, self._rng)
        self._pop: Address = ("", 0)
        self._early: dict[int, list[StreamOutput]] = {}  # for connections to the PoP that are not open yet
        self._events: list[StreamEvent] = []
        # Heaps of (when, sequence, IP packet).
        self._going: list[tuple[float, int, bytes]] = []
        self._coming: list[tuple[float, int, bytes]] = []
        self._sequence = 0

    def open(self, nursery: trio.Nursery, wake: Callable[[], None]) -> Self:
        """A new process: it has no connections yet."""
        self._begin()
        self._dialer = Dialer(nursery, wake)
        return self

    @property
    def in_flight(self) -> int:
        """Segments on their way, both directions."""
        return len(self._going) + len(self._coming)

    def move(self) -> None:
        """The far end has another address; what was sent to the old one is lost, and nobody says so."""
        self._near = Streams(NEAR, self._rng, mtu=self.links.mtu or MTU)
        self._coming.clear()

    def forget(self) -> None:
        """The NAT on the way has lost its mappings."""
        self._near.reset()

    # -- what an endpoint calls

    def dial(self, number: int, address: Address) -> None:
        if address[1] != self._pop[1]:
            self._far.listen(address[1])
        self._pop = address
        self._near.dial(number, (FAR, address[1]), trio.current_time())

    def receive(self) -> list[StreamEvent]:
        self._move_on(trio.current_time())
        events, self._events = self._events, []
        return events

    def send(self, outputs: Iterable[StreamOutput]) -> None:
        self._near.send(list(outputs))
        self._move_on(trio.current_time())

    def poll_timeout(self) -> float:
        at = min(self._near.poll_timeout(), self._far.poll_timeout())
        for heap in (self._going, self._coming):
            if heap:
                at = min(at, heap[0][0])
        return -NEVER if self._events else at

    # -- the way

    def _move_on(self, now: float) -> None:
        """Until nothing more is due at this moment."""
        moved = True
        while moved:
            moved = self._arrive(self._going, self._far, now) | self._arrive(self._coming, self._near, now)
            self._from_pop()
            self._to_pop(self._far.poll_events(now))
            self._events += self._near.poll_events(now)
            moved |= self._leave(self._near, self.links.up, self._going, now)
            moved |= self._leave(self._far, self.links.down, self._coming, now)

    def _from_pop(self) -> None:
        if self._dialer is None or self._far.waiting > BUFFER:
            return
        for event in self._dialer.receive():
            number = event.connection_id
            if isinstance(event, Opened):
                self._dialer.send(self._early.pop(number, []))
            elif isinstance(event, Octets):
                self._far.send([StreamOutput(number, event.data)])
            elif isinstance(event, Eof):
                self._early.pop(number, None)
                self._far.send([StreamOutput(number, b"", close=True)])

    def _to_pop(self, events: Iterable[StreamEvent]) -> None:
        if self._dialer is None:
            return
        for event in events:
            number = event.connection_id
            if isinstance(event, Opened):
                self._early[number] = []
                self._dialer.dial(number, self._pop)
            elif isinstance(event, Octets | Eof):
                data = event.data if isinstance(event, Octets) else b""
                output = StreamOutput(number, data, close=isinstance(event, Eof))
                if number in self._early:
                    self._early[number].append(output)
                else:
                    self._dialer.send([output])

    def _leave(self, streams: Streams, link: Link, heap: list[tuple[float, int, bytes]], now: float) -> bool:
        """Put what TCP has to send on the way; whether anything is due at once."""
        port = self.ports.get(self._pop[1], self._pop[1])
        for _, packet in streams.poll_transmit(now):
            if not self.links.admits("tcp", port, [packet]) or not self.links.passes(packet):
                continue
            for at, corrupt in link.carry(len(packet), now):
                self._sequence += 1
                arriving = packet if corrupt is None else flip(packet, corrupt)
                heappush(heap, (at, self._sequence, arriving))
        return bool(heap) and heap[0][0] <= now

    @staticmethod
    def _arrive(heap: list[tuple[float, int, bytes]], streams: Streams, now: float) -> bool:
        due = []
        while heap and heap[0][0] <= now:
            due.append(heappop(heap)[2])
        streams.receive(due, now)
        return bool(due)
