"""From a case that fails to the smallest one found that still fails like that: fewer faults, steps, people, digits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from math import ceil
from typing import Any, TypeVar

from edge.errors import PoplabError
from scenarios.fuzz.campaign import try_case
from scenarios.fuzz.case import Case
from scenarios.fuzz.draw import DWELL, Fault
from scenarios.fuzz.trial import Outcome

T = TypeVar("T")

MOST_RUNS = 400
MOST_SECONDS = 90.0

Part = tuple[str | int, ...]


class Shrinking:
    """`kind` must stay the same; `progress` is told runs so far and what is left."""

    def __init__(
        self,
        case: Case,
        kind: str,
        *,
        runs: int = MOST_RUNS,
        limit: float = MOST_SECONDS,
        progress: Callable[[int, Case], None] | None = None,
        trial: Callable[[Case], Outcome] = try_case,
    ) -> None:
        self.case = case
        self.kind = kind
        self.runs = 0
        self._most = runs
        self._until = time.monotonic() + limit
        self._progress = progress
        self._trial = trial

    @property
    def exhausted(self) -> bool:
        return self.runs >= self._most or time.monotonic() > self._until

    def shrink(self) -> Case:
        """The smallest case found within the bounds."""
        self._drop_faults()
        self._drop_hosts()
        self._drop_steps()
        self._drop_parts()
        self._round_times()
        self._drop_faults()
        return self.case

    def holds(self, case: Case) -> bool:
        """Whether `case` fails like that; if it does, it is the best one from now on."""
        if self.exhausted:
            return False
        self.runs += 1
        try:
            same = self.kind in self._trial(case).kinds
        except PoplabError:
            return False  # it means nothing without what was dropped
        if same:
            self.case = case
        if self._progress is not None:
            self._progress(self.runs, self.case)
        return same

    def _drop_faults(self) -> None:
        fewest(self.case.faults, lambda faults: self.holds(replace(self.case, faults=tuple(faults))))

    def _drop_hosts(self) -> None:
        """Of those who must be well in the end, one is enough to see that all is not well."""
        fewest(self.case.hosts, lambda hosts: self.holds(replace(self.case, hosts=tuple(hosts))))

    def _drop_steps(self) -> None:
        if self.holds(replace(self.case, steps=(), base=_without(self.case.base, ("load",)))):
            return
        fewest(self.case.steps, lambda steps: self.holds(replace(self.case, steps=tuple(steps))))

    def _drop_parts(self) -> None:
        """Parts that nobody needs, the greatest first."""
        again = True
        while again and not self.exhausted:
            again = False
            for part in list(_parts(self.case.base)):
                smaller = _without(self.case.base, part)
                if smaller != self.case.base and self.holds(replace(self.case, base=smaller)):
                    again = part[0] == "topology"
            for part, count in list(_counts(self.case.base)):
                for fewer in (1, count // 2):
                    base = _with(self.case.base, part, fewer)
                    if 0 < fewer < count and self.holds(replace(self.case, base=base)):
                        break

    def _round_times(self) -> None:
        for index in range(len(self.case.faults)):
            for rounder in (_first, _whole, _short, _plain):
                faults = list(self.case.faults)
                simpler = rounder(faults[index])
                if simpler != faults[index]:
                    faults[index] = simpler
                    self.holds(replace(self.case, faults=tuple(faults)))
        end = max((fault.end for fault in self.case.faults), default=0.0)
        quiet = float(ceil(end) + 1)
        if quiet < self.case.quiet:
            self.holds(replace(self.case, quiet=quiet))


def fewest(items: Sequence[T], holds: Callable[[list[T]], bool]) -> list[T]:
    """Delta debugging (Zeller and Hildebrandt 2002): a part of `items` that still `holds` and none of it can go."""
    present = list(items)
    parts = 1
    while present:
        size = ceil(len(present) / parts)
        for start in range(0, len(present), size):
            left = present[:start] + present[start + size :]
            if holds(left):
                present = left
                parts = max(parts - 1, 1)
                break
        else:
            if size == 1:
                break
            parts = min(len(present), parts * 2)
    return present


def _parts(base: Any) -> Iterator[Part]:
    """What might be left out, in the order in which it is tried."""
    for index in reversed(range(len(base.get("policy") or []))):
        yield "policy", index
    for key in ("policy", "invariants", "load", "about", "crypto"):
        if key in base:
            yield (key,)
    topology = base["topology"]
    for kind in ("clients", "sites"):
        for name, part in (topology.get(kind) or {}).items():
            yield "topology", kind, name
            for inner in ("hosts", "connectors"):
                for each in part.get(inner) or {}:
                    yield "topology", kind, name, inner, each
            for key in ("app", "link", "nat", "user", "groups", "tags", "keepalive", "connectors"):
                if key in part:
                    yield "topology", kind, name, key
            for each, host in (part.get("hosts") or {}).items():
                if "app" in host:
                    yield "topology", kind, name, "hosts", each, "app"
    for kind in ("clients", "sites"):
        yield "topology", kind
    for name in topology.get("links") or {}:
        yield "topology", "links", name
    if "links" in topology:
        yield "topology", "links"
    for name, vnet in base["vnets"].items():
        yield "vnets", name
        for key in vnet or {}:
            yield "vnets", name, key


def _counts(base: Any) -> Iterator[tuple[Part, int]]:
    for kind in ("clients", "sites"):
        for name, part in (base["topology"].get(kind) or {}).items():
            if "count" in part:
                yield ("topology", kind, name, "count"), part["count"]
            for each, host in (part.get("hosts") or {}).items():
                if "count" in host:
                    yield ("topology", kind, name, "hosts", each, "count"), host["count"]


def _without(base: Any, part: Part) -> Any:
    """A copy without one part; equal if it is not there."""
    copy = deepcopy(base)
    inside = copy
    for key in part[:-1]:
        try:
            inside = inside[key]
        except (KeyError, IndexError):
            return copy
    if isinstance(inside, list) and isinstance(part[-1], int) and part[-1] < len(inside):
        del inside[part[-1]]
    elif isinstance(inside, dict):
        inside.pop(part[-1], None)
    return copy


def _with(base: Any, part: Part, value: int) -> Any:
    copy = deepcopy(base)
    inside = copy
    for key in part[:-1]:
        inside = inside[key]
    inside[part[-1]] = value
    return copy


def _first(fault: Fault) -> Fault:
    return replace(fault, at=1.0)


def _whole(fault: Fault) -> Fault:
    return replace(fault, at=float(round(fault.at)))


def _short(fault: Fault) -> Fault:
    if fault.duration <= DWELL:
        return fault
    return replace(fault, duration=1.0 if fault.duration >= 1.0 else DWELL)


def _plain(fault: Fault) -> Fault:
    """Without details that do not matter."""
    detail = tuple(
        (key, value) for key, value in fault.detail if key not in ("direction", "graceful", "over")
    )
    return replace(fault, detail=detail)
