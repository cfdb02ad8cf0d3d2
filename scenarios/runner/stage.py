"""What every action works on: the world, the network that carries it, and a pulse that beats when something happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Protocol

import trio

from scenarios.checks import Plain
from scenarios.fabric import Network
from scenarios.proto.host import HostEvent
from scenarios.report import CallRecord, SightingRecord
from scenarios.world import Member, World

LOOK_AGAIN = 0.05
"""Seconds after which a condition is looked at even if no application said anything."""


class Stage:
    """One world that is up."""

    def __init__(self, world: World, network: Network) -> None:
        self.world = world
        self.network = network
        self._beat = trio.Event()
        for member in world.members.values():
            member.host.on_event = self._happened

    def now(self) -> float:
        return self.network.now()

    def member(self, name: str) -> Member:
        return self.world.members[name]

    def wake(self, member: Member) -> None:
        """Let the tunnel of `member` send what its applications have just been told to."""
        self.network.wake(member.end)

    async def until(self, holds: Callable[[], bool], *, at_most: float = float("inf")) -> bool:
        """Wait until `holds`; False if that took longer than `at_most` seconds."""
        with trio.move_on_after(at_most):
            while not holds():
                beat = self._beat
                with trio.move_on_after(LOOK_AGAIN):
                    await beat.wait()
            return True
        return holds()

    def _happened(self, event: HostEvent) -> None:
        beat, self._beat = self._beat, trio.Event()
        beat.set()


class Action(Protocol):
    """A step at work."""

    FIELDS: ClassVar[tuple[str, ...]]
    """The names that conditions of this step can ask for."""
    DEFAULT: ClassVar[tuple[str, ...]]
    """What is expected of a step that expects nothing itself."""

    async def run(self) -> None: ...

    def results(self) -> dict[str, Plain]:
        """A value for each of FIELDS, at any moment."""

    def summary(self) -> str:
        """What came of it, in a few words with figures."""

    def waiting(self) -> str:
        """What it is doing now, as in "interrupted while ...": "waiting for bob to answer"."""

    def calls(self) -> list[CallRecord]: ...

    def sightings(self) -> list[SightingRecord]: ...


class Quiet:
    """For actions without calls."""

    def calls(self) -> list[CallRecord]:
        return []

    def sightings(self) -> list[SightingRecord]:
        return []
