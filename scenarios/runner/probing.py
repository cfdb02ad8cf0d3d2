"""``udp.send`` and ``ping``: numbered requests, and which of them came back."""

from __future__ import annotations

from typing import ClassVar

from scenarios.checks import Metrics, Plain, Ratio, Seconds
from scenarios.proto.udp_echo import Probe
from scenarios.runner.stage import Quiet, Stage
from scenarios.runner.witness import Witness, address_of, who_has
from scenarios.schema.verbs import Ping, UdpSend


class Probing(Quiet):
    FIELDS: ClassVar[tuple[str, ...]] = (
        "sent",
        "received",
        "lost",
        "loss",
        "rtt_min",
        "rtt_avg",
        "rtt_max",
        "icmp_errors",
        "told_by",
        "replies_from",
        *Witness.FIELDS,
    )
    DEFAULT: ClassVar[tuple[str, ...]] = ("received == sent",)

    def __init__(self, stage: Stage, verb: UdpSend | Ping) -> None:
        self._stage = stage
        self._verb = verb
        self._member = stage.member(verb.sender)
        self._target = address_of(stage, verb.to)
        self._witness = Witness(stage, self._member, who_has(stage, self._member, self._target))
        self._probe: Probe | None = None
        self._errors_before = self._member.host.counters["icmp_errors"]
        self._began = stage.now()

    async def run(self) -> None:
        verb, member = self._verb, self._member
        # The payload says whose it is: networks with equal addresses then never carry equal packets.
        text = f"{member.host.vnet} {member.actor.name} {self._target} ".encode()
        payload = (text * (verb.size // len(text) + 1))[: verb.size - 4]
        now = self._stage.now()
        if isinstance(verb, Ping):
            self._probe = member.ping.start(
                self._target,
                payload,
                count=verb.count,
                interval=verb.interval,
                patience=verb.patience,
                now=now,
                ttl=verb.ttl,
            )
        else:
            self._probe = member.probe.start(
                (self._target, verb.port),
                payload,
                count=verb.count,
                interval=verb.interval,
                patience=verb.patience,
                now=now,
            )
        self._stage.wake(member)
        probe = self._probe
        await self._stage.until(lambda: probe.ended, member)

    def results(self) -> dict[str, Plain]:
        probe = self._probe
        trips = sorted(probe.round_trips.values()) if probe is not None else []
        sent, received = (probe.sent, probe.received) if probe is not None else (0, 0)
        return {
            "sent": sent,
            "received": received,
            "lost": sent - received,
            "loss": Ratio((sent - received) / sent) if sent else Ratio(0),
            "rtt_min": Seconds(trips[0]) if trips else None,
            "rtt_avg": Seconds(sum(trips) / len(trips)) if trips else None,
            "rtt_max": Seconds(trips[-1]) if trips else None,
            "icmp_errors": self._member.host.counters["icmp_errors"] - self._errors_before,
            "told_by": self._told_by(),
            "replies_from": sorted(probe.replies_from) if probe is not None else [],
            **self._witness.results(),
        }

    def _told_by(self) -> list[str]:
        """Who sent the sender ICMP errors about anything meanwhile."""
        errors = self._member.host.icmp_errors
        return sorted({error.source for error in errors if error.at >= self._began})

    def summary(self) -> str:
        values = self.results()
        text = f"{values['received']} of {values['sent']} answered"
        if values["rtt_avg"] is not None:
            text += f", round trip {values['rtt_avg']}"
            text += "" if values["rtt_avg"] else ": the links have no delay"
        if values["icmp_errors"]:
            text += f", told by ICMP of {', '.join(map(str, self._told_by()))}"
        why = self._witness.summary() if not values["received"] else ""
        return f"{text}: {why}" if why else text

    def measure(self, metrics: Metrics, **tags: str) -> None:
        probe = self._probe
        if probe is not None:
            name = "ping" if isinstance(self._verb, Ping) else "udp"
            for trip in probe.round_trips.values():
                metrics.add(f"{name}.rtt", trip, **tags)
            metrics.add(f"{name}.lost", probe.sent - probe.received, **tags)

    def waiting(self) -> str:
        word = "echo replies" if isinstance(self._verb, Ping) else f"answers from port {self._verb.port}"
        return f"waiting for {word} of {self._verb.to} to {self._verb.sender}"
