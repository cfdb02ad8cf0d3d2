"""Counted parts written out: ``count: 200`` becomes two hundred, each with the address or prefix that follows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from edge.config import RuleFile
from edge.document import IPAddress, Path, Prefix, Words
from scenarios.schema.apps import Apps
from scenarios.schema.language import Scenario
from scenarios.schema.topology import Client, Host, Router, Site

MAX_MACHINES = 100_000

NOBODY = IPAddress(bytes(4))
"""The address of whom there is none for."""


class Misfit(NamedTuple):
    """Copies that do not fit their network; `path` is where they are written."""

    path: Path
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class Expansion:
    """A scenario in which nothing is counted any more, and who is in which group."""

    scenario: Scenario
    groups: Mapping[str, tuple[str, ...]]
    """A counted client, site, or host of a site ("hq/phone") to its copies."""
    written: Mapping[tuple[str, ...], tuple[str, ...]]
    """A copy to the part it was written as: ("clients", "fleet-7") to ("clients", "fleet")."""
    misfits: tuple[Misfit, ...] = ()
    """Copies for which there is no address; they have one that is nobody's."""

    def place(self, path: Path) -> Path:
        """Where `path` of the expanded scenario was written."""
        match path:
            case ("topology", "sites", str() as site, "hosts", str() as host, *rest):
                return ("topology", *self._of("sites", site), *self._of("hosts", site, host), *rest)
            case ("topology", "sites" | "clients" as kind, str() as name, *rest):
                return ("topology", *self._of(kind, name), *rest)
        return path

    def _of(self, kind: str, *names: str) -> tuple[str, ...]:
        return self.written.get((kind, *names), (kind, names[-1]))


def too_many(scenario: Scenario) -> Misfit | None:
    """Before anything is written out: whether that would be more than a machine can hold."""
    total = 0
    for kind in ("sites", "clients"):
        for name, part in getattr(scenario.topology, kind).items():
            each = 1
            if isinstance(part, Site):
                each += sum(host.count or 1 for host in part.hosts.values())
            total += each * (part.count or 1)
            if total > MAX_MACHINES:
                text = f"with {name!r} there are {total} machines; {MAX_MACHINES} are allowed"
                return Misfit(("topology", kind, name), text, "lower `count`")
    return None


def expand(scenario: Scenario) -> Expansion:
    """Write out everything that is counted in `scenario`."""
    work = _Work(scenario)
    sites = dict(work.sites())
    clients = dict(work.clients())
    topology = replace(scenario.topology, sites=sites, clients=clients)
    whole = replace(
        scenario,
        topology=topology,
        policy=tuple(map(work.rule, scenario.policy)),
        vnets={
            name: replace(vnet, policy=None if vnet.policy is None else tuple(map(work.rule, vnet.policy)))
            for name, vnet in scenario.vnets.items()
        },
    )
    return Expansion(whole, work.groups, work.written, tuple(work.misfits.values()))


