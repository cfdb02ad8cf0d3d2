"""The one place where a tunnel core meets a UDP port and the clock: wait for datagrams, a deadline or a nudge."""

from __future__ import annotations

import trio

from edge.io.udp import Read, UdpPort

BUSY_TURNS = 8  # turns with traffic in a row before the other tasks of the process get theirs


class Driver:
    """Waits on behalf of one core. One task waits; any task may ``wake`` it."""

    def __init__(self, port: UdpPort) -> None:
        self.port = port
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

        A checkpoint, but only on every BUSY_TURNS-th turn while traffic keeps coming: a pass through the scheduler
        costs as much as forwarding several packets.
        """
        reads = self.port.receive()
        self._busy = self._busy + 1 if reads else 0
        if reads and self._busy < BUSY_TURNS:
            return reads
        self._busy = 0
        if reads or self._woken or deadline <= trio.current_time():
            self._woken = False
            await trio.lowlevel.checkpoint()
            return reads
        with trio.CancelScope(deadline=deadline) as self._scope:
            await self.port.wait_readable()
        self._scope = None
        self._woken = False
        return self.port.receive()
