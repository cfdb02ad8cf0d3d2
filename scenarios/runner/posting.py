"""``webhook.post``: an event for several receivers, tried again until each has taken it."""

from __future__ import annotations

from typing import ClassVar

from scenarios.casting import Member
from scenarios.checks import Metrics, Plain, Seconds
from scenarios.proto.webhook import Delivery
from scenarios.runner.stage import Quiet, Stage
from scenarios.runner.witness import Witness
from scenarios.schema.verbs import WebhookPost


class Posting(Quiet):
    FIELDS: ClassVar[tuple[str, ...]] = (
        "targets",
        "delivered",
        "attempts",
        "status",
        "reason",
        "delivery_time",
        *Witness.FIELDS,
    )
    DEFAULT: ClassVar[tuple[str, ...]] = ("delivered == len(targets)",)

    def __init__(self, stage: Stage, verb: WebhookPost) -> None:
        self._stage = stage
        self._verb = verb
        self._member = stage.member(verb.sender)
        self._targets = stage.members(verb.to)
        self._witness = Witness.of(stage, [(self._member, target) for target in self._targets])
        self._deliveries: list[Delivery] = []

    async def run(self) -> None:
        verb, member, stage = self._verb, self._member, self._stage
        deliveries = self._deliveries = member.webhooks.post(
            {"event": verb.event, "from": member.actor.name},
            stage.now(),
            targets=[(target.host.address, verb.port, verb.path) for target in self._targets],
            secret=None if verb.secret is None else verb.secret.encode(),
        )
        stage.wake(member)
        await stage.until(lambda: all(each.ended for each in deliveries), member, at_most=verb.give_up)
        for delivery in deliveries:
            member.webhooks.give_up(delivery, stage.now())

    def results(self) -> dict[str, Plain]:
        """`status` and `reason` are those of the one target, or by the names of several."""
        deliveries = self._deliveries
        times = [each.delivered_at - each.posted_at for each in deliveries if each.delivered_at is not None]
        return {
            "targets": [target.actor.name for target in self._targets],
            "delivered": len(times),
            "attempts": sum(each.attempts for each in deliveries),
            "status": self._by_target([each.status for each in deliveries]),
            "reason": self._by_target([each.reason for each in deliveries]),
            "delivery_time": Seconds(max(times)) if times else None,
            **self._witness.results(),
        }

    def summary(self) -> str:
        values = self.results()
        text = f"{values['delivered']} of {len(self._targets)} took it"
        if values["delivery_time"] is not None:
            text += f", the last after {values['delivery_time']}"
        why = self._witness.summary() if values["delivered"] != len(self._targets) else ""
        return f"{text}: {why}" if why else text

    def waiting(self) -> str:
        open_ = [target.actor.name for target, each in self._pairs() if not each.ended]
        return f"waiting for {', '.join(open_)} to take {self._verb.event!r} of {self._verb.sender}"

    def measure(self, metrics: Metrics, **tags: str) -> None:
        for delivery in self._deliveries:
            metrics.add("webhook.failed", not delivery.delivered, **tags)
            if delivery.delivered_at is not None:
                metrics.add("webhook.delivery_time", delivery.delivered_at - delivery.posted_at, **tags)

    def _pairs(self) -> list[tuple[Member, Delivery]]:
        return list(zip(self._targets, self._deliveries, strict=False))

    def _by_target(self, values: list[int | None] | list[str]) -> Plain:
        if len(self._targets) == 1:
            return values[0] if values else None
        return {target.actor.name: value for target, value in zip(self._targets, values, strict=False)}
