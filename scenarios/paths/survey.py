"""All flows of a scenario that go through a connector, as few as differ.

Actors make up a *party* if every table on the way treats them alike: hosts of one site with equal tables, and clients
whose addresses no table tells apart. One member speaks for all.
"""

from __future__ import annotations

import shlex
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from edge.document import address_bytes, did_you_mean
from edge.errors import Refused
from scenarios.flows import Flows, Planned, Verdict
from scenarios.proto.route_table import Network, RouteTable
from scenarios.schema import Actor, Script
from scenarios.site_plan import SitePlans, is_plain

MOST_FLOWS = 100_000
"""Pairs of parties that are judged in one go."""

MOST_BESIDE = 2_000
"""The same where nobody asked for it."""


@dataclass(frozen=True, slots=True)
class Party:
    """Actors that routes cannot tell apart."""

    name: str
    members: tuple[str, ...]
    site: str | None
    vnet: str
    version: int
    """Of IP."""
    kind: str
    """What is alike but for addresses, as the largest counted group is called that all of it belongs to."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Every flow from one party to another."""

    source: Party
    destination: Party
    verdict: Verdict
    """Of the first members."""

    @property
    def count(self) -> int:
        return len(self.source.members) * len(self.destination.members)


def survey(
    script: Script, source: str | None = None, destination: str | None = None, *, at_most: int | None = None
) -> list[Judged]:
    """Flows between actors of different LANs; only from `source` and to `destination` if they are given.

    Both are an actor or its address, a site or a group. Refused if there is no such, or if there are more flows
    than `at_most`, MOST_FLOWS if left out.
    """
    plans = SitePlans(script.scenario)
    flows = Flows(script.cast, plans, Planned(plans, script.cast))
    parties = list(_parties(script, plans))
    senders, targets = _chosen(script, parties, source), _chosen(script, parties, destination)
    pairs = [
        (one, other)
        for one in senders
        for other in targets
        if one.vnet == other.vnet and one.version == other.version
        if one.site != other.site
    ]
    most = MOST_FLOWS if at_most is None else at_most
    if len(pairs) > most:
        text = f"{len(pairs):,} flows differ, and {most:,} are looked at at once"
        raise Refused(f"{script.file}: {text}; name some with --from or --to")
    return [Judged(one, other, flows.judge(one.members[0], other.members[0])) for one, other in pairs]


def advice(script: Script) -> str:
    """A line for a run that has failed, if answers do not come back in it; empty if they do, or are too many to say."""
    if all(is_plain(site) for site in script.scenario.topology.sites.values()):
        return ""
    try:
        found = survey(script, at_most=MOST_BESIDE)
    except Refused:
        return ""
    command = shlex.join(["poplab", "paths", script.file])
    return f"{text}: {command}" if (text := lost(found)) else ""


def lost(found: list[Judged]) -> str:
    """How many flows have no way there or back, in words; empty if none."""
    broken = sum(each.count for each in found if not each.verdict.returns)
    total = sum(each.count for each in found)
    noun = "flow has" if total == 1 else "flows have"
    return f"{broken:,} of {total:,} {noun} no way there or back" if broken else ""


def _parties(script: Script, plans: SitePlans) -> Iterator[Party]:
    cast = script.cast
    sites = script.scenario.topology.sites
    tables = {name: _tables(plans, name) for name, site in sites.items() if not is_plain(site)}
    kinds: dict[str, str] = {}
    for group, names in sorted(cast.groups.items(), key=lambda each: len(each[1])):
        kinds.update(dict.fromkeys(names, group))
    others = _Others(tables, {name: site.vnet for name, site in sites.items()})
    alike: dict[object, list[Actor]] = {}
    for actor in cast.actors.values():
        own = 0
        if actor.site in tables:
            own = id(plans[actor.site].by_name[actor.name].table)
        key = (actor.site, actor.vnet, len(actor.ip), own, others.see(actor))
        alike.setdefault(key, []).append(actor)
    for members in alike.values():
        first = members[0]
        names = tuple(actor.name for actor in members)
        name = _called(script, names, first)
        groups = {kinds.get(each) for each in names}
        kind = groups.pop() if len(groups) == 1 else f"hosts of {_written(script, first.site)}"
        yield Party(name, names, first.site, first.vnet, 4 if len(first.ip) == 4 else 6, kind or name)


class _Others:
    """What the tables of other sites make of the address of an actor.

    Between two neighbouring ends of prefixes, no table tells addresses apart: one of them speaks for all.
    """

    def __init__(self, tables: dict[str, list[RouteTable]], vnets: dict[str, str]) -> None:
        self._tables: dict[str, dict[str, list[RouteTable]]] = {}  # by vnet and site
        for site, theirs in tables.items():
            self._tables.setdefault(vnets[site], {})[site] = theirs
        self._ends = {
            (vnet, size): sorted(set(_ends(by_site.values(), size)))
            for vnet, by_site in self._tables.items()
            for size in (4, 16)
        }
        self._seen: dict[object, tuple[Network | None, ...]] = {}

    def see(self, actor: Actor) -> tuple[Network | None, ...]:
        """The entry of each table that is for it."""
        size = len(actor.ip)
        ends = self._ends.get((actor.vnet, size), [])
        key = (actor.vnet, actor.site, size, bisect_right(ends, int.from_bytes(actor.ip)))
        if key not in self._seen:
            self._seen[key] = tuple(
                hop and hop.network
                for site, theirs in self._tables.get(actor.vnet, {}).items()
                if site != actor.site
                for hop in (table.lookup(actor.ip) for table in theirs)
            )
        return self._seen[key]


def _ends(tables: Iterable[list[RouteTable]], size: int) -> Iterator[int]:
    for table in chain.from_iterable(tables):
        for route in table:
            address, length = route.network
            if len(address) == size:
                first = int.from_bytes(address)
                yield from (first, first + (1 << (size * 8 - length)))


def _tables(plans: SitePlans, site: str) -> list[RouteTable]:
    """Every one of a LAN that is not like another."""
    return list({id(machine.table): machine.table for machine in plans[site].machines}.values())


def _called(script: Script, names: tuple[str, ...], first: Actor) -> str:
    """Such as: alice; desk, 40 of them; 3 hosts of hq."""
    if len(names) == 1:
        return names[0]
    group = next((name for name, group in script.cast.groups.items() if names == group), None)
    if group is not None:
        return f"{group}, {len(names):,} of them"
    return f"{len(names):,} clients" if first.site is None else f"{len(names):,} hosts of {first.site}"


def _written(script: Script, site: str | None) -> str:
    """A site as the file has it."""
    return "" if site is None else script.expansion.written.get(("sites", site), ("", site))[1]


def _chosen(script: Script, parties: list[Party], word: str | None) -> list[Party]:
    if word is None:
        return parties
    cast = script.cast
    wanted = {name for name in cast.names(word) if name in cast.actors}
    wanted |= {actor.name for actor in cast.actors.values() if actor.site in cast.names(word)}
    wanted |= {actor.name for actor in cast.actors.values() if actor.ip == address_bytes(word)}
    if not wanted:
        sites = script.scenario.topology.sites
        near = did_you_mean(word, [*cast.actors, *cast.groups, *sites])
        raise Refused(f"{script.file}: there is no {word!r}" + (f"; {near}" if near else ""))
    narrowed = []
    for party in parties:
        members = tuple(name for name in party.members if name in wanted)
        if members:
            name = (
                party.name if members == party.members else _called(script, members, cast.actors[members[0]])
            )
            narrowed.append(replace(party, name=name, members=members))
    return narrowed
