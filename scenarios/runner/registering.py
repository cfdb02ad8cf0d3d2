"""``sip.register``: phones register, and the PBX says which address it saw."""

from __future__ import annotations

from typing import ClassVar

import trio

from scenarios.casting import Member
from scenarios.checks import Metrics, Plain
from scenarios.proto.registration import RegistrationState
from scenarios.report import CallRecord, SightingRecord
from scenarios.runner.stage import Stage
from scenarios.schema.verbs import SipRegister


class Registering:
    FIELDS: ClassVar[tuple[str, ...]] = ("registered", "phones", "status", "seen", "true_sources")
    TAG: ClassVar[str] = "step"
    DEFAULT: ClassVar[tuple[str, ...]] = ("registered == len(phones)", "true_sources")

    def __init__(self, stage: Stage, verb: SipRegister) -> None:
        self._stage = stage
        self._verb = verb
        self._members = stage.members(verb.phones)

    async def run(self) -> None:
        for member in self._members:
            assert member.phone is not None
            member.phone.register(self._stage.now())
            self._stage.wake(member)
        with trio.move_on_after(self._verb.give_up):
            for member in self._members:
                await self._stage.until(lambda member=member: not _is_open(member), member)  # type: ignore[misc]

    def results(self) -> dict[str, Plain]:
        seen = {member.actor.name: self._seen(member) for member in self._members}
        registered = [
            member for member in self._members if member.phone is not None and member.phone.registered
        ]
        status = {member.actor.name: _status(member) for member in self._members}
        return {
            "registered": len(registered),
            "phones": [member.actor.name for member in self._members],
            "status": next(iter(status.values())) if len(status) == 1 else status,
            "seen": next(iter(seen.values())) if len(seen) == 1 else seen,
            "true_sources": all(
                self._seen(member).get("source_ip") == member.host.address for member in registered
            ),
        }

    def summary(self) -> str:
        sightings = self.sightings()
        if not sightings:
            return "nobody registered"
        by_pbx: dict[str, list[str]] = {}
        for sighting in sightings:
            by_pbx.setdefault(sighting.pbx, []).append(sighting.seen)
        text = "; ".join(f"{pbx.rpartition('/')[2]} saw {', '.join(seen)}" for pbx, seen in by_pbx.items())
        return text + (
            ": true sources" if all(s.seen == s.true for s in sightings) else ": NOT the true sources"
        )

    def waiting(self) -> str:
        names = [member.actor.name for member in self._open()]
        return f"waiting for the PBX to answer the REGISTER of {', '.join(names)}"

    def calls(self) -> list[CallRecord]:
        return []

    def sightings(self) -> list[SightingRecord]:
        found = []
        for member in self._members:
            seen = self._seen(member).get("source_ip")
            registrar = self._stage.world.script.cast.registrar(member.actor)
            if isinstance(seen, str) and registrar is not None:
                found.append(
                    SightingRecord(
                        pbx=registrar.name, user=member.actor.name, seen=seen, true=member.host.address
                    )
                )
        return found

    def written(self) -> list[str]:
        return []

    def table(self) -> list[list[str]]:
        return []

    def measure(self, metrics: Metrics, **tags: str) -> None:
        for member in self._members:
            metrics.add("sip.registered", member.phone is not None and member.phone.registered, **tags)

    def _open(self) -> list[Member]:
        return [member for member in self._members if _is_open(member)]

    def _seen(self, member: Member) -> dict[str, Plain]:
        registrar = self._stage.world.script.cast.registrar(member.actor)
        pbx = self._stage.member(registrar.name).pbx if registrar is not None else None
        binding = pbx.registrations.get(member.actor.user) if pbx is not None else None
        if binding is None:
            return {"source_ip": None, "source_port": None}
        return {"source_ip": binding.source[0], "source_port": binding.source[1]}


def _status(member: Member) -> int | None:
    return member.phone.registration.status if member.phone is not None else None


def _is_open(member: Member) -> bool:
    done = (RegistrationState.REGISTERED, RegistrationState.REFUSED)
    return member.phone is not None and member.phone.registration.state not in done
