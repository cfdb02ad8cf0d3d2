"""How late a machine is: on a real clock, that is part of every time that is measured."""

from __future__ import annotations

import trio

EVERY = 0.02
"""Seconds between two looks: a packet of a call."""


class Lateness:
    """The longest time by which this process was woken too late."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        """Until it is cancelled."""
        while True:
            due = trio.current_time() + EVERY
            await trio.sleep_until(due)
            self.longest = max(self.longest, trio.current_time() - due)
