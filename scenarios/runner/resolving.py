"""``dns.query``: one question to a name server."""

from __future__ import annotations

from typing import ClassVar

from scenarios.checks import Metrics, Plain, Seconds
from scenarios.proto.dns_resolver import Lookup, Status
from scenarios.runner.stage import Quiet, Stage
from scenarios.runner.witness import Witness, address_of, who_has
from scenarios.schema.verbs import DnsQuery


class Resolving(Quiet):
    FIELDS: ClassVar[tuple[str, ...]] = ("outcome", "code", "data", "attempts", "duration", *Witness.FIELDS)
    DEFAULT: ClassVar[tuple[str, ...]] = ('outcome == "answered"',)

    def __init__(self, stage: Stage, verb: DnsQuery) -> None:
        self._stage = stage
        self._verb = verb
        self._member = stage.member(verb.sender)
        self._server = address_of(stage, verb.server)
        self._witness = Witness(stage, self._member, who_has(stage, self._member, self._server))
        self._lookup: Lookup | None = None
        self._given_up = False

    async def run(self) -> None:
        verb = self._verb
        resolver = self._member.resolver(self._server)
        lookup = self._lookup = resolver.look_up(verb.name, self._stage.now(), verb.type)
        self._stage.wake(self._member)
        answered = await self._stage.until(
            lambda: lookup.status is not Status.WAITING, self._member, at_most=verb.give_up
        )
        self._given_up = not answered

    def results(self) -> dict[str, Plain]:
        """`data`: what the name stands for, along its other names."""
        lookup = self._lookup
        return {
            "outcome": self._outcome(),
            "code": None if lookup is None or lookup.code is None else str(lookup.code),
            "data": [] if lookup is None else list(lookup.data),
            "attempts": 0 if lookup is None else lookup.attempts,
            "duration": None if lookup is None or lookup.took is None else Seconds(lookup.took),
            **self._witness.results(),
        }

    def summary(self) -> str:
        lookup = self._lookup
        if lookup is not None and lookup.data:
            return f"{', '.join(lookup.data)} after {Seconds(lookup.took or 0)}"
        why = self._witness.summary()
        return f"{self._outcome()}: {why}" if why else self._outcome()

    def waiting(self) -> str:
        return f"waiting for {self._verb.server} to tell {self._verb.sender} of {self._verb.name}"

    def measure(self, metrics: Metrics, **tags: str) -> None:
        answered = self._outcome() == "answered"
        metrics.add("dns.failed", not answered, **tags)
        if answered and self._lookup is not None and self._lookup.took is not None:
            metrics.add("dns.duration", self._lookup.took, **tags)

    def _outcome(self) -> str:
        if self._lookup is None:
            return "waiting"
        return str(Status.TIMEOUT if self._given_up else self._lookup.status)
