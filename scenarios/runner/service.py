"""A program that is declared at a host: begun, ready, ended; and whether that was as it should be."""

from __future__ import annotations

import signal

import trio

from scenarios.checks import ExpressionError, Plain, Seconds
from scenarios.fabric.process import Process
from scenarios.proto.program_output import ProgramOutput
from scenarios.report import ProgramRecord
from scenarios.runner.launcher import Launcher, NotStarted
from scenarios.runner.program_results import Picks, in_words, outcome, results
from scenarios.runner.readiness import awaited, until_ready
from scenarios.schema.programs import Program

SHOWN = 20
"""The last lines of what it wrote, in reports."""


class Service:
    """One program of one host."""

    def __init__(self, launcher: Launcher, host: str, given: Program, began: float) -> None:
        """`began` is the time of the world at which its scenario began."""
        self.host = host
        self.given = given
        self.output = ProgramOutput()
        """Of its present start, or its last one."""
        self.process: Process | None = None
        self.ready = False
        self.starts = 0
        self.trouble = ""
        """Why its present start has come to nothing."""
        self.settled = trio.Event()
        """It is ready, or will not be."""
        self.broken = ""
        """What should not have happened, ever."""
        self.broken_at = 0.0
        self._launcher = launcher
        self._began = began
        self._started: float | None = None
        self._ended: float | None = None
        self._ready_after: float | None = None
        self._wanted_to_end = False
        self._picks = Picks(given.capture)

    @property
    def name(self) -> str:
        return f"{self.given.name} on {self.host}"

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive

    @property
    def state(self) -> str:
        if self.alive:
            return "running" if self.ready else "starting"
        return "failed" if self.process is None and self.trouble else outcome(self.process)

    def begin(self, *, by_step: bool) -> None:
        """It must not run. What a step begins, the step answers for until it is ready."""
        assert not self.alive
        self.ready, self.trouble, self.settled = False, "", trio.Event()
        self._wanted_to_end = False
        self._started, self._ended, self._ready_after = self._launcher.now(), None, None
        self.process = None
        log = self.output.on_data
        self.output = ProgramOutput()
        self.output.on_data = log
        try:
            self.process = process = self._launcher.start(
                self.host, self.given, self.output, label=self.given.name
            )
        except (NotStarted, ExpressionError) as error:
            self._not_ready(str(error), by_step=by_step)
            return
        self.starts += 1
        settled = self.settled
        self._launcher.attend(lambda: self._attend(process, settled, by_step=by_step))

    async def end(self, how: signal.Signals, within: float) -> bool:
        """Whether it ended as it was asked to."""
        self._wanted_to_end = True
        return self.process is None or await self.process.end(how, grace=within)

    def expect_end(self) -> None:
        """From now on it may end."""
        self._wanted_to_end = True

    def names(self) -> dict[str, Plain]:
        """What conditions can ask of it."""
        ended = self._ended if self._ended is not None else self._launcher.now()
        duration = None if self._started is None or self.process is None else ended - self._started
        return {
            **results(self.process, self.output, duration),
            "state": self.state,
            "ready": self.ready,
            "starts": self.starts,
            **self._picks.of(self.output),
        }

    def last_lines(self) -> list[str]:
        """Of what it has written."""
        return self.output.last_lines(SHOWN)

    def record(self) -> ProgramRecord:
        return ProgramRecord(
            host=self.host,
            name=self.given.name,
            command=list(self.given.run),
            state=self.state,
            code=None if self.process is None else self.process.code,
            signal="" if self.process is None else self.process.signal or "",
            starts=self.starts,
            started=None if self._started is None else self._started - self._began,
            ended=None if self._ended is None else self._ended - self._began,
            ready_after=self._ready_after,
            trouble=self.broken or self.trouble,
            output=self.last_lines(),
            output_bytes=self.output.total,
        )

    async def _attend(self, process: Process, settled: trio.Event, *, by_step: bool) -> None:
        await self._until_settled(process, by_step=by_step)
        settled.set()
        await process.ended.wait()
        if self.process is process:
            self._ended = self._launcher.now()
        if self.ready and not self._wanted_to_end and not self.given.may_exit:
            hint = "; a program here stays in the foreground" if process.code == 0 else ""
            self._break(f"{self.name} should run, but {in_words(process)}{hint}")

    async def _until_settled(self, process: Process, *, by_step: bool) -> None:
        ready, begun = self.given.ready, self._launcher.now()
        if ready is None:
            self.ready, self._ready_after = True, 0.0
            return
        trouble = ""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_after, process, nursery.cancel_scope)
            with trio.move_on_after(ready.within):
                try:
                    await until_ready(self._launcher, self.host, process, ready)
                    self.ready, self._ready_after = True, self._launcher.now() - begun
                except (NotStarted, ExpressionError) as error:
                    trouble = str(error)
            nursery.cancel_scope.cancel()
        if self.ready or self._wanted_to_end:
            return
        if not trouble and not process.alive:
            trouble = f"{in_words(process)} before it was ready"
        trouble = trouble or f"it was not ready within {Seconds(ready.within)}: {awaited(ready)}"
        self._not_ready(trouble, by_step=by_step)

    def _not_ready(self, why: str, *, by_step: bool) -> None:
        self.trouble = f"{self.name}: {why}"
        if not by_step:
            self._break(self.trouble)
        self.settled.set()

    def _break(self, text: str) -> None:
        if not self.broken:
            self.broken, self.broken_at = text, self._launcher.now() - self._began


async def _cancel_after(process: Process, scope: trio.CancelScope) -> None:
    await process.ended.wait()
    scope.cancel()
