"""The real programs that the hosts of a world run: begun with it, ended with it, and judged like its laws."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import MappingProxyType

from edge.document import Path as Place
from edge.document import flow_command
from edge.errors import FabricUnavailable
from scenarios import doctor
from scenarios.checks import Plain
from scenarios.fabric import Network
from scenarios.report import InvariantRecord, ProgramRecord
from scenarios.runner.launcher import Launcher
from scenarios.runner.lazy import Lazy
from scenarios.runner.service import SHOWN, Service
from scenarios.runner.workshop import search_path
from scenarios.schema import Script
from scenarios.schema.programs import Argv, ExecRun
from scenarios.schema.topology import AgentWord
from scenarios.world import World

LAW = "programs-run"
ALIKE = 0.7
"""From which on a name is another one's misspelt: `culr` and `curl` are 0.75."""

AGENTS_NEED: Mapping[AgentWord, tuple[str, ...]] = MappingProxyType(
    {"poplab": (), "daemon": ("tun",), "wireguard-go": ("tun", "wireguard-go"), "xray": ("tun", "xray")}
)
"""What the doctor has to find for each kind."""


class Programs:
    """Of one world. `given` is everything that placeholders can ask for."""

    def __init__(self, world: World, network: Network, given: Callable[[], Mapping[str, Plain]]) -> None:
        self.launcher = Launcher(world, network, given)
        self._network = network
        began = network.now()
        self._services = {
            actor.name: {
                program.name: Service(self.launcher, actor.name, program, began)
                for program in actor.apps.programs
            }
            for actor in world.script.cast.actors.values()
            if actor.apps.programs
        }

    @asynccontextmanager
    async def at_work(self, reports: Path | None = None) -> AsyncIterator[None]:
        """Those that start at once run in the block, and nothing does after it."""
        async with self.launcher.at_work(reports):
            for service in self.at_once():
                service.begin(by_step=False)
            try:
                yield
            finally:
                self._expect_end()

    async def end_all(self) -> None:
        """Before the block ends: nothing runs any more."""
        self._expect_end()
        await self.launcher.end_all()

    def _expect_end(self) -> None:
        for service in self._all():
            service.expect_end()

    def service(self, host: str, name: str) -> Service:
        return self._services[host][name]

    def at_once(self) -> list[Service]:
        """Those that start with the world."""
        return [service for service in self._all() if service.given.start == "at-once"]

    def names(self, host: str) -> dict[str, Plain]:
        """`programs`, for conditions about a host that has any."""
        services = self._services.get(host)
        return {} if services is None else {"programs": Lazy(services, lambda name: services[name].names())}

    def records(self) -> list[ProgramRecord]:
        return [service.record() for service in self._all()]

    def law(self) -> list[InvariantRecord]:
        """That every one runs as it should, and so does every agent of a tunnel, and that no machine is broken.

        Nothing where there are none.
        """
        services, agents, damage = list(self._all()), self._network.agents, self._network.damage
        if not services and not agents and not damage:
            return []
        broken = sorted((each for each in services if each.broken), key=lambda each: each.broken_at)
        troubled = [each for each in agents if each.trouble]
        if not broken and (troubled or damage):
            lines = [line for each in troubled for line in each.output.last_lines(SHOWN)]
            text = "; ".join([*damage, *(each.trouble for each in troubled)])
            return [InvariantRecord(id=LAW, holds=False, text=text, details=lines)]
        if not broken:
            text = "every program ran as it should"
            return [InvariantRecord(id=LAW, holds=True, text=text)]
        details: list[str] = []
        for service in broken:
            details += [] if service is broken[0] else [service.broken]
            details += service.last_lines() or [f"{service.name} has written nothing"]
        details += [*damage, *(each.trouble for each in troubled)]
        first = broken[0]
        return [InvariantRecord(id=LAW, holds=False, text=first.broken, details=details, at=first.broken_at)]

    def _all(self) -> Iterator[Service]:
        for services in self._services.values():
            yield from services.values()


def need(script: Script) -> None:
    """FabricUnavailable if a program that `script` runs is not on this machine."""
    needed = {name for agent in script.cast.agents.values() for name in AGENTS_NEED[agent]}
    lines = [finding.sentence for finding in (doctor.missing(*sorted(needed)) if needed else [])]
    wanted: dict[str, list[str]] = {}
    places: dict[str, Place] = {}
    path = search_path()
    for who, argv, files, place in _commands(script):
        name = argv[0]
        if "${" in name or name.removeprefix("./") in files:
            continue
        if "/" in name and not Path(name).is_absolute():
            continue  # of the working folder: another program may put it there
        if shutil.which(name, path=path) is None:
            wanted.setdefault(name, []).append(who)
            places.setdefault(name, place)
    for name, users in wanted.items():
        needed_by = ", ".join(list(dict.fromkeys(users))[:3])
        said = f"the program {name} is not on this machine, needed by {needed_by}"
        lines.append(str(script.problem(places[name], said, _meant(name, path) or doctor.way_to(name))))
    if lines:
        raise FabricUnavailable("\n".join(lines))


def _meant(name: str, path: str) -> str:
    """What to write instead of a program that nobody has: one with almost this name, or the words that it is."""
    if " " in name:
        return f"write {flow_command(name)}" if flow_command(name) else ""
    if name in doctor.PROGRAM_NAMES or "/" in name:
        return ""
    here = set(doctor.PROGRAM_NAMES)
    for folder in path.split(os.pathsep):
        with suppress(OSError):
            here.update(os.listdir(folder))
    near = difflib.get_close_matches(name, sorted(here), n=3, cutoff=ALIKE)
    same = [each for each in near if sorted(each) == sorted(name)]  # letters that changed places
    return f"did you mean {(same or near)[0]!r}?" if near else ""


def _commands(script: Script) -> Iterator[tuple[str, Argv, Mapping[str, object], Place]]:
    """Whose, what, the files beside it, and where in the scenario the program is named."""
    for actor in script.cast.actors.values():
        for number, program in enumerate(actor.apps.programs or ()):
            place: Place = (*actor.path, "app", "exec", number)
            yield actor.name, program.run, program.files, (*place, "run", 0)
            if program.ready is not None and program.ready.run is not None:
                yield actor.name, program.ready.run, program.files, (*place, "ready", "run", 0)
    for number, step in enumerate(script.scenario.steps):
        for word, verb in step.verbs.items():
            if isinstance(verb, ExecRun):
                who = step.id or f"step {number + 1}"
                yield who, verb.run, verb.files, ("steps", number, word, "run", 0)
