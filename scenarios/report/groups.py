"""Counted parts told as one: fleet-0 ... fleet-199 are two hundred of a kind, not two hundred lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from scenarios.report.record import MemberRecord, RunRecord, VnetRecord, WayRecord

FROM = 6
"""So many of a kind are a group; fewer are shown one by one."""

_NUMBERED = re.compile(r"(?P<stem>.+)-(?P<number>\d+)\Z")

T = TypeVar("T")


def made_of(members: Sequence[MemberRecord]) -> str:
    """How these tunnels are made, and how they reach the PoP now if they have a choice and agree."""
    kind = members[0].tunnel
    ways = {member.way for member in members}
    return f"{kind} {ways.pop()}".strip() if kind != "wireguard" and len(ways) == 1 else kind


def ways_of_several(run: RunRecord) -> list[WayRecord]:
    """Every change of the tunnels that did not stay with their first way to the PoP, the first way included."""
    several = {change.tunnel for change in run.ways if change.before}
    return [change for change in run.ways if change.tunnel in several]


def ways_taken(run: RunRecord) -> list[str]:
    """A line for each of these tunnels: who left the first way first, and of those at one moment by name."""
    lines: dict[str, str] = {}
    left: dict[str, float] = {}
    for change in ways_of_several(run):
        if change.before:
            left.setdefault(change.tunnel, change.at)
        if change.tunnel in lines:
            lines[change.tunnel] += f", at {change.at:.2f} s {change.way or 'none'}"
        else:
            lines[change.tunnel] = f"{change.tunnel}: {change.way}"
    return [lines[tunnel] for tunnel in sorted(lines, key=lambda tunnel: (left[tunnel], tunnel))]


class Several(NamedTuple):
    """A name and an address, or the first and the last of a group."""

    name: str
    address: str
    size: int = 1


class Site(NamedTuple):
    """Connectors with the same hosts behind them."""

    name: str
    connectors: list[MemberRecord]
    hosts: list[tuple[Several, str]]
    """Each with what runs there."""
    size: int = 1
    """So many sites look like this one; `connectors` are those of all."""


class Clients(NamedTuple):
    """One client, or a group."""

    shown: Several
    members: list[MemberRecord]


def sites(vnet: VnetRecord) -> list[Site]:
    """The sites of `vnet`; a counted one is one."""
    by_site: dict[str, list[MemberRecord]] = {}
    for member in vnet.members:
        if member.kind != "client":
            by_site.setdefault(member.site or member.name, []).append(member)
    names = list(by_site)

    def shape(name: str) -> tuple[object, ...]:
        return tuple((len(each.hosts), tuple(each.tags)) for each in by_site[name])

    found = []
    for some in _runs(names, lambda name: name, shape):
        connectors = [member for name in some for member in by_site[name]]
        first = by_site[some[0]][0]
        hosts = [] if len(some) > 1 else [(each, role) for each, role in _hosts(first.hosts)]
        name = some[0] if len(some) == 1 else f"{some[0]} … {some[-1]}"
        found.append(Site(name, connectors, hosts, len(some)))
    return found


def clients(vnet: VnetRecord) -> list[Clients]:
    """The clients of `vnet`; a counted one is one."""
    members = [member for member in vnet.members if member.kind == "client"]
    groups = _runs(members, lambda each: each.name, lambda each: (each.role, tuple(each.tags)))
    return [Clients(_several([(m.name, m.address) for m in some]), some) for some in groups]


def _hosts(hosts: Sequence[tuple[str, str, str]]) -> list[tuple[Several, str]]:
    groups = _runs(hosts, lambda host: host[0], lambda host: host[2])
    return [(_several([(name, address) for name, address, _ in some]), some[0][2]) for some in groups]


def _several(named: list[tuple[str, str]]) -> Several:
    (first, first_address), (last, last_address) = named[0], named[-1]
    if len(named) == 1:
        return Several(first, first_address)
    return Several(f"{first} … {last}", f"{first_address} … {_rest(first_address, last_address)}", len(named))


def _rest(first: str, last: str) -> str:
    """The last address without the octets that are those of the first."""
    mine, others = last.split("."), first.split(".")
    if len(mine) != 4 or mine[:2] != others[:2]:
        return last
    return "." + ".".join(mine[3:] if mine[:3] == others[:3] else mine[2:])


def _runs(items: Sequence[T], name: Callable[[T], str], alike: Callable[[T], object]) -> list[list[T]]:
    """Neighbours that are called STEM-N and are alike stand together if they are many enough."""
    runs: list[list[T]] = []
    before: object = None
    for item in items:
        match = _NUMBERED.match(name(item))
        key = (match["stem"], alike(item)) if match else None
        if key is not None and key == before:
            runs[-1].append(item)
        else:
            runs.append([item])
        before = key
    return [part for run in runs for part in ([run] if len(run) >= FROM else [[item] for item in run])]
