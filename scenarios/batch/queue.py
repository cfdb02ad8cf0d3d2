"""Which run may begin beside those that run already.

In virtual time a busy machine costs time and nothing else. On a real clock it is part of what is measured, so such runs
get half of the cores, and what measures time or puts load on the PoP gets the machine for itself, after all others.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

from scenarios.batch.attempt import Job
from scenarios.checks import Seconds
from scenarios.runner.catalogue import metrics
from scenarios.runner.verdict import limits


def cores() -> int:
    """That this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return max(1, len(affinity(0)) if affinity is not None else os.cpu_count() or 1)


class Queue:
    """Jobs by their number, in their order as far as there is room. `at_once`: so many, whatever they are."""

    def __init__(self, jobs: Sequence[Job], *, cores: int, at_once: int | None = None) -> None:
        self._at_once = at_once or cores
        self._real = set() if at_once else {n for n, job in enumerate(jobs) if _has_real_clock(job)}
        self._most_real = max(1, cores // 2)
        self._alone = {n for n in self._real if _wants_to_be_alone(jobs[n])}
        self._skipped = {n for n, job in enumerate(jobs) if job.fabric is None}
        self._waiting = sorted(range(len(jobs)), key=lambda n: n in self._alone)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def take(self, running: Collection[int]) -> int | None:
        """The job that begins now beside `running`; None if all that wait have to wait."""
        for place, index in enumerate(self._waiting):
            if self._has_room(index, running):
                return self._waiting.pop(place)
        return None

    def _has_room(self, index: int, running: Collection[int]) -> bool:
        if index in self._skipped or not running:
            return True
        if index in self._alone or not self._alone.isdisjoint(running):
            return False
        if index in self._real and len(self._real.intersection(running)) >= self._most_real:
            return False
        return len(running) < self._at_once

    def empty(self) -> list[int]:
        """Nothing else will be taken; those that waited."""
        waiting, self._waiting = sorted(self._waiting), []
        return waiting


def _has_real_clock(job: Job) -> bool:
    return job.fabric is not None and not job.fabric.virtual


def _wants_to_be_alone(job: Job) -> bool:
    """It puts load on the PoP, or what is measured in seconds is compared or has a limit."""
    scenario, known = job.script.scenario, metrics()
    return bool(scenario.load or job.beside) or any(
        known.declared(limit.selector.metric).measure is Seconds for limit in limits(scenario)
    )
