"""The one place where a tunnel core meets a UDP port and the clock: wait for datagrams, a deadline or a nudge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import trio

from edge.io.udp import Read
from edge.proto.types import Address, DropReason

BUSY_TIME = 0.002  # seconds of traffic in a row before the other tasks of the process get their turn
LINGERING_TIME = 0.01  # the same for a process whose main job this port is


class Port(Protocol):
    """What a driver waits on: a UdpPort, or one at the end of a path that somebody simulates."""

    @property
    def address(self) -> Address:
        """Where its datagrams come from."""

    @property
    def drops(self) -> Counter[DropReason]:
        """Datagrams that could not be sent."""

    def receive(self) -> list[Read]:
        """What is there now; empty if nothing is. Never waits; valid until the next call."""

    def send(self, batches: Sequence[tuple[Address, Sequence[bytes]]]) -> None:
        """Send datagrams grouped by destination. Never waits."""

    async def wait_readable(self) -> None:
        """Until ``receive`` is worth a call; it may still be empty then."""

    def poll(self, seconds: float) -> bool:
        """Whether ``receive`` is worth a call within `seconds`. Blocks the thread."""

    def close(self) -> None: ...


class Driver:
    """Waits on behalf of one core. One task waits; any task may ``wake`` it.

    `linger` in seconds (a multiple of 1 ms): after traffic, wait that long for more in the kernel before handing over
    to trio. A pass through the scheduler costs as much as forwarding several packets, and under load the next datagram
    is microseconds away. Meanwhile no other task of the process runs: only for a process that is there for this port.
    """

    def __init__(self, port: Port, *, linger: float = 0.0) -> None:
        self.port = port
        self._linger = linger
        self._patience = LINGERING_TIME if linger else BUSY_TIME
        self._scope: trio.CancelScope | None = None
        self._woken = False
        self._held: trio.Event | None = None
        self._busy_since = 0.0  # when the other tasks last had their turn, while there is traffic; else 0

    def wake(self) -> None:
        """End the present or the next wait at once: somebody gave the core something to do."""
        self._woken = True
        if self._scope is not None:
            self._scope.cancel()

    def hold(self) -> None:
        """Let whoever waits stand still, as after SIGSTOP, until ``release``; the socket's buffer goes on filling."""
        if self._held is None:
            self._held = trio.Event()
            self.wake()

    def release(self) -> None:
        if self._held is not None:
            self._held.set()
            self._held = None

    async def wait(self, deadline: float) -> list[Read]:
        """Bring datagrams; empty when `deadline` (trio time) has passed or after ``wake``.

        A checkpoint, but while traffic keeps coming only now and then. When it is cancelled, nothing is lost that
        was read.
        """
        if self._held is not None:
            await self._held.wait()
        now = trio.current_time()
        if self._busy_since and now >= self._busy_since + self._patience:
            self._busy_since = now
            await trio.lowlevel.checkpoint()
        reads = self.port.receive()
        lingers = self._linger and self._busy_since and not self._woken and now + self._linger <= deadline
        if not reads and lingers and self.port.poll(self._linger):
            reads = self.port.receive()
        if not reads:
            if self._woken or deadline <= now:
                await trio.lowlevel.checkpoint()
            else:
                with trio.CancelScope(deadline=deadline) as self._scope:
                    await self.port.wait_readable()
                self._scope = None
            self._woken = False
            self._busy_since = 0.0
            reads = self.port.receive()
        if reads and not self._busy_since:
            self._busy_since = trio.current_time()
        return reads
