"""A UDP port at the end of a path: real datagrams go through a pair of links, and a NAT if there is one.

It has no task and no timer of its own: whoever waits for it is woken when something on its way is due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import Self, TypeAlias

import trio

from edge.io.udp import Read, UdpPort
from edge.proto.types import NEVER, Address, DropReason
from scenarios.proto.link import IPV4_UDP, IPV6_UDP, Link, flip
from scenarios.proto.link_pair import LinkPair
from scenarios.proto.nat import Nat

IN_FLIGHT = 65536
"""Datagrams on their way in one direction; more are a counted drop, as a path without a rate has no queue."""


_Flight: TypeAlias = tuple[float, int, UdpPort, Address, bytes]
"""When it is there, its number, the socket that it leaves or reached, the address of the other end, the datagram."""


class LinkedPort:
    """Give its ``bind`` to an endpoint as `open_port`; what happens to the path is done to `links` and `nat`.

    The object outlives the runs of its endpoint, counters included. A link that is clear passes batches on as they are
    (GSO, GRO); else each datagram is looked at. With a NAT the socket's port stands for the public one: another mapping
    is another socket. That is right for one remote at a time, which is what an endpoint has. `ports` are those that
    firewalls on the way know, by the real ones.
    """

    def __init__(
        self,
        links: LinkPair,
        *,
        nat: Nat | None = None,
        ports: Mapping[int, int] = MappingProxyType({}),
        in_flight: int = IN_FLIGHT,
    ) -> None:
        self.links = links
        self.nat = nat
        self.ports = ports
        self._limit = in_flight
        self._drops: Counter[DropReason] = Counter()
        self._socket: UdpPort | None = None
        self._inside: Address = ("", 0)  # the address in front of the NAT
        self._public: Address | None = None  # the NAT's mapping that the socket stands for
        self._headers = IPV4_UDP
        self._going: list[_Flight] = []  # heaps
        self._coming: list[_Flight] = []
        self._former: list[UdpPort] = []  # what left through them is still on its way
        self._sequence = 0
        self._waiting: trio.CancelScope | None = None

    def bind(self, address: Address) -> Self:
        """Open the socket; Refused if that cannot be had."""
        self._socket = UdpPort.bind(address)
        self._inside = self._socket.address
        self._public = None
        self._headers = IPV6_UDP if ":" in address[0] else IPV4_UDP
        return self

    def close(self) -> None:
        """What is on its way is lost."""
        self._port.close()
        self._drops += self._port.drops
        self._socket = None
        self._going.clear()
        self._coming.clear()
        self._close_former()

    @property
    def address(self) -> Address:
        """Where datagrams come from now, as the other end sees it."""
        return self._port.address

    @property
    def drops(self) -> Counter[DropReason]:
        """What the socket could not send and what was too much; the links and the NAT count their own."""
        counted = self._drops.copy()
        for port in (*self._former, *filter(None, [self._socket])):
            counted += port.drops
        return counted

    @property
    def is_open(self) -> bool:
        """Whether it has a socket now."""
        return self._socket is not None

    @property
    def in_flight(self) -> int:
        """Datagrams on their way, both directions."""
        return len(self._going) + len(self._coming)

    def rebind(self) -> None:
        """The NAT reboots: the other end will see a new port, and what it sends to the old one is lost.

        So is what is on its way there; what is on its way up has left from the old one.

        With a NAT the new port is there with the next datagram that leaves, without one it is there at once.
        """
        if self.nat is not None:
            self.nat.rebind()
        elif self._socket is not None:
            self._reopen()

    def send(self, batches: Sequence[tuple[Address, Sequence[bytes]]]) -> None:
        now = trio.current_time()
        up = self.links.up
        if not self._going and self._plain and up.clear(now):
            for _, datagrams in batches:
                up.pass_through(len(datagrams), sum(map(len, datagrams)) + len(datagrams) * self._headers)
            self._port.send(batches)
            return
        for address, datagrams in batches:
            if not self.links.admits("udp", self._known(address), datagrams):
                continue
            for datagram in self.links.passing(datagrams, self._headers):
                if self.nat is None or self._leaves(self.nat, address, now):
                    self._carry(up, self._going, address, datagram, now)
        self._release(now)

    def receive(self) -> list[Read]:
        now = trio.current_time()
        self._release(now)
        down = self.links.down
        reads = self._port.receive()
        if not self._coming and self._plain and down.clear(now):
            for data, segment, _ in reads:
                count = -(-len(data) // segment)
                down.pass_through(count, len(data) + count * self._headers)
            return reads
        for data, segment, source in reads:
            datagrams = [bytes(data[start : start + segment]) for start in range(0, len(data), segment)]
            if not self.links.admits("udp", self._known(source), datagrams):
                continue
            for datagram in self.links.passing(datagrams, self._headers):
                self._carry(down, self._coming, source, datagram, now)
        return [
            (memoryview(datagram), len(datagram), source)
            for port, source, datagram in _due(self._coming, now)
            if port is self._socket and (self.nat is None or self._enters(self.nat, source, now))
        ]

    async def wait_readable(self) -> None:
        """Until the socket has something or something on its way is due; ``receive`` then moves both on."""
        try:
            with trio.CancelScope(deadline=self._next_due()) as self._waiting:
                await self._port.wait_readable()
        finally:
            self._waiting = None

    def poll(self, seconds: float) -> bool:
        left = self._next_due() - trio.current_time()
        return self._port.poll(min(seconds, max(left, 0.0))) or left <= seconds

    # -- the way --

    @property
    def _plain(self) -> bool:
        """Whether nobody looks at single datagrams but the link."""
        return self.nat is None and self.links.swallow is None and not self.links.blocked

    def _known(self, pop: Address) -> int:
        return self.ports.get(pop[1], pop[1])

    @property
    def _port(self) -> UdpPort:
        assert self._socket is not None, "not bound"
        return self._socket

    def _next_due(self) -> float:
        return min(self._going[0][0] if self._going else NEVER, self._coming[0][0] if self._coming else NEVER)

    def _carry(
        self,
        link: Link,
        heap: list[_Flight],
        address: Address,
        datagram: bytes,
        now: float,
    ) -> None:
        for at, corrupt in link.carry(len(datagram) + self._headers, now):
            if len(heap) >= self._limit:
                self._drops[DropReason.QUEUE_FULL] += 1
                continue
            self._sequence += 1
            arriving = datagram if corrupt is None else flip(datagram, corrupt)
            heappush(heap, (at, self._sequence, self._port, address, arriving))

    def _release(self, now: float) -> None:
        """Hand to the socket what has reached the far end of the way up; neighbours together, for GSO."""
        if not self._going or self._going[0][0] > now:
            return
        for port, leaving in groupby(_due(self._going, now), itemgetter(0)):
            port.send(
                [
                    (address, [datagram for _, _, datagram in run])
                    for address, run in groupby(leaving, itemgetter(1))
                ]
            )
        if self._former:
            self._close_former()

    def _leaves(self, nat: Nat, remote: Address, now: float) -> bool:
        public = nat.outbound(self._inside, remote, now)
        if public is None:
            return False
        if public != self._public:
            if self._public is not None:
                self._reopen()
            self._public = public
        return True

    def _enters(self, nat: Nat, remote: Address, now: float) -> bool:
        port = self._public[1] if self._public is not None else 0
        return nat.inbound(port, remote, now) is not None

    def _reopen(self) -> None:
        """Another socket, while the old one still has its port, so that the new one's differs."""
        fresh = UdpPort.bind((self._inside[0], 0))
        if self._waiting is not None:
            self._waiting.cancel()  # whoever waits must not wait for a closed socket
        self._former.append(self._port)
        self._socket = fresh
        self._close_former()

    def _close_former(self) -> None:
        """Sockets of before, but those from which something is still to come."""
        needed = {id(port) for _, _, port, _, _ in self._going}
        for port in self._former:
            if id(port) not in needed:
                self._drops += port.drops
                port.close()
        self._former = [port for port in self._former if id(port) in needed]


def _due(heap: list[_Flight], now: float) -> list[tuple[UdpPort, Address, bytes]]:
    """Take what has arrived by `now`, in order."""
    due = []
    while heap and heap[0][0] <= now:
        due.append(heappop(heap)[2:])
    return due
