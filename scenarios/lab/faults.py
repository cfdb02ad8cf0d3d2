"""``world.fault``: things done to the world, each a step of the language."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Tunnels = str | list[str]
"""Connectors, clients, sites; "all"."""


def seconds(value: float) -> str:
    """As a duration of the language."""
    return f"{value:.6f}".rstrip("0").rstrip(".") + "s"


class Faults:
    """`machine` is a connector, a client, or "edge"."""

    def __init__(self, step: Callable[[dict[str, Any]], Awaitable[Any]]) -> None:
        self._step = step

    async def kill(self, machine: str, *, graceful: bool = False) -> None:
        await self._step({"fault.kill": {"machine": machine, "graceful": graceful}})

    async def restart(self, machine: str) -> None:
        await self._step({"fault.restart": {"machine": machine}})

    async def pause(self, machine: str, duration: float) -> None:
        """Returns when it goes on."""
        await self._step({"fault.pause": {"machine": machine, "for": seconds(duration)}})

    async def partition(self, tunnels: Tunnels, direction: str = "both") -> None:
        """Nothing passes between these and the PoP; `direction` is both, up or down."""
        await self._step({"fault.partition": {"tunnels": tunnels, "direction": direction}})

    async def block(self, tunnels: Tunnels, what: str | list[str]) -> None:
        """A firewall stops udp, tcp, or what is of one port of the PoP, such as udp/443."""
        await self._step({"fault.block": {"tunnels": tunnels, "what": what}})

    async def heal(self, tunnels: Tunnels = "all") -> None:
        await self._step({"fault.heal": {"tunnels": tunnels}})

    async def degrade(self, tunnels: Tunnels, to: str | dict[str, Any]) -> None:
        """`to` is a link of the file, a preset, or figures such as ``{"loss": "5%", "delay": "80ms"}``."""
        await self._step({"fault.degrade": {"tunnels": tunnels, "to": to}})

    async def blackhole(self, tunnels: Tunnels, over: int | None = None) -> None:
        verb: dict[str, Any] = {"tunnels": tunnels}
        await self._step({"fault.blackhole": verb if over is None else {**verb, "over": over}})

    async def roam(self, tunnel: str) -> None:
        await self._step({"fault.roam": {"tunnel": tunnel}})

    async def rebind(self, client: str) -> None:
        await self._step({"fault.rebind": {"client": client}})

    async def rekey_now(self, tunnels: Tunnels) -> None:
        await self._step({"fault.rekey-now": {"tunnels": tunnels}})

    async def zombie(self, machine: str, *, on: bool = True) -> None:
        await self._step({"fault.zombie": {"machine": machine, "on": on}})
