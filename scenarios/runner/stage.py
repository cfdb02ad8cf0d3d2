"""What every action works on: the world, the network that carries it, and a pulse that beats when something happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar, Protocol

import trio

from scenarios.casting import Member
from scenarios.checks import Metrics, Plain
from scenarios.fabric import Network
from scenarios.flows import Flows
from scenarios.proto.host import Host, HostEvent
from scenarios.report import CallRecord, FaultRecord, SightingRecord
from scenarios.runner.programs import Programs
from scenarios.world import World

LOOK_AGAIN = 0.05
"""Seconds after which a condition is looked at even if no application said anything."""


class Impossible(Exception):
    """What a step should do cannot be done; the text says why."""


class Stage:
    """One world that is up."""

    def __init__(self, world: World, network: Network) -> None:
        self.world = world
        self.network = network
        self.started = network.now()
        self.faults: list[FaultRecord] = []
        """What was done to the world so far."""
        self.on_event: Callable[[HostEvent], None] | None = None
        """Told what the applications say."""
        self.on_fault: Callable[[FaultRecord], None] | None = None
        self.abort: Callable[[], None] = _nothing
        """Ends the run early."""
        self.flows = Flows(world.script.cast, world.plans, network)
        self.given: Callable[[], Mapping[str, Plain]] = dict
        """Everything that conditions and placeholders can ask for now."""
        self.programs = Programs(world, network, lambda: self.given())
        self._beats: dict[Host, trio.Event] = {}
        for member in world.members.values():
            member.host.on_event = self._happened

    def now(self) -> float:
        return self.network.now()

    def elapsed(self) -> float:
        """Seconds since the scenario began."""
        return self.network.now() - self.started

    def member(self, name: str) -> Member:
        return self.world.members[name]

    def members(self, words: tuple[str, ...] | str) -> list[Member]:
        """Everybody whom `words` of the file mean."""
        return [self.world.members[name] for name in self.world.script.cast.names(words)]

    def wake(self, member: Member) -> None:
        """Let `member` send what its applications have just been told to."""
        self.network.wake(member.host)

    async def until(
        self, holds: Callable[[], bool], member: Member | None = None, *, at_most: float = float("inf")
    ) -> bool:
        """Wait until `holds`; False if that took longer than `at_most` seconds.

        It is looked at whenever an application of `member` says something. Without a member nobody tells: then again
        and again.
        """
        with trio.move_on_after(at_most):
            while not holds():
                if member is None:
                    await trio.sleep(LOOK_AGAIN)
                else:
                    await self._beats.setdefault(member.host, trio.Event()).wait()
            return True
        return holds()

    def did(self, fault: FaultRecord) -> None:
        """Something was done to the world."""
        self.faults.append(fault)
        if self.on_fault is not None:
            self.on_fault(fault)

    def _happened(self, event: HostEvent) -> None:
        if self.on_event is not None:
            self.on_event(event)
        beat = self._beats.pop(event.host, None)
        if beat is not None:
            beat.set()
            self.network.attention()


def _nothing() -> None:
    """Nobody to tell."""


class Action(Protocol):
    """A step at work."""

    FIELDS: ClassVar[tuple[str, ...]]
    """The names that conditions of this step can ask for."""
    DEFAULT: ClassVar[tuple[str, ...]]
    """What is expected of a step that expects nothing itself."""
    TAG: ClassVar[str]
    """The tag of its figures that is the id of the step."""

    async def run(self) -> None: ...

    def results(self) -> dict[str, Plain]:
        """A value for each of FIELDS, at any moment."""

    def summary(self) -> str:
        """What came of it, in a few words with figures."""

    def waiting(self) -> str:
        """What it is doing now, as in "interrupted while ...": "waiting for bob to answer"."""

    def calls(self) -> list[CallRecord]: ...

    def sightings(self) -> list[SightingRecord]: ...

    def measure(self, metrics: Metrics, **tags: str) -> None:
        """Once it has ended: add what came of it."""

    def table(self) -> list[list[str]]:
        """More than a summary can say; the first row is the head, none if there is nothing more."""

    def written(self) -> list[str]:
        """The last lines of what a program wrote."""


class Quiet:
    """For actions without calls and figures."""

    TAG: ClassVar[str] = "step"

    def measure(self, metrics: Metrics, **tags: str) -> None:
        """Nothing."""

    def table(self) -> list[list[str]]:
        return []

    def written(self) -> list[str]:
        return []

    def calls(self) -> list[CallRecord]:
        return []

    def sightings(self) -> list[SightingRecord]:
        return []
