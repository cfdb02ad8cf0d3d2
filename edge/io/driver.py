"""The one place where a tunnel core meets a UDP port and the clock: wait for datagrams, a deadline or a nudge."""

from __future__ import annotations

import trio

from edge.io.udp import Read, UdpPort

BUSY_TURNS = 8  # turns with traffic in a row before the other tasks of the process get theirs
LINGERING_TURNS = 32  # the same for a process whose main job this port is


class Driver:
    """Waits on behalf of one core. One task waits; any task may ``wake`` it.

    `linger` in seconds (a multiple of 1 ms): after traffic, wait that long for more in the kernel before handing over
    to trio. A pass through the scheduler costs as much as forwarding several packets, and under load the next datagram
    is microseconds away. Meanwhile no other task of the process runs: only for a process that is there for this port.
    """

    def __init__(self, port: UdpPort, *, linger: float = 0.0) -> None:
        self.port = port
        self._linger = linger
        self._turns = LINGERING_TURNS if linger else BUSY_TURNS
        self._scope: trio.CancelScope | None = None
        self._woken = False
        self._busy = 0

    def wake(self) -> None:
        """End the present or the next wait at once: somebody gave the core something to do."""
        self._woken = True
        if self._scope is not None:
            self._scope.cancel()

    async def wait(self, deadline: float) -> list[Read]:
        """Bring datagrams; empty when `deadline` (trio time) has passed or after ``wake``.

        A checkpoint, but while traffic keeps coming only every few turns. When it is cancelled, nothing is lost that
        was read.
        """
        if self._busy >= self._turns:
            self._busy = 1
            await trio.lowlevel.checkpoint()
        reads = self.port.receive()
        if not reads and self._busy and self._linger and not self._woken:
            now = trio.current_time()
            if now + self._linger <= deadline and self.port.poll(self._linger):
                reads = self.port.receive()
        if reads:
            self._busy += 1
            return reads
        if self._woken or deadline <= trio.current_time():
            await trio.lowlevel.checkpoint()
        else:
            with trio.CancelScope(deadline=deadline) as self._scope:
                await self.port.wait_readable()
            self._scope = None
        self._woken = False
        reads = self.port.receive()
        self._busy = 1 if reads else 0
        return reads
