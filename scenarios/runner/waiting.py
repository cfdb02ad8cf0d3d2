"""``wait``: for tunnels, for background steps, for time."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import trio

from scenarios.checks import Plain, Seconds
from scenarios.fabric import FarEndEnded
from scenarios.runner.service import SHOWN, Service
from scenarios.runner.stage import Impossible, Quiet, Stage
from scenarios.schema.verbs import Wait
from scenarios.schema.words import many


class Waiting(Quiet):
    FIELDS: ClassVar[tuple[str, ...]] = ("up", "total", "slowest_handshake")
    DEFAULT: ClassVar[tuple[str, ...]] = ()

    def __init__(self, stage: Stage, verb: Wait, running: Callable[[str], bool]) -> None:
        self._stage = stage
        self._verb = verb
        self._running = running
        self._steps = many(verb.step)
        self._text = ""
        self._unready: Service | None = None

    async def run(self) -> None:
        if self._verb.tunnels is not None:
            self._text = "tunnels"
            try:
                await self._stage.network.wait_up()
            except FarEndEnded as error:
                raise Impossible(str(error)) from error
        if self._verb.programs is not None:
            await self._for_programs()
        for step in self._steps:
            self._text = f"waiting for step {step}"
            await self._stage.until(lambda step=step: not self._running(step))  # type: ignore[misc]
        if self._verb.duration is not None:
            self._text = f"waiting for {Seconds(self._verb.duration)}"
            await trio.sleep(self._verb.duration)
        self._text = ""

    async def _for_programs(self) -> None:
        for service in self._stage.programs.at_once():
            self._text = f"waiting until {service.name} is ready"
            await service.settled.wait()
            self._unready = service
            if service.trouble:
                raise Impossible(service.trouble)
        self._unready = None

    def results(self) -> dict[str, Plain]:
        up = self._stage.network.up()
        handshakes = self._stage.network.handshake_seconds()
        slowest = Seconds(max(handshakes.values())) if handshakes else None
        return {"up": sum(up.values()), "total": len(up), "slowest_handshake": slowest}

    def summary(self) -> str:
        programs = len(self._stage.programs.at_once()) if self._verb.programs is not None else 0
        ready = (
            f"{programs} program{'s' * (programs > 1)} ready" if self._unready is None and programs else ""
        )
        if self._verb.tunnels is not None:
            values = self.results()
            slowest = values["slowest_handshake"]
            text = f"{values['up']} tunnels up" + (f", slowest handshake {slowest}" if slowest else "")
            return f"{text}, {ready}" if ready else text
        if self._steps:
            return f"{', '.join(self._steps)} done"
        return ready

    def written(self) -> list[str]:
        if self._unready is not None:
            return self._unready.last_lines()
        if self._verb.tunnels is None:
            return []
        network = self._stage.network
        up = network.up()
        return [
            f"{agent.name}: {line}"
            for agent in network.agents
            if not up[agent.name]
            for line in agent.output.last_lines(SHOWN)
        ]

    def waiting(self) -> str:
        if self._text != "tunnels":
            return self._text
        down = [name for name, up in self._stage.network.up().items() if not up]
        return f"waiting for the handshake of {', '.join(down[:5])}" + (
            " and others" if len(down) > 5 else ""
        )
