"""The way into a world from the real machine: a UDP port for devices that are not ours."""

from __future__ import annotations

import select
import socket
from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

import trio

from edge.io.udp import Batch, Read, UdpPort
from edge.proto.types import Address, DropReason

READS = 16

SETTING = "--listen ADDRESS:PORT"
"""Where people choose the address."""

MOST_KNOWN = 4096
"""Addresses of which it is remembered where they are; strangers choose how many there are."""


class Door:
    """A socket of the machine's own network. Open it before the process enters a namespace: then it is out of reach,
    but what is open stays open."""

    def __init__(self, listen: Address) -> None:
        """Refused if that address cannot be had."""
        kept: list[socket.socket] = []

        def make(family: int, kind: int) -> socket.socket:
            made = socket.socket(family, kind)
            if kind == socket.SOCK_DGRAM:
                kept.append(made.dup())
            return made

        try:
            port = UdpPort.bind(listen, is_dialled=True, make_socket=make, setting=SETTING)
        except BaseException:
            for each in kept:
                each.close()
            raise
        self.address = port.address
        port.close()
        (self._socket,) = kept

    def port(self) -> UdpPort:
        """For one process of the PoP, which closes it in the end."""
        return UdpPort(self._socket.dup(), reads=READS)

    def close(self) -> None:
        self._socket.close()


class TwoDoors:
    """One port in front of two sockets: that of the world inside, and one to the outside. Takes both over.

    `inside` holds all addresses that far ends in this world can have; whoever has another one is outside.
    """

    def __init__(self, indoors: UdpPort, outdoors: UdpPort, inside: IPv4Network | IPv6Network) -> None:
        self._indoors = indoors
        self._outdoors = outdoors
        self._inside = inside
        self._known: dict[str, bool] = {}
        self._epoll = select.epoll()
        for port in (indoors, outdoors):
            self._epoll.register(port, select.EPOLLIN)
        self.address = indoors.address

    @property
    def drops(self) -> Counter[DropReason]:
        """Datagrams that could not be sent."""
        return self._indoors.drops + self._outdoors.drops

    def fileno(self) -> int:
        return self._epoll.fileno()

    def poll(self, seconds: float) -> bool:
        return bool(self._epoll.poll(seconds, 1))

    async def wait_readable(self) -> None:
        await trio.lowlevel.wait_readable(self._epoll)

    def receive(self) -> list[Read]:
        return [*self._indoors.receive(), *self._outdoors.receive()]

    def send(self, batches: Sequence[Batch]) -> None:
        inside = [batch for batch in batches if self._is_inside(batch[0][0])]
        if inside:
            self._indoors.send(inside)
        if len(inside) < len(batches):
            self._outdoors.send([batch for batch in batches if not self._is_inside(batch[0][0])])

    def _is_inside(self, host: str) -> bool:
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[host] = ip_address(host.partition("%")[0]) in self._inside
        return known

    def close(self) -> None:
        self._epoll.close()
        self._indoors.close()
        self._outdoors.close()
