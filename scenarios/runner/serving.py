"""``exec.start`` and ``exec.stop``: programs that are declared at a host begin and end when a step says so."""

from __future__ import annotations

import signal
from typing import ClassVar

from scenarios.checks import Plain, Seconds
from scenarios.runner.program_results import in_words, results
from scenarios.runner.stage import Impossible, Quiet, Stage
from scenarios.schema.programs import RESULTS, ExecStart, ExecStop


class Starting(Quiet):
    FIELDS: ClassVar[tuple[str, ...]] = ("ready", "duration")
    DEFAULT: ClassVar[tuple[str, ...]] = ("ready",)

    def __init__(self, stage: Stage, verb: ExecStart) -> None:
        self._stage = stage
        self._service = stage.programs.service(verb.on, verb.name)
        self._begun = stage.now()
        self._duration: float | None = None

    async def run(self) -> None:
        service = self._service
        if service.alive:
            raise Impossible(f"{service.name} runs already")
        self._begun = self._stage.now()
        service.begin(by_step=True)
        await service.settled.wait()
        self._duration = self._stage.now() - self._begun
        if service.trouble:
            raise Impossible(service.trouble)

    def results(self) -> dict[str, Plain]:
        duration = None if self._duration is None else Seconds(self._duration)
        return {"ready": self._service.ready, "duration": duration}

    def summary(self) -> str:
        if self._duration is None or not self._service.ready:
            return ""
        return f"{self._service.name} is ready after {Seconds(self._duration)}"

    def waiting(self) -> str:
        line = self._service.output.last_line
        return f"waiting until {self._service.name} is ready" + (f": {line}" if line else "")

    def written(self) -> list[str]:
        return self._service.last_lines()


class Stopping(Quiet):
    FIELDS: ClassVar[tuple[str, ...]] = RESULTS
    DEFAULT: ClassVar[tuple[str, ...]] = ('outcome != "timeout"',)

    def __init__(self, stage: Stage, verb: ExecStop) -> None:
        self._stage = stage
        self._verb = verb
        self._service = stage.programs.service(verb.on, verb.name)
        self._duration: float | None = None
        self._obeyed = True

    async def run(self) -> None:
        service, verb = self._service, self._verb
        if not service.alive:
            raise Impossible(f"{service.name} does not run")
        begun = self._stage.now()
        self._obeyed = await service.end(signal.Signals[f"SIG{verb.signal}"], verb.within)
        self._duration = self._stage.now() - begun

    def results(self) -> dict[str, Plain]:
        """`duration`: how long it took to end."""
        given = results(self._service.process, self._service.output, self._duration)
        return given if self._obeyed else {**given, "outcome": "timeout"}

    def summary(self) -> str:
        if self._duration is None:
            return ""
        if not self._obeyed:
            return f"{self._service.name} was killed after {Seconds(self._verb.within)}"
        return f"{in_words(self._service.process).removeprefix('it ')} after {Seconds(self._duration)}"

    def waiting(self) -> str:
        return f"waiting until {self._service.name} ends after SIG{self._verb.signal}"

    def written(self) -> list[str]:
        return self._service.last_lines()
