"""One run of one script, from the command's point of view: there is a record afterwards, whatever happened."""

from __future__ import annotations

import signal
from functools import partial
from typing import NamedTuple

import trio

from edge.errors import FabricUnavailable, PoplabError
from scenarios import runner
from scenarios.fabric import Fabric
from scenarios.report import RunRecord, State
from scenarios.runner import Observer
from scenarios.schema import Script


class Job(NamedTuple):
    """A script, where it runs, and the command that does that again. Without a fabric it is skipped."""

    script: Script
    fabric: Fabric | None
    seed: int
    repeat: str
    reason: str = ""
    """Why it is skipped."""

    def record(self, state: State, error: str = "") -> RunRecord:
        """Of a run that came to nothing."""
        scenario = self.script.scenario
        return RunRecord(
            file=self.script.file,
            name=scenario.name,
            about=" ".join(scenario.about.split()),
            cell=dict(self.script.cell),
            fabric=self.fabric.name if self.fabric is not None else "",
            virtual=self.fabric is not None and self.fabric.virtual,
            seed=self.seed,
            deadline=scenario.deadline,
            repeat=self.repeat,
            state=state,
            error=error,
        )


def attempt(job: Job, observer: Observer) -> RunRecord:
    """Run it here and now. The first Ctrl-C drains and reports; the second one is Python's own."""
    if job.fabric is None:
        return job.record(State.SKIPPED, job.reason)
    try:
        return job.fabric.execute(partial(_until_interrupted, job, job.fabric, observer), seed=job.seed)
    except FabricUnavailable as error:
        return job.record(State.UNAVAILABLE, str(error))


async def _until_interrupted(job: Job, fabric: Fabric, observer: Observer) -> RunRecord:
    interrupt = trio.Event()

    async def listen(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                interrupt.set()
                break

    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(listen)
            record = await runner.run(
                job.script, fabric, seed=job.seed, repeat=job.repeat, observer=observer, interrupt=interrupt
            )
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        refusals = group.subgroup(PoplabError)
        if refusals is not None and len(refusals.exceptions) == 1:
            raise refusals.exceptions[0] from None
        raise
    return record
