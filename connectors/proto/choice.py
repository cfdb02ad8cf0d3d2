"""Which way to the PoP to try, to keep and to leave, when there are several: as happy eyeballs do (RFC 8305).

Pure decisions: it is told how each way goes, and says which shall run and which carries the packets. Ways are known by
their number, the preferred one first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from edge.proto.types import NEVER

STAGGER = 2.0
"""Seconds that a way has to come up before the next one is begun beside it: more than two round trips by satellite."""

ATTEMPT = 10.0
"""Seconds until an attempt counts as failed."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between attempts of one way: doubled each time that it fails, as long as another one works or none does."""

PROVEN = 2.0
"""Seconds up after which a way has worked: a PoP that accepts and hangs up at once must not be asked in a loop."""

BETTER = 15.0
"""Seconds on a less preferred way until a better one is tried again."""


NO_ANSWER = "no answer in time"
"""Why an attempt failed of which nothing else is known."""


class Health(StrEnum):
    """How a way goes."""

    IDLE = "idle"
    TRYING = "trying"
    UP = "up"
    QUIET = "quiet"  # up, but what was sent is not answered
    FAILED = "failed"


@dataclass(slots=True)
class _Way:
    begun: float = -NEVER
    again: float = -NEVER  # not before
    pause: float = FIRST_PAUSE
    running: bool = False
    up_since: float = NEVER


class Choice:
    """Over `count` ways. `jitter` gives numbers in 0..1, so that thousands of clients do not come back at once."""

    def __init__(self, count: int, *, jitter: Callable[[], float]) -> None:
        self.active: int | None = None
        """The way that carries packets."""
        self.switches = 0  # times that packets went another way than before
        self._ways = [_Way() for _ in range(count)]
        self._jitter = jitter

    def decide(self, health: Sequence[Health], now: float) -> tuple[list[int], list[int]]:
        """(ways to begin, ways to end) now, given how each goes; one that is in both ends first.

        Call it when something changed, or at ``next``.
        """
        ways = self._ways
        health = list(health)  # as it is once what was decided is done
        begin: list[int] = []
        end: list[int] = []
        for number, (way, how) in enumerate(zip(ways, health, strict=True)):
            if not way.running:
                continue
            late = how is Health.TRYING and now >= way.begun + ATTEMPT
            if how in (Health.FAILED, Health.IDLE) or late:
                if now >= way.up_since + PROVEN:  # it had worked, and may be back at once
                    way.again, way.pause = now, FIRST_PAUSE
                else:
                    way.again = now + way.pause * (0.5 + self._jitter())
                    way.pause = min(way.pause * 2, LONGEST_PAUSE)
                self._stop(number, health, end)
            elif how is Health.UP and way.up_since == NEVER:
                way.up_since = now
        best = next((n for n, w in enumerate(ways) if w.running and health[n] is Health.UP), None)
        if best is None:  # what is quiet may be on its way back, and is better than nothing
            best = next((n for n, w in enumerate(ways) if w.running and health[n] is Health.QUIET), None)
        if best != self.active:
            if best is not None and self.active is not None:
                self.switches += 1
            self.active = best
        for number, way in enumerate(ways):
            if way.running:
                # One that went quiet is not waited for once another works: a connection that has lost everything for
                # seconds has timers and windows that take long to recover. A fresh one is tried when it is time.
                quiet = health[number] is Health.QUIET
                if best is not None and health[best] is Health.UP and (quiet or number > best):
                    way.again, way.pause = now + BETTER if quiet else now, FIRST_PAUSE
                    self._stop(number, health, end)
                continue
            if now >= self._due(number, health):
                way.running, way.begun = True, now
                health[number] = Health.TRYING
                begin.append(number)
        return begin, end

    def renew(self, number: int) -> None:
        """The way will be found ended, by our own will: begin it anew at once, however short it was up."""
        self._ways[number].up_since = -NEVER

    def _stop(self, number: int, health: list[Health], end: list[int]) -> None:
        self._ways[number].running = False
        self._ways[number].up_since = NEVER
        health[number] = Health.IDLE
        end.append(number)

    def next(self, health: Sequence[Health]) -> float:
        """When ``decide`` is wanted next though nothing changes."""
        at = NEVER
        for number, way in enumerate(self._ways):
            if not way.running:
                at = min(at, self._due(number, health))
            elif health[number] is Health.TRYING:
                at = min(at, way.begun + ATTEMPT)
            elif health[number] in (Health.FAILED, Health.IDLE):
                at = min(at, way.begun)  # at once: it failed as it was begun
        return at

    def _due(self, number: int, health: Sequence[Health]) -> float:
        """When the way, which does not run, is to be begun."""
        at = self._ways[number].again
        active = self.active
        if active is not None and health[active] is Health.UP:
            if number > active:
                return NEVER
            at = max(at, self._ways[active].begun + BETTER)
        for better in range(number):
            other = self._ways[better]
            # One that was begun in this very call has the health of before.
            if other.running and health[better] is not Health.QUIET:
                at = max(at, other.begun + STAGGER)
        return at
