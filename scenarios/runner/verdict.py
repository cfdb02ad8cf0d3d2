"""From conditions to verdicts: expectations, invariants that a file adds, thresholds."""

from __future__ import annotations

from collections.abc import Mapping

from scenarios.checks import Expression, ExpressionError, Metrics, Plain, Seconds, parse, show, threshold
from scenarios.report import CheckRecord, InvariantRecord, ThresholdRecord
from scenarios.schema.language import Invariant, Limit, Scenario


def judged(text: str, given: Mapping[str, Plain]) -> CheckRecord:
    """Whether the condition holds, and what it saw."""
    return _judged(text, given, None)


def _judged(text: str, given: Mapping[str, Plain], expression: Expression | None) -> CheckRecord:
    try:
        outcome = (expression or parse(text)).evaluate(given)
    except ExpressionError as error:
        return CheckRecord(text=text, holds=False, error=f"{error}; {error.fix}" if error.fix else str(error))
    return CheckRecord(
        text=text, holds=outcome.holds, saw=[(name, show(value)) for name, value in outcome.saw]
    )


class Watch:
    """An invariant of the file, looked at again and again."""

    def __init__(self, invariant: Invariant) -> None:
        self._must = invariant.always is not None
        self._text = invariant.always or invariant.sometimes or ""
        self._expression = parse(self._text)
        self._settled = False
        self._error = ""
        word = "always" if self._must else "sometimes"
        self.record = InvariantRecord(id=invariant.id, holds=self._must, text=f"{word}: {self._text}")

    def look(self, given: Mapping[str, Plain], elapsed: float) -> None:
        """Once an `always` was broken, or a `sometimes` was seen, that stays so."""
        if self._settled:
            return
        check = _judged(self._text, given, self._expression)
        self._error = check.error
        if check.holds is self._must:
            return
        self._settled = True
        self.record.holds = check.holds
        saw = check.error or ", ".join(f"{name} = {value}" for name, value in check.saw)
        if self._must:
            self.record.at = elapsed
            self.record.details = [f"broken at {Seconds(elapsed)}: {saw}"]
        else:
            self.record.text += f" (seen at {Seconds(elapsed)})"

    def end(self, *, whole: bool) -> None:
        """What a whole run never showed is missing; one that was cut short has proved nothing either way."""
        if self._must or self._settled:
            return
        if whole:
            said = self._error or "the run did not do what it is about"
            self.record.details = [f"never seen: {said}"]
        else:
            self.record.holds = True
            self.record.text += " (not judged: the run was cut short)"


def limits(scenario: Scenario) -> list[threshold.Threshold]:
    """The thresholds of a checked file."""
    return [
        threshold.parse(key, {"expr": item.expr, "abort": item.abort} if isinstance(item, Limit) else item)
        for key, items in scenario.thresholds.items()
        for item in ((items,) if isinstance(items, str) else items)
    ]


def measured(
    thresholds: list[threshold.Threshold], metrics: Metrics, elapsed: float
) -> list[ThresholdRecord]:
    """What became of each limit."""
    return [
        ThresholdRecord(
            key=verdict.threshold.key,
            text=verdict.threshold.text,
            holds=verdict.holds,
            saw="nothing was measured" if verdict.saw is None else show(verdict.saw),
        )
        for verdict in threshold.evaluate_all(thresholds, metrics, elapsed)
    ]
