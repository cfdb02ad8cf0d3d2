"""A clock for tests that learn only later where their world runs: real time, but virtual inside a simulated world."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from scenarios.fabric.sim import VirtualClock


class LabClock(VirtualClock):
    """Every simulated world begins at 0, so that it is the same in any test; after it, real time is what it was."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._virtual: float | None = None
        """The time of the world that moves it; there is one at a time."""

    @property
    def now(self) -> float:
        return time.monotonic() - self._began if self._virtual is None else self._virtual

    @now.setter
    def now(self, value: float) -> None:
        self._virtual = value

    @property
    def virtual(self) -> bool:
        return self._virtual is not None

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return super().deadline_to_sleep_time(deadline) if self.virtual else deadline - self.now

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """It stands at 0; somebody sets `now`."""
        self._virtual = 0.0
        try:
            yield
        finally:
            self._virtual = None
