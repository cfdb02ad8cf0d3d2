"""``route.check``: whether answers find their way back, from the route tables of every machine on the way."""

from __future__ import annotations

from typing import ClassVar

from scenarios.checks import Plain
from scenarios.flows import Verdict
from scenarios.runner.stage import Quiet, Stage
from scenarios.schema.verbs import RouteCheck


class RouteChecking(Quiet):
    FIELDS: ClassVar[tuple[str, ...]] = ("returns", "path", "request", "says", "fix")
    DEFAULT: ClassVar[tuple[str, ...]] = ("returns",)

    def __init__(self, stage: Stage, verb: RouteCheck) -> None:
        self._stage = stage
        self._verb = verb
        self._verdict: Verdict | None = None

    async def run(self) -> None:
        self._verdict = self._stage.flows.judge(self._verb.sender, self._verb.to)

    def results(self) -> dict[str, Plain]:
        verdict = self._verdict
        if verdict is None:
            return dict.fromkeys(self.FIELDS)
        return {
            "returns": verdict.returns,
            "path": list(verdict.reply),  # of the answer
            "request": list(verdict.request),
            "says": verdict.says,
            "fix": verdict.fix,
        }

    def summary(self) -> str:
        verdict = self._verdict
        if verdict is None:
            return ""
        if verdict.returns:
            return f"answers come back: {' > '.join(verdict.reply)}"
        return f"{verdict.says}; fix: {verdict.fix}"

    def waiting(self) -> str:
        return f"looking at the routes between {self._verb.sender} and {self._verb.to}"