class _Work:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.groups: dict[str, tuple[str, ...]] = {}
        self.written: dict[tuple[str, ...], tuple[str, ...]] = {}
        self.misfits: dict[Path, Misfit] = {}
        self._pools: dict[str, Iterator[IPAddress]] = {}

    def _copies(self, kind: str, name: str, count: int | None, around: str = "") -> list[tuple[str, int]]:
        """(name, how many places further) of each copy."""
        if count is None:
            return [(name, 0)]
        copies = [(f"{name}-{index}", index) for index in range(count)]
        taken = {} if around else getattr(self.scenario.topology, kind)
        for copy, _ in copies:
            if copy in taken:
                text = f"one of the copies of {name!r} is called {copy!r} too"
                self._misfit(("topology", kind, copy), text, "rename one of them")
        full = [f"{around}/{copy}" if around else copy for copy, _ in copies]
        group = f"{around}/{name}" if around else name
        self.groups[group] = (*self.groups.get(group, ()), *full)
        for copy, _ in copies:
            self.written[(kind, around, copy) if around else (kind, copy)] = (kind, name)
        return copies

    # -- sites

    def sites(self) -> Iterator[tuple[str, Site]]:
        for name, site in self.scenario.topology.sites.items():
            path: Path = ("topology", "sites", name)
            for copy, index in self._copies("sites", name, site.count):
                routes = tuple(
                    self._further(route, index, (*path, "routes", place))
                    for place, route in enumerate(site.routes)
                )
                hosts = {
                    short: host
                    for host_name, host in site.hosts.items()
                    for short, host in self._hosts(copy, host_name, host, site, index)
                }
                connectors = {
                    f"{each}-{index}" if site.count is not None else each: connector
                    for each, connector in site.connectors.items()
                }
                yield (
                    copy,
                    replace(
                        site,
                        routes=routes,
                        hosts=hosts,
                        connectors=connectors,
                        gateway=self._moved(site.gateway, site, index, (*path, "gateway")),
                        router=self._router(site, index, (*path, "router")),
                        count=None,
                    ),
                )

    def _router(self, site: Site, index: int, path: Path) -> Router | None:
        if site.router is None:
            return None
        return replace(
            site.router, ip=self._after(site.router.ip, _step(site.router.ip, site, index), (*path, "ip"))
        )

    def _moved(self, address: IPAddress | None, site: Site, index: int, path: Path) -> IPAddress | None:
        """An address of the LAN, in the copy `index` of its site."""
        return None if address is None else self._after(address, _step(address, site, index), path)

    def _hosts(
        self, site_name: str, name: str, host: Host, site: Site, index: int
    ) -> Iterator[tuple[str, Host]]:
        step = _step(host.ip, site, index)
        path: Path = ("topology", "sites", site_name, "hosts", name)
        gateway = self._moved(host.gateway, site, index, (*path, "gateway"))
        routes = host.routes and tuple(
            replace(
                route, via=self._after(route.via, _step(route.via, site, index), (*path, "routes", place))
            )
            for place, route in enumerate(host.routes)
        )
        for copy, further in self._copies("hosts", name, host.count, site_name):
            if site.count is not None and host.count is not None:
                group = f"{self.written['sites', site_name][1]}/{name}"
                self.groups[group] = (*self.groups.get(group, ()), f"{site_name}/{copy}")
            app = _named(host.app, f"{site_name}-{copy}") if site.count is not None else host.app
            yield (
                copy,
                replace(
                    host,
                    ip=self._after(host.ip, step + further, (*path, "ip")),
                    gateway=gateway,
                    routes=routes,
                    app=app,
                    count=None,
                ),
            )
        if site.count is not None and host.count is None:
            group = f"{self.written['sites', site_name][1]}/{name}"
            self.groups[group] = (*self.groups.get(group, ()), f"{site_name}/{name}")

    # -- clients

    def clients(self) -> Iterator[tuple[str, Client]]:
        for name, client in self.scenario.topology.clients.items():
            path: Path = ("topology", "clients", name)
            for copy, index in self._copies("clients", name, client.count):
                if client.ip is None:
                    ip = self._free(name, client)
                else:
                    ip = self._after(client.ip, index, (*path, "ip"))
                tags = (*client.tags, name) if client.count is not None else client.tags
                yield copy, replace(client, ip=ip, count=None, tags=tags)

    def _free(self, name: str, client: Client) -> IPAddress:
        vnet = client.vnet
        if vnet not in self._pools:
            self._pools[vnet] = self._addresses(vnet)
        found = next(self._pools[vnet], None)
        if found is not None:
            return found
        if vnet in self.scenario.vnets:  # else that is what is wrong
            pool = self.scenario.vnets[vnet].pool
            self._misfit(
                ("topology", "clients", name),
                f"the pool {pool} of vnet {vnet} has no address left for {name!r}",
                "give the vnet a larger `pool`" + (", or lower `count`" if client.count else ""),
            )
        return NOBODY

    def _addresses(self, vnet: str) -> Iterator[IPAddress]:
        """The addresses of a pool that nobody in the file asks for; the first is the PoP's, the last a broadcast."""
        config = self.scenario.vnets.get(vnet)
        if config is None:
            return
        taken = {
            _plus(client.ip, index)
            for client in self.scenario.topology.clients.values()
            if client.vnet == vnet and client.ip is not None
            for index in range(client.count or 1)
        }
        first, last = int.from_bytes(config.pool.network), int.from_bytes(config.pool.last)
        size = len(config.pool.network)
        for number in range(first + 2, last):
            address = IPAddress(number.to_bytes(size))
            if address not in taken:
                yield address

    def _after(self, address: IPAddress, further: int, path: Path) -> IPAddress:
        found = _plus(address, further)
        if found is None:
            self._misfit(path, f"there are not as many addresses after {address}", "begin with a lower one")
        return found or NOBODY

    def _further(self, prefix: Prefix, index: int, path: Path) -> Prefix:
        size = len(prefix.network)
        number = int.from_bytes(prefix.network) + (index << (size * 8 - prefix.length))
        if number >> (size * 8):
            self._misfit(path, f"there are not as many prefixes after {prefix}", "begin with a lower one")
            return prefix
        return Prefix.of(number.to_bytes(size), prefix.length)

    def _misfit(self, path: Path, message: str, fix: str) -> None:
        self.misfits.setdefault(path, Misfit(path, message, fix))

    # -- rules

    def rule(self, rule: RuleFile) -> RuleFile:
        """A rule that names a group means everybody in it."""
        return replace(rule, source=self._selector(rule.source), destination=self._selector(rule.destination))

    def _selector(self, selector: Any) -> Any:
        changes = {
            key: Words(self._names(words))
            for key in ("client", "site", "tunnel")
            if (words := getattr(selector, key)) is not msgspec.UNSET
            and any(word in self.groups for word in words)
        }
        return replace(selector, **changes) if changes else selector

    def _names(self, words: Iterable[str]) -> list[str]:
        return [name for word in words for name in self.groups.get(word, (word,))]


def _named(app: Apps, name: str) -> Apps:
    """The phones of counted sites are called alike: each needs a user of its own."""
    phone = app.sip_phone
    if phone is None or phone.user is not None:
        return app
    return replace(app, sip_phone=replace(phone, user=name))


def _step(address: IPAddress, site: Site, index: int) -> int:
    """How far from the one written the address is that it stands for in the copy `index` of its site."""
    home = next((route for route in site.routes if route.covers(address)), None)
    return index << (len(address) * 8 - home.length) if home is not None else 0


def _plus(address: IPAddress, further: int) -> IPAddress | None:
    number = int.from_bytes(address) + further
    return None if number >> (len(address) * 8) else IPAddress(number.to_bytes(len(address)))
