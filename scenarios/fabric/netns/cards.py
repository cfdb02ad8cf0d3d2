"""The network cards of hosts: raw and packet sockets in their namespaces (raw(7), packet(7)).

A host of ours gets what its kernel's card gets, and sends through that kernel's routes; a real one is only watched.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Collection
from contextlib import ExitStack, suppress
from errno import EMSGSIZE

import trio

from edge.proto.ip import ICMPV6, fragment_ipv4
from scenarios.fabric.netns.namespace import Namespace
from scenarios.proto.host import Host
from scenarios.proto.real_host import RealHost
from scenarios.proto.timer_queue import TimerQueue

READ_SIZE = 65536
READS = 64
"""Packets of one card in one turn."""
BUFFER = 8 << 20
"""Bytes that wait for us in the kernel: for want of a copy a packet looks like one that nobody sent."""
ALL_READS = BUFFER // 256
"""More packets than can wait: each takes the kernel a few hundred bytes besides its own."""

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
SO_RCVBUFFORCE = 33
IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE = 23, 3
SOL_PACKET, PACKET_STATISTICS = 263, 6
_NEIGHBOURS = range(133, 138)  # ICMPv6 types of neighbour discovery (RFC 4861): the kernel's business
_MULTICAST_LISTENERS = (130, 131, 132, 143)  # RFC 2710, RFC 3810


class Card:
    """Of one host. `interface` may come and go, as that of a client's tunnel does.

    `neighbours` are the hardware addresses of those on its LAN who may take it for a router, by a route of theirs.
    """

    def __init__(
        self,
        host: Host,
        space: Namespace,
        interface: str,
        *,
        mtu: int,
        neighbours: Collection[bytes] = (),
    ) -> None:
        self.host = host
        self.interface = interface
        self.mtu = mtu
        self.refused = 0
        """Packets that the kernel would not send: no route, no interface."""
        self.unseen = 0
        """Copies that the kernel had no room for."""
        self.real = isinstance(host, RealHost)
        self._neighbours = neighbours
        self._version = 4 if len(host.packed) == 4 else 6
        self._protocol = ETH_P_IP if self._version == 4 else ETH_P_IPV6
        family = socket.AF_INET if self._version == 4 else socket.AF_INET6
        with space.inside(), ExitStack() as undo:
            # Protocol 0: nothing comes before it is bound to the interface.
            self._taken = undo.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0))
            self._given = undo.enter_context(socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW))
            if self._version == 6:
                # The kernel, which hears of what the path takes, is not to act on it: its host of ours does.
                self._given.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE)
            undo.pop_all()
        for sock in (self._taken, self._given):
            sock.setblocking(False)
        try:
            self._taken.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        except OSError:
            self._taken.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)

    def fileno(self) -> int:
        return self._taken.fileno()

    def plug_in(self) -> None:
        """Its interface is there from now on. OSError if it is not."""
        self._taken.bind((self.interface, ETH_P_ALL if self.real else self._protocol))

    def receive(self, most: int = READS) -> list[tuple[bool, bytes]]:
        """Packets that came in and, of a real host, copies of those that went out, in order; whether it went."""
        passed: list[tuple[bool, bytes]] = []
        for _ in range(most):
            try:
                data, (_, protocol, kind, _, sender) = self._taken.recvfrom(READ_SIZE)
            except BlockingIOError:
                break
            except OSError:
                continue  # the interface is gone; it may come back
            if protocol != self._protocol or is_chatter(data, self._version):
                continue
            if kind == socket.PACKET_HOST and sender in self._neighbours and not self._is_ours(data):
                self.host.counters["not_a_router"] += 1  # its kernel drops it: nobody has misdelivered it
            elif kind in (socket.PACKET_HOST, socket.PACKET_OUTGOING):
                passed.append((kind == socket.PACKET_OUTGOING, data))
        return passed

    def check_losses(self) -> None:
        """Ask the kernel how many copies it had no room for."""
        with suppress(OSError):
            raw = self._taken.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
            self.unseen += struct.unpack("=II", raw)[1]

    def send(self, packets: list[bytearray]) -> None:
        for packet in packets:
            pieces = [packet]
            if len(packet) > self.mtu and self._version == 4 and not packet[6] & 0x40:
                pieces = fragment_ipv4(packet, self.mtu)  # the kernel does not cut what has a header already
            for piece in pieces:
                self._send(piece)

    def _send(self, packet: bytearray) -> None:
        if self._version == 4:
            target: tuple[object, ...] = (socket.inet_ntoa(packet[16:20]), 0)
        else:
            target = (socket.inet_ntop(socket.AF_INET6, packet[24:40]), 0, 0, 0)
        try:
            self._given.sendto(packet, target)
        except OSError as error:
            self.refused += 1
            self.host.counters["too_big" if error.errno == EMSGSIZE else "refused_by_kernel"] += 1

    def _is_ours(self, packet: bytes) -> bool:
        start = 16 if self._version == 4 else 24
        return packet[start : start + len(self.host.packed)] == self.host.packed

    def close(self) -> None:
        self._taken.close()
        self._given.close()


def is_chatter(packet: bytes | bytearray, version: int) -> bool:
    """What kernels say to each other, and to everybody on a link."""
    if version == 4:
        return len(packet) < 20 or packet[16] >= 224
    if len(packet) < 41 or packet[24] == 0xFF:
        return True
    return packet[6] == ICMPV6 and (packet[40] in _NEIGHBOURS or packet[40] in _MULTICAST_LISTENERS)


class Cards:
    """All cards of a world, as one task: packets in, a turn of their hosts, packets out, deadlines."""

    def __init__(self) -> None:
        self._cards: dict[Host, Card] = {}
        self._by_fd: dict[int, Card] = {}
        self._real: list[Card] = []
        self._epoll = select.epoll()
        self._told: dict[Host, None] = {}
        self._deadlines: TimerQueue[Host] = TimerQueue()
        self._scope: trio.CancelScope | None = None
        self._woken = False

    def add(self, card: Card) -> None:
        self._cards[card.host] = card
        self._by_fd[card.fileno()] = card
        self._epoll.register(card, select.EPOLLIN)
        if card.real:
            self._real.append(card)
        self.touch(card.host)

    def of(self, host: Host) -> Card:
        return self._cards[host]

    def unseen(self, vnet: str) -> int:
        """Copies that the kernel had no room for: of packets which real hosts of `vnet` may have sent."""
        cards = [card for card in self._real if card.host.vnet == vnet]
        for card in cards:
            card.check_losses()
        return sum(card.unseen for card in cards)

    def touch(self, host: Host) -> None:
        """Somebody gave `host` something to do."""
        self._told[host] = None
        self._woken = True
        if self._scope is not None:
            self._scope.cancel()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        while True:
            if not self._woken:
                with trio.CancelScope(deadline=self._deadlines.next()) as self._scope:
                    await trio.lowlevel.wait_readable(self._epoll)
                self._scope = None
            else:
                await trio.lowlevel.checkpoint()
            self._woken = False
            self._turn(trio.current_time())

    def _turn(self, now: float) -> None:
        passed = [(card, card.receive()) for card in self._ready()]
        # Whatever has come was sent before: now all that real hosts have sent is in the books before it is judged.
        passed += [(card, card.receive(ALL_READS)) for card in self._real]
        real = [(card.host, copies) for card, copies in passed if copies and isinstance(card.host, RealHost)]
        for machine, copies in real:
            machine.saw_sent([packet for out, packet in copies if out], now)
        for machine, copies in real:
            machine.saw(copies, now)
        touched: dict[Host, None] = {}
        for card, came in passed:
            if came and not card.real:
                card.host.handle_packets([bytearray(packet) for _, packet in came], now)
                touched[card.host] = None
        for host in self._due(now):
            host.handle_timeout(now)
            touched[host] = None
        for host in touched:
            packets = host.poll_packets()
            if packets:
                self._cards[host].send(packets)
            self._deadlines.set(host, host.poll_timeout())

    def catch_up(self, now: float) -> None:
        """Take what has come: what real hosts have sent is in the books then."""
        if self._real:
            self._turn(now)
            if self._scope is not None:  # what came may have set a deadline that is earlier
                self._scope.deadline = self._deadlines.next()

    def _ready(self) -> list[Card]:
        return [self._by_fd[fd] for fd, _ in self._epoll.poll(0)]

    def _due(self, now: float) -> dict[Host, None]:
        due, self._told = self._told, {}
        while (host := self._deadlines.pop_due(now)) is not None:
            due[host] = None
        return {host: None for host in due if host in self._cards and not self._cards[host].real}

    def close(self) -> None:
        self._epoll.close()
        for card in self._cards.values():
            card.close()
