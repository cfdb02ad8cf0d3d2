"""What conditions can ask of a program: how it ended, what it wrote, and what is picked from that."""

from __future__ import annotations

from collections.abc import Mapping

from scenarios.checks import Plain, Seconds
from scenarios.fabric.process import Process
from scenarios.proto.pick import Unpicked
from scenarios.proto.program_output import ProgramOutput
from scenarios.runner.cpu_limit import MOST, Overrun, limited
from scenarios.schema.programs import Pick

RUNNING, EXITED, SIGNALLED, TIMEOUT, NOT_STARTED = "running", "exited", "signalled", "timeout", "not_started"


def outcome(process: Process | None) -> str:
    """One of the above; that it took too long, only who waited knows."""
    if process is None:
        return NOT_STARTED
    if process.alive:
        return RUNNING
    return EXITED if process.signal is None else SIGNALLED


def results(process: Process | None, output: ProgramOutput, duration: float | None) -> dict[str, Plain]:
    """A value for each of `scenarios.schema.programs.RESULTS`. `code` is none if it did not exit."""
    return {
        "outcome": outcome(process),
        "code": None if process is None else process.code,
        "signal": None if process is None else process.signal,
        "duration": None if duration is None else Seconds(duration),
        "stdout": output.stdout.text,
        "stderr": output.stderr.text,
        "output": output.both.text,
        "output_bytes": output.total,
    }


def in_words(process: Process | None) -> str:
    """How it ended."""
    if process is None:
        return "it was not started"
    if process.alive:
        return "it runs"
    if process.signal is not None:
        return f"SIG{process.signal} ended it"
    return f"it ended with code {process.code}"


def too_long(text: str) -> str:
    """What is wrong with an expression that was searched for in `text`."""
    return (
        f"its expression takes more than {MOST:g} s for {len(text):,} characters; "
        "write it without repetitions of repetitions, as in (a+)+"
    )


class Picks:
    """What is picked from one output; looked for anew only when something has come."""

    def __init__(self, captures: Mapping[str, Pick]) -> None:
        self._picks = {name: (given.source, given.picking) for name, given in captures.items()}
        self._values: dict[str, Plain] = {}
        self.missing: dict[str, str] = {}
        """Why there is nothing under a name; its value is none."""
        self._seen: tuple[ProgramOutput | None, int] = (None, 0)
        self._endless: dict[str, str] = {}
        """Those that take too long, and that: they are not tried again."""

    def of(self, output: ProgramOutput) -> dict[str, Plain]:
        if self._seen[0] is not output or self._seen[1] != output.total:
            self._seen = output, output.total
            self._values, self.missing = {}, dict(self._endless)
            for name in self._picks:
                self._values[name] = None if name in self._endless else self._pick(name, output)
        return self._values

    def _pick(self, name: str, output: ProgramOutput) -> Plain:
        source, pick = self._picks[name]
        text = output.text(source)
        try:
            return limited(lambda: pick.of(text))
        except Unpicked as error:
            self.missing[name] = str(error)
        except Overrun:
            self.missing[name] = self._endless[name] = too_long(text)
        return None
