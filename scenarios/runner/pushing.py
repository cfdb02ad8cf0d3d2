"""``directory.push``: a directory server contacts its members by itself."""

from __future__ import annotations

from typing import ClassVar

from scenarios.casting import Member
from scenarios.checks import ExpressionError, Metrics, Plain, Seconds
from scenarios.proto.directory_server import Delivery, DeliveryState
from scenarios.runner.stage import Quiet, Stage
from scenarios.runner.witness import Witness, who_has
from scenarios.schema.verbs import DirectoryPush


class Pushing(Quiet):
    FIELDS: ClassVar[tuple[str, ...]] = (
        "version",
        "members",
        "applied",
        "missing",
        "attempts",
        "slowest",
        *Witness.FIELDS,
    )
    DEFAULT: ClassVar[tuple[str, ...]] = ("applied == len(members) and applied > 0",)

    def __init__(self, stage: Stage, verb: DirectoryPush) -> None:
        self._stage = stage
        self._verb = verb
        self._server = stage.member(verb.server)
        assert self._server.directory is not None, "the scenario was checked"
        self._directory = self._server.directory
        self._members = {
            address: who_has(stage, self._server, address) for address in sorted(self._directory.clients)
        }
        self._witness = Witness.of(stage, [(self._server, member) for member in self._members.values()])
        self._deliveries: dict[str, Delivery] = {}

    async def run(self) -> None:
        stage, version = self._stage, self._verb.version
        try:
            self._directory.push(f"policy {version}", stage.now(), version)
        except ValueError as error:
            raise ExpressionError(str(error), "push a newer `version`") from None
        pushed = self._directory.deliveries
        self._deliveries = {address: pushed[address] for address in self._members}
        stage.wake(self._server)
        pending = DeliveryState.PENDING
        await stage.until(
            lambda: all(each.state is not pending for each in self._deliveries.values()),
            self._server,
            at_most=self._verb.give_up,
        )

    def results(self) -> dict[str, Plain]:
        """`members`: whom the server knew; `missing`: of these, who has not said that it applies the policy."""
        deliveries = self._deliveries.values()
        times = [each.applied_at - each.started_at for each in deliveries if each.applied_at is not None]
        return {
            "version": self._directory.version,
            "members": [self._name(address) for address in self._members],
            "applied": len(times),
            "missing": [self._name(address) for address in self._open()],
            "attempts": sum(each.attempts for each in deliveries),
            "slowest": Seconds(max(times)) if times else None,
            **self._witness.results(),
        }

    def summary(self) -> str:
        values = self.results()
        text = f"version {values['version']} applied by {values['applied']} of {len(self._members)}"
        if values["slowest"] is not None:
            text += f", the last after {values['slowest']}"
        why = self._witness.summary() if self._open() else ""
        return f"{text}: {why}" if why else text

    def waiting(self) -> str:
        names = ", ".join(self._name(address) for address in self._open())
        return f"waiting for {names} to apply version {self._verb.version}"

    def measure(self, metrics: Metrics, **tags: str) -> None:
        for delivery in self._deliveries.values():
            metrics.add("directory.missed", delivery.applied_at is None, **tags)
            if delivery.applied_at is not None:
                metrics.add("directory.push_time", delivery.applied_at - delivery.started_at, **tags)

    def _open(self) -> list[str]:
        return [address for address, each in self._deliveries.items() if each.applied_at is None]

    def _name(self, address: str) -> str:
        member: Member | None = self._members[address]
        return address if member is None else member.actor.name
