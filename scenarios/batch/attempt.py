"""One run of one script, from the command's point of view: there is a record afterwards, whatever happened."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import trio

from edge.errors import FabricUnavailable, PoplabError
from scenarios import determinism, runner
from scenarios.batch.interrupts import (
    hear_hangups_again,
    hear_no_more_hangups,
    interrupts,
    leave_terminal,
)
from scenarios.fabric import Fabric
from scenarios.recording import Recording
from scenarios.report import RunRecord, State
from scenarios.runner import Observer
from scenarios.schema import Script
from scenarios.scratch import Scratch
from scenarios.trace import Recorder

T = TypeVar("T")


class Job(NamedTuple):
    """A script, where it runs, and the command that does that again. Without a fabric it is skipped."""

    script: Script
    fabric: Fabric | None
    seed: int
    repeat: str
    reason: str = ""
    """Why it is skipped."""
    folder: Path | None = None
    """Where its trace and its capture go."""
    trace: bool = False
    twice: bool = False
    """It is run once more, in another process, and compared."""
    where: str = ""
    """The word for the fabric, where it is skipped too."""
    beside: tuple[str, ...] = ()
    """All fabrics where the script runs, if the runs are compared."""

    @property
    def title(self) -> str:
        """That of its record."""
        return f"{self.script.title} on {self.where}" if self.beside else self.script.title

    def record(self, state: State, error: str = "") -> RunRecord:
        """Of a run that came to nothing."""
        scenario = self.script.scenario
        return RunRecord(
            file=self.script.file,
            name=scenario.name,
            about=" ".join(scenario.about.split()),
            cell=dict(self.script.cell),
            fabric=self.where,
            beside=list(self.beside),
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
    # One that comes before anybody listens waits: as an exception in the middle of nowhere it could get lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, interrupts())
    try:
        if not job.twice:
            return _recorded(job, job.fabric, observer, None)
        with closing(Scratch("twin")) as twin:
            return _recorded(job, job.fabric, observer, twin.folder)
    except FabricUnavailable as error:
        return job.record(State.UNAVAILABLE, str(error))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _recorded(job: Job, fabric: Fabric, observer: Observer, twin: Path | None) -> RunRecord:
    """`twin` is for the trace of a run that is compared, if it is one."""
    with Recording(
        job.script,
        job.folder,
        fabric=fabric.name,
        seed=job.seed,
        trace=job.trace,
        twin=twin,
    ) as recording:
        main = partial(_until_interrupted, job, fabric, observer, recording.recorder)
        record = fabric.execute(main, seed=job.seed)
    record.incomplete = [*record.incomplete, *recording.complaints]
    record.beside = list(job.beside)
    if twin is not None and record.state is not State.INTERRUPTED:
        try:
            record.determinism = determinism.check(job.script, record, twin)
        except determinism.NotDeterministic as error:
            record.divergence = str(error)
    return record


async def _until_interrupted(
    job: Job, fabric: Fabric, observer: Observer, recorder: Recorder | None
) -> RunRecord:
    return await until_interrupted(
        lambda interrupt: runner.run(
            job.script,
            fabric,
            seed=job.seed,
            repeat=job.repeat,
            observer=observer,
            interrupt=interrupt,
            recorder=recorder,
            folder=job.folder,
        )
    )


async def until_interrupted(
    perform: Callable[[trio.Event], Awaitable[T]],
) -> T:
    """What `perform` returns, which is told the first of the `interrupts` by an event."""
    interrupt = trio.Event()
    by = interrupts()

    async def listen(*, task_status: trio.TaskStatus[None]) -> None:
        with trio.open_signal_receiver(*by) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, by)
            task_status.started()
            async for number in signals:
                if number == signal.SIGHUP:
                    leave_terminal()
                    hung_up.append(True)
                interrupt.set()
                break

    hung_up: list[bool] = []
    before = hear_no_more_hangups()  # once the receiver is closed
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(listen)
            result = await perform(interrupt)
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        refusals = group.subgroup(PoplabError)
        if refusals is not None and len(refusals.exceptions) == 1:
            raise refusals.exceptions[0] from None
        raise
    finally:
        if not hung_up:
            hear_hangups_again(before)
    return result
