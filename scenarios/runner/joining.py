"""``directory.bind``: machines join their directory, which writes down from where they came."""

from __future__ import annotations

from typing import ClassVar

import trio

from scenarios.casting import Member
from scenarios.checks import Metrics, Plain, Seconds
from scenarios.proto.directory_agent import Request
from scenarios.proto.directory_message import Kind, Verdict
from scenarios.runner.stage import Quiet, Stage
from scenarios.runner.witness import Witness
from scenarios.schema.verbs import DirectoryBind

TIMEOUT = "timeout"
"""The verdict of a server that said nothing."""


class Joining(Quiet):
    FIELDS: ClassVar[tuple[str, ...]] = (
        "bound",
        "members",
        "verdict",
        "role",
        "seen",
        "true_sources",
        "slowest",
        *Witness.FIELDS,
    )
    DEFAULT: ClassVar[tuple[str, ...]] = ("bound == len(members)", "true_sources")

    def __init__(self, stage: Stage, verb: DirectoryBind) -> None:
        self._stage = stage
        self._verb = verb
        self._members = stage.members(verb.members)
        self._witness = Witness.of(stage, [(member, self._server(member)) for member in self._members])
        self._requests: dict[str, Request] = {}
        self._began = stage.now()

    async def run(self) -> None:
        stage = self._stage
        self._began = stage.now()
        for member in self._members:
            assert member.agent is not None, "the scenario was checked"
            self._requests[member.actor.name] = member.agent.bind(stage.now())
            stage.wake(member)
        with trio.move_on_after(self._verb.give_up):
            for member in self._members:
                request = self._requests[member.actor.name]
                await stage.until(lambda request=request: request.took is not None, member)  # type: ignore[misc]

    def results(self) -> dict[str, Plain]:
        """`verdict`, `role` and `seen` (the address in the audit) are those of the one member, or by name."""
        requests = self._requests
        seen = {member.actor.name: self._seen(member) for member in self._members}
        times = [
            request.took for request in requests.values() if request.verdict and request.took is not None
        ]
        return {
            "bound": sum(request.verdict is Verdict.OK for request in requests.values()),
            "members": [member.actor.name for member in self._members],
            "verdict": _one_or_all({name: str(r.verdict or TIMEOUT) for name, r in requests.items()}),
            "role": _one_or_all({name: r.text for name, r in requests.items()}),
            "seen": _one_or_all(seen),
            "true_sources": all(
                seen[member.actor.name] in (None, member.host.address) for member in self._members
            ),
            "slowest": Seconds(max(times)) if times else None,
            **self._witness.results(),
        }

    def summary(self) -> str:
        values = self.results()
        text = f"{values['bound']} of {len(self._members)} joined"
        refused = [name for name, r in self._requests.items() if r.verdict not in (Verdict.OK, None)]
        if refused:
            text += f", refused: {', '.join(refused)}"
        why = self._witness.summary() if values["bound"] != len(self._members) else ""
        return f"{text}: {why}" if why else text

    def waiting(self) -> str:
        names = [name for name, request in self._requests.items() if request.took is None]
        return f"waiting for the directory to answer {', '.join(names)}"

    def measure(self, metrics: Metrics, **tags: str) -> None:
        for request in self._requests.values():
            metrics.add("directory.refused", request.verdict is not Verdict.OK, **tags)

    def _server(self, member: Member) -> Member | None:
        given = member.actor.apps.directory_member
        return None if given is None else self._stage.member(given.server)

    def _seen(self, member: Member) -> str | None:
        """The address that the audit has for this bind of `member`; None if there is none."""
        server = self._server(member)
        if server is None or server.directory is None:
            return None
        for entry in reversed(server.directory.audit):
            if entry.at < self._began:
                return None
            if entry.request is Kind.BIND and entry.user == member.actor.name:
                return entry.source[0]
        return None


def _one_or_all(by_name: dict[str, str] | dict[str, str | None]) -> Plain:
    return next(iter(by_name.values())) if len(by_name) == 1 else dict(by_name)
