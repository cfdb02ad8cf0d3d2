"""The sockets of a PoP as one source for its relay: WireGuard's UDP port, and for MASQUE a UDP and a TCP port."""

from __future__ import annotations

import select
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import trio

from edge.io.driver import Port
from edge.io.streams import StreamPort
from edge.io.udp import Read, UdpPort
from edge.proto.types import DropReason, StreamEvent


class WireGuardPort(Port, Protocol):
    """A UdpPort, or several that look like one."""

    def fileno(self) -> int:
        """Readable when ``receive`` is worth a call."""


class Arrivals:
    """What came since the last look, by port; false if nothing did."""

    __slots__ = ("quic", "streams", "wireguard")

    def __init__(
        self, wireguard: list[Read], quic: Sequence[Read] = (), streams: Sequence[StreamEvent] = ()
    ) -> None:
        self.wireguard = wireguard
        self.quic = quic
        self.streams = streams

    def __bool__(self) -> bool:
        return bool(self.wireguard or self.quic or self.streams)


class Ports:
    """Waits on all of them at once: an epoll set of its own is what trio waits for. Takes the ports over."""

    def __init__(
        self, wireguard: WireGuardPort, quic: UdpPort | None = None, streams: StreamPort | None = None
    ) -> None:
        self.wireguard = wireguard
        self.quic = quic
        self.streams = streams
        self._epoll = select.epoll()
        for port in (wireguard, quic):
            if port is not None:
                self._epoll.register(port, select.EPOLLIN)

    @property
    def drops(self) -> Counter[DropReason]:
        """Datagrams that could not be sent."""
        return self.wireguard.drops if self.quic is None else self.wireguard.drops + self.quic.drops

    def receive(self) -> Arrivals:
        return Arrivals(
            self.wireguard.receive(),
            () if self.quic is None else self.quic.receive(),
            () if self.streams is None else self.streams.receive(),
        )

    async def wait_readable(self) -> None:
        await trio.lowlevel.wait_readable(self._epoll)

    def poll(self, seconds: float) -> bool:
        return bool(self._epoll.poll(seconds, 1))

    def close(self) -> None:
        self._epoll.close()
        self.wireguard.close()
        if self.quic is not None:
            self.quic.close()
