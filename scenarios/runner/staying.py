"""A world that is kept up until somebody ends it, for devices that are not simulated."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import msgspec
import trio

from edge.errors import ConfigError, PoplabError
from scenarios import world as worlds
from scenarios.fabric import Door, Fabric, Network
from scenarios.report import State
from scenarios.runner.observer import Observer
from scenarios.runner.onlooker import Onlooker
from scenarios.runner.preflight import check
from scenarios.runner.run import Performance
from scenarios.runner.stage import Stage
from scenarios.schema import Scenario, Script
from scenarios.world import World

KEPT_SAMPLES = 3600
LOOK_AT_FILE = 1.0
"""Seconds between two looks at whether the scenario file has changed."""
SHOWN = 3
"""Places in the file that a line names at most."""


class Staying(Performance):
    """Applications and programs of the world run, its telephones register; steps and loads only if they are wanted.

    Conditions at the end, thresholds and invariants of the file are not judged, the laws of every network are. When the
    file changes while it is up, its policy is in force at once. `tell` is called once the machines are there.
    """

    def __init__(
        self,
        world: World,
        fabric: Fabric,
        observer: Observer,
        interrupt: trio.Event,
        *,
        door: Door | None,
        steps: bool = False,
        tell: Callable[[Network], None] | None = None,
        repeat: str = "",
        folder: Path | None = None,
    ) -> None:
        super().__init__(world, fabric, repeat, observer, interrupt, leaks=False, folder=folder)
        self._door = door
        self._steps_wanted = steps
        self._tell = tell
        self._limits = []
        self._watches = []
        self._onlooker: Onlooker | None = None
        self.record.kept = True

    def _bring_up(self) -> AbstractAsyncContextManager[Network]:
        return self.fabric.bring_up(self.world, self._door)

    def _prepare(self, stage: Stage) -> None:
        super()._prepare(stage)
        self._onlooker = Onlooker(stage, self.record)
        if self._tell is not None:
            self._tell(stage.network)

    async def _watched(self, stage: Stage) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._interrupted, nursery.cancel_scope)
            nursery.start_soon(self._follow_file, stage)
            if self._steps_wanted:
                for load in self._loads.values():
                    nursery.start_soon(load.run)
                nursery.start_soon(self._perform_steps, stage)
            else:
                nursery.start_soon(self._greet, stage)
            await self.interrupt.wait()
        self._cut_off(State.INTERRUPTED, "stopped")
        self.record.state = State.RUNNING

    async def _greet(self, stage: Stage) -> None:
        """What a step would have to tell them: telephones register, members join their directory."""
        await stage.network.wait_up()
        for member in stage.world.members.values():
            if member.phone is not None:
                member.phone.register(stage.now())
                stage.wake(member)
            if member.agent is not None:
                member.agent.bind(stage.now())
                stage.wake(member)

    def _sample(self, stage: Stage) -> None:
        super()._sample(stage)
        del self.record.samples[:-KEPT_SAMPLES]

    def _refresh(self, stage: Stage) -> None:
        super()._refresh(stage)
        if self._onlooker is not None:
            self._onlooker.look(stage.network.snapshot())

    def _judge(self, stage: Stage) -> None:
        record = self.record
        self._measure(stage)
        steps = all(step.state is not State.FAILED or step.may_fail for step in record.steps)
        laws = all(law.holds for law in record.invariants)
        record.state = State.PASSED if steps and laws else State.FAILED

    # -- the file

    async def _follow_file(self, stage: Stage) -> None:
        known = _stamp(self.record.file)
        looks = 0  # in which it was not there; one may be while an editor replaces it
        while True:
            await trio.sleep(LOOK_AT_FILE)
            now = _stamp(self.record.file)
            looks = looks + 1 if now is None else 0
            if looks == 2 and self._onlooker is not None:
                text = "the file is gone, and the policy that it had stays in force"
                self._onlooker.note("policy", text, bad=True)
            if now is not None and now != known:
                known = now
                self._read_again(stage)

    def _read_again(self, stage: Stage) -> None:
        assert self._onlooker is not None
        try:
            script = self._same_cell(check(Path(self.record.file)))
            changed = ["matrix"] if script is None else _beside_policy(script.scenario, self.world.scenario)
            if script is None or changed:
                shown = ", ".join(changed[:SHOWN]) + (" and others" if len(changed) > SHOWN else "")
                text = (
                    f"not in force, the one before stays: more than policy has changed in the file: {shown}"
                )
                self._onlooker.note(
                    "policy", f"{text}; put that back, or start again to have all of it", bad=True
                )
                return
            new = worlds.build(script, seed=self.world.seed, secret=os.urandom).config.vnets
            vnets = {
                name: replace(vnet, policy=new[name].policy, default=new[name].default)
                for name, vnet in self.world.config.vnets.items()
            }
            stage.network.reload(replace(self.world.config, vnets=vnets))
        except ConfigError as error:
            for problem in error.problems[:3]:
                self._onlooker.note(
                    "policy", f"not in force: {problem}".replace("\n    fix:", "; fix:"), bad=True
                )
        except PoplabError as error:
            self._onlooker.note("policy", f"not in force: {error}", bad=True)
        else:
            self._onlooker.note("policy", "the file has changed, and its policy is in force")

    def _same_cell(self, scripts: tuple[Script, ...]) -> Script | None:
        own = dict(self.world.script.cell)
        return next((script for script in scripts if dict(script.cell) == own), None)


def _beside_policy(one: Scenario, other: Scenario) -> list[str]:
    """Where they differ. What is done in a scenario does not matter: who is there does."""

    def bare(scenario: Scenario) -> dict[str, object]:
        topology = scenario.topology
        vnets = {
            name: msgspec.structs.replace(vnet, policy=None, default="block")
            for name, vnet in scenario.vnets.items()
        }
        return {
            "tunnel": scenario.tunnel,
            **_under("vnets", vnets),
            **_under("topology.links", topology.links),
            **_under("topology.sites", topology.sites),
            **_under("topology.clients", topology.clients),
        }

    ours, theirs = bare(one), bare(other)
    return [key for key in {**theirs, **ours} if ours.get(key) != theirs.get(key)]


def _under(section: str, entries: Mapping[str, object]) -> dict[str, object]:
    return {f"{section}.{name}": entry for name, entry in entries.items()}


def _stamp(file: str) -> tuple[int, int, int] | None:
    """Another one when the file is another one."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
