"""The one place where a core meets its ports and the clock: wait for what arrives, a deadline or a nudge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import trio

from edge.io.udp import Read
from edge.proto.types import Address, DropReason

BUSY_TIME = 0.002  # seconds of traffic in a row before the other tasks of the process get their turn
LINGERING_TIME = 0.01  # the same for a process whose main job this port is


Arrivals = TypeVar("Arrivals", covariant=True)
"""What a source brings: false if nothing came."""


class Source(Protocol[Arrivals]):
    """What a driver waits on: one port, or several that one core serves."""

    def receive(self) -> Arrivals:
        """What is there now; empty if nothing is. Never waits; valid until the next call."""

    async def wait_readable(self) -> None:
        """Until ``receive`` is worth a call; it may still be empty then."""

    def poll(self, seconds: float) -> bool:
        """Whether ``receive`` is worth a call within `seconds`. Blocks the thread."""


class Port(Source[list[Read]], Protocol):
    """A UdpPort, or one at the end of a path that somebody simulates."""

    @property
    def address(self) -> Address:
        """Where its datagrams come from."""

    @property
    def drops(self) -> Counter[DropReason]:
        """Datagrams that could not be sent."""

    def send(self, batches: Sequence[tuple[Address, Sequence[bytes]]]) -> None:
        """Send datagrams grouped by destination. Never waits."""

    def close(self) -> None: ...


class Driver(Generic[Arrivals]):
    """Waits on behalf of one core. One task waits; any task may ``wake`` it.

    `linger` in seconds (a multiple of 1 ms): after traffic, wait that long for more in the kernel before handing over
    to trio. A pass through the scheduler costs as much as forwarding several packets, and under load the next datagram
    is microseconds away. Meanwhile no other task of the process runs: only for a process that is there for these ports.
    """

    def __init__(self, source: Source[Arrivals], *, linger: float = 0.0) -> None:
        self._source = source
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

    async def wait(self, deadline: float) -> Arrivals:
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
        reads = self._source.receive()
        lingers = self._linger and self._busy_since and not self._woken and now + self._linger <= deadline
        if not reads and lingers and self._source.poll(self._linger):
            reads = self._source.receive()
        if not reads:
            if self._woken or deadline <= now:
                await trio.lowlevel.checkpoint()
            else:
                with trio.CancelScope(deadline=deadline) as self._scope:
                    await self._source.wait_readable()
                self._scope = None
            self._woken = False
            self._busy_since = 0.0
            reads = self._source.receive()
        if reads and not self._busy_since:
            self._busy_since = trio.current_time()
        return reads
