"""Which faults a run of a campaign gets. Every draw is a function of the campaign's seed and the run's number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from scenarios.schema import Script
from scenarios.schema.language import Faults
from scenarios.schema.semantics import EDGE

Step = dict[str, Any]

DWELL = 0.5
"""Seconds that a fault lasts at least: shorter ones are over before anybody notices."""

LONGEST = 30.0
"""Seconds that a fault may last, however short the scenario is: most timers of tunnels are shorter."""

RESTART_TAKES = 0.1
FULL_CIRCLE = ("both", "up", "down")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing done to the world at `at` seconds, and undone after `duration`; 0: there is nothing to undo."""

    kind: str
    target: str
    at: float
    duration: float = 0.0
    detail: tuple[tuple[str, Any], ...] = ()

    @property
    def end(self) -> float:
        return self.at + self.duration

    def steps(self, number: int) -> list[Step]:
        """As steps of a scenario, in the background; `number` counts the faults of a run from 1."""
        verbs = _VERBS[self.kind](self)
        names = (f"fault {number}: {self}", f"fault {number} is over")
        steps: list[Step] = []
        for (word, verb), name, at in zip(verbs, names, (self.at, self.end), strict=False):
            step: Step = {"name": name, "background": True, "at": seconds(at), word: verb}
            steps.append({"id": fault_id(number), **step} if not steps else step)
        return steps

    def __str__(self) -> str:
        detail = ", ".join(str(value) for _, value in self.detail if not isinstance(value, dict))
        return f"{self.kind} {self.target}" + (f" ({detail})" if detail else "")


def fault_id(number: int) -> str:
    return f"fault_{number}"


def seconds(value: float) -> str:
    return f"{round(value, 3):g}s"


Verbs = tuple[tuple[str, dict[str, Any]], ...]


def _tunnels(fault: Fault) -> dict[str, Any]:
    return {"tunnels": fault.target, **dict(fault.detail)}


def _healed(word: str) -> Callable[[Fault], Verbs]:
    return lambda fault: ((word, _tunnels(fault)), ("fault.heal", {"tunnels": fault.target}))


def _killed(fault: Fault) -> Verbs:
    machine = {"machine": fault.target}
    return ("fault.kill", {**machine, **dict(fault.detail)}), ("fault.restart", machine)


_VERBS: Mapping[str, Callable[[Fault], Verbs]] = {
    "kill": _killed,
    "restart": _killed,
    "partition": _healed("fault.partition"),
    "block": _healed("fault.block"),
    **dict.fromkeys(("degrade", "loss-burst", "reorder", "duplicate", "corrupt"), _healed("fault.degrade")),
    "blackhole": _healed("fault.blackhole"),
    "roam": lambda fault: (("fault.roam", {"tunnel": fault.target}),),
    "rebind": lambda fault: (("fault.rebind", {"client": fault.target}),),
    "rekey-now": lambda fault: (("fault.rekey-now", {"tunnels": fault.target}),),
    "pause": lambda fault: (("fault.pause", {"machine": fault.target, "for": seconds(fault.duration)}),),
    "zombie": lambda fault: (
        ("fault.zombie", {"machine": fault.target}),
        ("fault.zombie", {"machine": fault.target, "on": False}),
    ),
}

AT_ONCE = ("roam", "rebind", "rekey-now")
"""Kinds that are over as soon as they have happened."""


def _percent(rng: Random, least: int, most: int) -> str:
    return f"{rng.randint(least, most)}%"


_DETAILS: Mapping[str, Callable[[Random], dict[str, Any]]] = {
    "kill": lambda rng: {"graceful": True} if rng.random() < 0.25 else {},
    "restart": lambda rng: {"graceful": True},
    "partition": lambda rng: {"direction": rng.choice(FULL_CIRCLE)},
    "block": lambda rng: {"what": rng.choice(("udp", "tcp", "udp/443"))},
    "degrade": lambda rng: {
        "to": {"delay": f"{rng.randint(1, 40) * 10}ms", "jitter": f"{rng.randint(0, 8) * 5}ms"}
    },
    "loss-burst": lambda rng: {
        "to": {"loss": {"model": "gilbert-elliott", "p": _percent(rng, 1, 10), "r": _percent(rng, 10, 50)}}
    },
    "reorder": lambda rng: {"to": {"reorder": _percent(rng, 1, 30)}},
    "duplicate": lambda rng: {"to": {"duplicate": _percent(rng, 1, 50)}},
    "corrupt": lambda rng: {"to": {"corrupt": _percent(rng, 1, 20)}},
    "blackhole": lambda rng: {"over": rng.choice((200, 600, 1000))} if rng.random() < 0.5 else {},
}


def targets(script: Script) -> dict[str, tuple[str, ...]]:
    """By kind, whom it can be done to in this scenario; kinds with nobody are left out."""
    given = script.scenario.faults or Faults()
    spared = script.cast.tunnels_of(given.spare)
    tunnels = tuple(name for name in script.cast.tunnels_of("all") if name not in spared)
    clients = script.scenario.topology.clients
    special = {
        **dict.fromkeys(("kill", "restart", "pause"), (*tunnels, EDGE)),
        "rebind": tuple(name for name in tunnels if name in clients and clients[name].nat is not None),
        "zombie": tuple(name for name in tunnels if name not in clients),
    }
    found = {kind: special.get(kind, tunnels) for kind in given.draw.kinds}
    return {kind: names for kind, names in found.items() if names}


def draw(
    rng: Random, kinds: Mapping[str, Sequence[str]], count: tuple[int, int], span: float
) -> tuple[Fault, ...]:
    """The faults of one run, in order of time. `kinds` are as from ``targets``, `span` is how long the scenario takes.

    Swarm: each kind is there or not by the toss of a coin, as a fault that is always there hides what others do.
    """
    on = [kind for kind in kinds if rng.random() < 0.5] or [rng.choice(list(kinds))]
    faults = [_one(rng, kind := rng.choice(on), kinds[kind], span) for _ in range(rng.randint(*count))]
    return tuple(sorted(faults, key=lambda fault: (fault.at, fault.kind, fault.target)))


def _one(rng: Random, kind: str, names: Sequence[str], span: float) -> Fault:
    at = round(rng.uniform(0.0, span), 1)
    detail = _DETAILS[kind](rng) if kind in _DETAILS else {}
    if kind in AT_ONCE:
        duration = 0.0
    elif kind == "restart":
        duration = RESTART_TAKES
    else:
        duration = round(DWELL * (max(LONGEST, span / 2) / DWELL) ** rng.random(), 1)
    return Fault(kind, _target(rng, names), at, duration, tuple(detail.items()))


def _target(rng: Random, names: Sequence[str]) -> str:
    """Any of them; the PoP as often as all tunnels together, as it is what is tried here."""
    if EDGE in names and rng.random() < 0.5:
        return EDGE
    return rng.choice([name for name in names if name != EDGE] or [EDGE])
