"""What an endpoint waits for: datagrams from the PoP, and packets of the kernel if a device is behind the tunnel."""

from __future__ import annotations

import select
from typing import Protocol

import trio

from connectors.tun_side import TunSide
from edge.io.driver import Port
from edge.io.udp import Read


class Descriptor(Protocol):
    """Something that the system can wait for."""

    def fileno(self) -> int: ...


class Arrivals:
    """What came since the last look; false if nothing did."""

    __slots__ = ("packets", "reads")

    def __init__(self, reads: list[Read], packets: bool = False) -> None:
        self.reads = reads
        self.packets = packets  # whether the side has some

    def __bool__(self) -> bool:
        return bool(self.reads) or self.packets


class Datagrams:
    """A port alone."""

    def __init__(self, port: Port) -> None:
        self.wait_readable = port.wait_readable
        self.poll = port.poll
        self._receive = port.receive

    def receive(self) -> Arrivals:
        return Arrivals(self._receive())

    def close(self) -> None:
        """The port is its owner's."""


class DatagramsAndPackets:
    """A port that has a file descriptor, and a device: an epoll set of its own is what trio waits for."""

    def __init__(self, port: Port, side: TunSide, device: Descriptor) -> None:
        fileno = getattr(port, "fileno", None)
        if fileno is None:
            raise TypeError(f"{type(port).__name__} cannot be waited for together with a device")
        self._receive = port.receive
        self._gather = side.gather
        self._epoll = select.epoll()
        self._epoll.register(fileno(), select.EPOLLIN)
        self._epoll.register(device.fileno(), select.EPOLLIN)

    def receive(self) -> Arrivals:
        return Arrivals(self._receive(), self._gather())

    async def wait_readable(self) -> None:
        await trio.lowlevel.wait_readable(self._epoll)

    def poll(self, seconds: float) -> bool:
        return bool(self._epoll.poll(seconds, 1))

    def close(self) -> None:
        self._epoll.close()
