"""trio under virtual time: a clock that somebody else moves, and a scheduler whose order depends on a seed only."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

import trio

LONG = 3600.0  # real seconds: how long trio may sleep for the I/O that wakes it; the clock moves by hand


class VirtualClock(trio.abc.Clock):
    """Give it to ``trio.run(..., clock=)``. Seconds from 0; stands still unless set."""

    def __init__(self) -> None:
        self.now = 0.0

    def start_clock(self) -> None:
        """Nothing starts by itself."""

    def current_time(self) -> float:
        return self.now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return 0.0 if deadline <= self.now else LONG


def next_deadline() -> float:
    """The earliest deadline of any task of this run, in its time; infinite if there is none."""
    left = trio.lowlevel.current_statistics().seconds_to_next_deadline
    return trio.current_time() + max(0.0, left) if left < inf else inf


@contextmanager
def seeded_scheduler(seed: int) -> Iterator[None]:
    """trio runs tasks that are ready at the same moment in an order that follows from `seed`.

    Its public way to that is to import Hypothesis, which a test framework may do and a network must not need; so these
    are the two private names that Hypothesis gets at. A test fails if trio renames them.
    """
    scheduler: Any = trio._core._run
    allowed, state = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    scheduler._r.setstate(random.Random(f"{seed}/scheduler").getstate())
    try:
        yield
    finally:
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = allowed
        scheduler._r.setstate(state)
