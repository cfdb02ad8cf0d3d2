"""``exec.run``: a real program on a host, until it ends."""

from __future__ import annotations

from typing import ClassVar

import trio

from scenarios.checks import Metrics, Plain, Seconds
from scenarios.fabric.process import Process
from scenarios.proto.program_output import ProgramOutput
from scenarios.runner.launcher import GRACE, NotStarted
from scenarios.runner.placeholders import readable
from scenarios.runner.program_results import TIMEOUT, Picks, in_words, results
from scenarios.runner.service import SHOWN
from scenarios.runner.stage import Impossible, Quiet, Stage
from scenarios.runner.unowned import unowned
from scenarios.runner.witness import Witness, addresses_in, named_in
from scenarios.schema.programs import RESULTS, ExecRun


class Executing(Quiet):
    FIELDS: ClassVar[tuple[str, ...]] = RESULTS
    DEFAULT: ClassVar[tuple[str, ...]] = ("code == 0",)

    def __init__(self, stage: Stage, verb: ExecRun) -> None:
        self._stage = stage
        self._verb = verb
        self._output = ProgramOutput()
        self._picks = Picks(verb.capture)
        self._process: Process | None = None
        self._begun = stage.now()
        self._duration: float | None = None
        self._late = False
        self._member = stage.member(verb.on)
        self._witness: Witness | None = None
        self._command = ""

    async def run(self) -> None:
        verb, launcher = self._verb, self._stage.programs.launcher
        self._begun = self._stage.now()
        command = " ".join(readable(verb.run, self._stage.given()))
        self._witness = self._witness_of(command)
        self._command = command
        try:
            self._process = process = launcher.start(verb.on, verb, self._output, label=self.program)
        except NotStarted as error:
            raise Impossible(str(error)) from None
        try:
            with trio.move_on_after(verb.within) as limit:
                await process.ended.wait()
            self._late = limit.cancelled_caught
        finally:
            if process.alive:  # it took too long, or the step is cut off
                await process.end(grace=GRACE)
            self._duration = self._stage.now() - self._begun

    @property
    def program(self) -> str:
        """Without its folder."""
        return self._verb.run[0].rpartition("/")[2] or "program"

    def results(self) -> dict[str, Plain]:
        """`outcome`: exited, signalled, timeout, not_started, or running; `code` is none if it did not exit."""
        given = results(self._process, self._output, self._duration)
        late: dict[str, Plain] = {"outcome": TIMEOUT, "code": None} if self._late else {}
        return {**given, **late, **self._picks.of(self._output)}

    def summary(self) -> str:
        if self._process is None:
            return "not started"
        if self._late:
            return "; ".join([f"killed after {Seconds(self._verb.within)}", *self._why()])
        values = self._picks.of(self._output)
        shown = [
            f"{name} {_brief(value)}" for name, value in values.items() if name not in self._picks.missing
        ]
        missing = [f"no {name}: {why}" for name, why in self._picks.missing.items()]
        how = in_words(self._process) if self._process.code != 0 else "done"
        took = f" after {Seconds(self._duration)}" if self._duration is not None else ""
        return "; ".join([f"{how.removeprefix('it ')}{took}", *shown, *missing, *self._why()])

    def _witness_of(self, text: str) -> Witness:
        targets = named_in(self._stage, self._member, text)
        return Witness.of(self._stage, [(self._member, target) for target in targets])

    def _why(self) -> list[str]:
        """What became of packets to the hosts that its command and its last lines name, if it did not end well."""
        if self._witness is None or (
            self._process is not None and self._process.code == 0 and not self._late
        ):
            return []
        written = "\n".join(self.written())
        seen = self._witness_of(written)
        strays = unowned(self._stage.world, self._member, addresses_in(f"{self._command}\n{written}"))
        return list(dict.fromkeys(filter(None, [self._witness.summary(), *seen.astray(), *strays])))

    def waiting(self) -> str:
        line = self._output.last_line
        return f"{self._verb.on} runs {self.program}" + (f": {line}" if line else "")

    def measure(self, metrics: Metrics, **tags: str) -> None:
        code = None if self._late or self._process is None else self._process.code
        metrics.add("exec.failed", code != 0, **tags)
        if code is not None and self._duration is not None:
            metrics.add("exec.duration", self._duration, **tags)

    def written(self) -> list[str]:
        return self._output.last_lines(SHOWN)


def _brief(value: Plain) -> str:
    """A value in a line."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:59]}…"
