"""One run of a campaign as data: the scenario with its steps excused, the faults, and what must be well in the end."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from scenarios.fuzz.draw import Fault, Step, fault_id, seconds

PINGS = 5
ANSWERED = 3
"""Of PINGS, once all has healed: paths of the file may lose some."""

LOSES_NOTHING_BUT_TIME = 60.0
"""Seconds of grace between the last thing that a run has to do and its deadline."""


@dataclass(frozen=True, slots=True)
class Case:
    """`base` is the scenario without its steps, as it would be written; nothing in here is ever changed in place."""

    base: Mapping[str, Any]
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...]
    hosts: tuple[tuple[str, str], ...]
    """Who must be able to reach the PoP in the end, and the address that answers there."""
    seed: int
    quiet: float
    """When the last fault is over, in seconds."""
    recover: float
    spent: float = 0.0
    """How long the steps can take at most."""
    fuzzing: Mapping[str, Any] = field(default_factory=dict)
    """What the file says under `faults`."""

    def data(self) -> dict[str, Any]:
        """The scenario, ready to be written down."""
        faults = [step for number, fault in enumerate(self.faults, 1) for step in fault.steps(number)]
        hosts = [(name, gateway) for name, gateway in self.hosts if self.has(name)]
        deadline = (
            max(self.quiet, self.spent) + self.recover + 2 * PINGS * len(hosts) + LOSES_NOTHING_BUT_TIME
        )
        whole: dict[str, Any] = {"version": 1, "name": self.base["name"], "fabric": "sim", "seed": self.seed}
        whole["deadline"] = seconds(deadline)
        whole |= {key: value for key, value in self.base.items() if key not in whole}
        whole["steps"] = [*faults, *self.steps, *self._tail(hosts)]
        return whole

    def _tail(self, hosts: list[tuple[str, str]]) -> Iterator[Step]:
        """Everything heals; after a while everybody must be there again."""
        yield {
            "name": "everything heals",
            "at": seconds(self.quiet),
            "fault.heal": {"tunnels": "all"},
        }
        yield {"name": "the PoP runs", "fault.restart": {"machine": "edge"}}
        yield {"name": "everybody else runs", "fault.restart": {"machine": "all"}}
        if any(fault.kind == "zombie" for fault in self.faults) or "zombie" in str(self.steps):
            yield {"name": "and forwards", "fault.zombie": {"machine": "all", "on": False}}
        knocks = max(1, round(self.recover))
        for name, gateway in hosts:
            yield {
                "name": f"{name} tries to reach the PoP",
                "background": True,
                "may_fail": True,
                "ping": {"from": name, "to": gateway, "count": knocks, "interval": "1s"},
            }
        yield {"name": "time to recover", "wait": {"for": seconds(self.recover)}}
        if (expected := self._used_tunnels()) > 0:
            yield {
                "name": "tunnels are up",
                "await": f"edge.tunnels_up >= {expected}",
                "within": "1s",
            }
        if served := " and ".join(self._served()):
            yield {"name": "the PoP knows a way to every site", "await": served, "within": "1s"}
        for name, gateway in hosts:
            yield {
                "name": f"{name} reaches the PoP",
                "ping": {"from": name, "to": gateway, "count": PINGS, "interval": "200ms"},
                "expect": [f"received >= {ANSWERED}"],
            }

    def has(self, host: str) -> bool:
        """Whether there still is a host of that name."""
        topology = self.base["topology"]
        site, _, short = host.rpartition("/")
        if not site:
            return _find(topology.get("clients"), host) is not None
        found = _find(topology.get("sites"), site)
        return found is not None and _find(found.get("hosts"), short) is not None

    def _used_tunnels(self) -> int:
        """Tunnels that somebody speaks through in the end. A stand-in that nobody uses may be silent, and unheard."""
        topology = self.base["topology"]
        clients: int = sum(client.get("count", 1) for client in (topology.get("clients") or {}).values())
        sites = [site for site in (topology.get("sites") or {}).values() if site.get("hosts")]
        return clients + sum(int(site.get("count", 1)) for site in sites)

    def _served(self) -> Iterator[str]:
        """A condition for each site: one of its connectors is the active one."""
        for name, site in (self.base["topology"].get("sites") or {}).items():
            if site.get("hosts") and "count" not in site:
                connectors = ", ".join(f'"{each}"' for each in site.get("connectors") or (name,))
                yield f'sites["{name}"].active in [{connectors}]'


def _find(parts: Mapping[str, Any] | None, name: str) -> dict[str, Any] | None:
    """A part by its name, or the counted one that it is a copy of."""
    parts = parts or {}
    if name in parts:
        return parts[name] or {}
    counted = re.fullmatch(r"(.+)-(\d+)", name)
    if counted is None or counted[1] not in parts:
        return None
    part: dict[str, Any] = parts[counted[1]]
    return part if int(counted[2]) < part.get("count", 0) else None


__all__ = ["Case", "fault_id"]
