"""One step from its time to its verdict: wait for `at`, do the verb, wait for `await`, look at what was expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import trio

from scenarios.checks import ExpressionError, Plain, Seconds, parse, printable, show
from scenarios.report import CallRecord, SightingRecord, State, StepRecord
from scenarios.runner.actions import ACTIONS, action
from scenarios.runner.placeholders import readable
from scenarios.runner.stage import LOOK_AGAIN, Action, Impossible, Stage
from scenarios.runner.verdict import judged
from scenarios.schema import Step
from scenarios.schema.programs import ExecRun

OWN = ("started", "ended")
"""What conditions can ask of every step, besides the results of its verb."""

LONGEST_RESULT = 1 << 15
"""Characters of a text in a record. Conditions see all of it, but hundreds of steps that say a lot are not to end up
in one file."""

LONGEST_TITLE = 100
"""Characters of a name that is made of a command."""


def fields(step: Step) -> tuple[str, ...]:
    """The names of the results of `step`."""
    if step.verb is None:
        return OWN
    verb = step.verb[1]
    return (*OWN, *ACTIONS[type(verb)].FIELDS, *getattr(verb, "capture", ()))


class Stepping:
    """A step of a checked scenario at work, written at `place`. `given` is all that conditions can ask for now."""

    def __init__(
        self,
        stage: Stage,
        step: Step,
        given: Callable[[], Mapping[str, Plain]],
        running: Callable[[str], bool],
        *,
        place: str = "",
    ) -> None:
        self.step = step
        self.record = StepRecord(
            id=step.id,
            name=printable(step.name) if step.name else _title(step, {}),
            verb=step.verb[0] if step.verb is not None else "await",
            background=step.background,
            may_fail=step.may_fail,
            place=place,
        )
        self._stage = stage
        self._given = given
        self._running = running
        self._acting: Action | None = None
        self._text = ""

    async def run(self, begun: Callable[[], None]) -> None:
        """Call `begun` once the verb is under way. What went wrong is in the record."""
        record, step = self.record, self.step
        record.state = State.RUNNING
        record.started = self._stage.elapsed()
        try:
            if step.at is not None:
                self._text = f"waiting for {step.at}"
                await self._until(step.at)
                record.started = self._stage.elapsed()
                self._text = ""
            if step.verb is not None:
                self._acting = action(self._stage, step.verb[1], self._running)
                if not step.name:
                    record.name = _title(step, self._given())
            begun()
            with trio.move_on_after(step.within if step.within is not None else float("inf")) as within:
                if self._acting is not None:
                    await self._acting.run()
                if step.until is not None:
                    self._text = f"waiting for {step.until}"
                    await self._await(step.until)
            if within.cancelled_caught and step.within is not None:
                record.error = printable(f"not within {Seconds(step.within)}: {self._explained()}")
        except ExpressionError as error:
            record.error = printable(f"{error}; {error.fix}" if error.fix else str(error))
        except Impossible as error:
            record.error = printable(str(error))
        self._text = ""
        record.ended = self._stage.elapsed()
        self.refresh()

    def judge(self) -> None:
        """Once it has ended."""
        record = self.record
        wanted = self.step.expect or (self._acting.DEFAULT if self._acting is not None else ())
        given = {**self._given(), **self.results()}
        record.checks = [judged(text, given) for text in wanted]
        failed = record.error or not all(check.holds for check in record.checks)
        record.state = State.FAILED if failed else State.PASSED

    def cut_off(self, state: State, why: str) -> None:
        """It ends here."""
        record = self.record
        record.state = state
        record.waiting = printable(self._explained())
        record.error = f"{why} while {record.waiting}" if record.waiting else why
        record.ended = self._stage.elapsed()
        record.results = {name: _cut(value) for name, value in self.results().items()}
        record.output = self._acting.written() if self._acting is not None else []

    def refresh(self) -> None:
        """Bring the record up to date."""
        record = self.record
        record.waiting = printable(self.waiting()) if record.ended is None else ""
        if record.ended is not None:
            record.summary = printable(self._acting.summary()) if self._acting is not None else ""
            record.table = self._acting.table() if self._acting is not None else []
            record.output = self._acting.written() if self._acting is not None else []
            record.results = {name: _cut(value) for name, value in self.results().items()}

    def results(self) -> dict[str, Plain]:
        record = self.record
        return {
            "started": None if record.started is None else Seconds(record.started),
            "ended": None if record.ended is None else Seconds(record.ended),
            **(self._acting.results() if self._acting is not None else {}),
        }

    def waiting(self) -> str:
        if self._text or self._acting is None:
            return self._text
        return self._acting.waiting()

    @property
    def acting(self) -> Action | None:
        return self._acting

    def calls(self) -> list[CallRecord]:
        calls = self._acting.calls() if self._acting is not None else []
        for call in calls:
            call.step = self.record.id or ""
            call.started, call.ended = self.record.started, self.record.ended
        return calls

    def sightings(self) -> list[SightingRecord]:
        return self._acting.sightings() if self._acting is not None else []

    async def _until(self, text: str) -> None:
        """Sleep until the time that `text` says; it may depend on what has not happened yet."""
        expression = parse(text)
        while True:
            at = expression.compute(self._given())
            if at is not None:
                break
            await trio.sleep(LOOK_AGAIN)
        if not isinstance(at, int | float) or isinstance(at, bool):
            raise ExpressionError(
                f"{text!r} is no time but {show(at)}", "write for example: call.confirmed + 20s"
            )
        await trio.sleep(max(0.0, at - self._stage.elapsed()))

    async def _await(self, text: str) -> None:
        expression = parse(text)
        while not expression.evaluate({**self._given(), **self.results()}).holds:  # noqa: ASYNC110 - no single event
            await trio.sleep(LOOK_AGAIN)

    def _explained(self) -> str:
        """What it waits for, with the values that it saw."""
        if self.step.until is None or not self._text:
            return self.waiting()
        check = judged(self.step.until, {**self._given(), **self.results()})
        saw = check.error or ", ".join(f"{name} = {value}" for name, value in check.saw)
        return f"{self._text}: {saw}" if saw else self._text


def _cut(value: Plain) -> Plain:
    """`value` for a record: of a long text its beginning and its end."""
    if not isinstance(value, str) or len(value) <= LONGEST_RESULT:
        return value
    half = LONGEST_RESULT // 2
    return f"{value[:half]}\n[{len(value) - 2 * half} characters left out]\n{value[-half:]}"


def _title(step: Step, names: Mapping[str, Plain]) -> str:
    """A name for a step without one; of a command with the values that it asks for, as far as they are known."""
    if step.verb is None:
        return f"await {step.until}"
    word, verb = step.verb
    parts = (
        "caller",
        "sender",
        "pbx",
        "server",
        "machine",
        "tunnels",
        "tunnel",
        "client",
        "on",
        "name",
        "to",
    )
    who = [getattr(verb, part, None) for part in parts]
    named = " ".join(
        name if isinstance(name, str) else ", ".join(name) for name in who if isinstance(name, str | tuple)
    )
    if isinstance(verb, ExecRun):
        named = f"{named}: {printable(' '.join(' '.join(readable(verb.run, names)).split()))}"
        named = named if len(named) <= LONGEST_TITLE else f"{named[: LONGEST_TITLE - 1]}…"
    return f"{word} {named}".strip()
