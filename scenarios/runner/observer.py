"""Whoever watches a run: the record is always up to date when one of these is called."""

from __future__ import annotations

from typing import Protocol

from scenarios.report import RunRecord, StepRecord


class Observer(Protocol):
    """A screen, a log, a test."""

    def started(self, run: RunRecord) -> None: ...

    def step_started(self, run: RunRecord, step: StepRecord) -> None: ...

    def step_ended(self, run: RunRecord, step: StepRecord) -> None: ...

    def tick(self, run: RunRecord) -> None: ...

    def ended(self, run: RunRecord) -> None: ...


class Nobody:
    """Watches nothing."""

    def started(self, run: RunRecord) -> None:
        """Nothing."""

    def step_started(self, run: RunRecord, step: StepRecord) -> None:
        """Nothing."""

    def step_ended(self, run: RunRecord, step: StepRecord) -> None:
        """Nothing."""

    def tick(self, run: RunRecord) -> None:
        """Nothing."""

    def ended(self, run: RunRecord) -> None:
        """Nothing."""
