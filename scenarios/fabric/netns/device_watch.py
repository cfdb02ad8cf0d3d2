"""Looks on at the device of a tunnel that a program makes, by a packet socket in its machine (packet(7), socket(7))."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress

import trio

from connectors.proto import Watch
from scenarios.fabric.netns.cards import (
    ALL_READS,
    BUFFER,
    ETH_P_ALL,
    ETH_P_IP,
    ETH_P_IPV6,
    PACKET_STATISTICS,
    READ_SIZE,
    SO_RCVBUFFORCE,
    SOL_PACKET,
    is_chatter,
)
from scenarios.fabric.netns.namespace import Namespace

SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY = socket.CMSG_SPACE(_TIMESPEC.size)
_VERSIONS = {ETH_P_IP: 4, ETH_P_IPV6: 6}


class DeviceWatch:
    """Tells `watch` what passes `interface`, with the times at which the kernel had it: we may read late.

    By `catch_up` the cards of hosts are read, so that what they have sent is told before it is told that it went on.
    OSError if the interface is not there.
    """

    def __init__(
        self, space: Namespace, interface: str, watch: Watch, catch_up: Callable[[float], None]
    ) -> None:
        self._watch = watch
        self._catch_up = catch_up
        with space.inside():
            # Protocol 0: nothing comes before it is bound to the interface.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            try:
                self._socket.setblocking(False)
                self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
                with suppress(OSError):
                    self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
                self._socket.bind((interface, ETH_P_ALL))
            except BaseException:
                self._socket.close()
                raise

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._socket)
                self._read()
        finally:
            self._read()
            self._socket.close()

    def _read(self) -> None:
        went: list[tuple[bytes, float]] = []
        for _ in range(ALL_READS):
            try:
                data, ancillary, _, (_, protocol, kind, *_) = self._socket.recvmsg(READ_SIZE, _ANCILLARY)
            except BlockingIOError:
                break
            except OSError:
                continue  # the interface is down, or gone
            version = _VERSIONS.get(protocol)
            if version is None or is_chatter(data, version):
                continue
            if kind == socket.PACKET_HOST:
                self._watch.came(data, "", _time(ancillary))
            elif kind == socket.PACKET_OUTGOING:
                went.append((data, _time(ancillary)))
        if went:
            self._catch_up(trio.current_time())
        for data, at in went:
            self._watch.went(data, "", at)
        raw = self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        self._watch.missed(struct.unpack("=II", raw)[1])


def _time(ancillary: list[tuple[int, int, bytes]]) -> float:
    """When it was, in trio's time."""
    now = trio.current_time()
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(data)
            ago: float = time.time() - seconds - nanoseconds / 1e9
            return now - max(ago, 0.0)
    return now
