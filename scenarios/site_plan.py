"""How the machines of a site are set up: the addresses on its LAN and the route table of each.

Everything is written out, so that simulated machines and real network stacks can be made alike from it:
``ip address add ADDRESS dev LAN`` for each of `addresses`, then ``ip route add`` for each of `static`. The routes of a
site are one link: all of them are on it, whichever of them the address of a machine is from.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from edge.document import IPAddress, Prefix
from scenarios.proto.route_table import Device, Hop, Route, RouteTable
from scenarios.schema import Scenario
from scenarios.schema.topology import LINK_LOCAL, DeployWord, Host, Site

Role = Literal["host", "router", "connector"]

ANY = {4: Prefix.of(bytes(4), 0), 6: Prefix.of(bytes(16), 0)}


def router_name(site: str) -> str:
    """The router of a site among the machines; hosts, clients and connectors cannot have such a name."""
    return f"router:{site}"


@dataclass(frozen=True, slots=True)
class Machine:
    """A member of the LAN."""

    name: str
    """A host as ``hq/intranet``, a connector as it is called, a router as ``router:hq``."""
    role: Role
    addresses: tuple[Prefix, ...]
    """On the LAN, with their prefix lengths: 10.0.50.60/24. An only connector has the shared ones; several have some of
    their own, and the gateway of the moment has those besides."""
    table: RouteTable

    @property
    def static(self) -> tuple[Route, ...]:
        """The routes of the table that are not there already because of an address."""
        connected = {(address.network, address.length) for address in self.addresses}
        return tuple(route for route in self.table if route.via or route.network not in connected)


@dataclass(frozen=True)
class SitePlan:
    """The LAN of a site."""

    site: str
    vnet: str
    mode: DeployWord
    prefixes: tuple[Prefix, ...]
    """What is on the link."""
    remote: tuple[Prefix, ...]
    """What is behind the connector: the pools of the network and the routes of its other sites."""
    shared: tuple[Prefix, ...]
    """Of each IP version, the address that hosts and routers send to, with its length. It is of full length, and on no
    prefix, where the LAN has none free."""
    hosts: tuple[Machine, ...]
    router: Machine | None
    connectors: tuple[Machine, ...]
    plain: bool
    """Whether whatever leaves the LAN goes to the connector: nothing else is there, and no table says otherwise."""

    @property
    def machines(self) -> tuple[Machine, ...]:
        return (*self.hosts, *(() if self.router is None else (self.router,)), *self.connectors)

    def gateway(self, version: int) -> IPAddress | None:
        """The shared address of an IP version."""
        found = next((each for each in self.shared if each.version == version), None)
        return None if found is None else IPAddress(found.address)

    @property
    def gateways(self) -> list[bytes]:
        """The addresses of the connectors, the shared ones first."""
        own = (each.address for machine in self.connectors for each in machine.addresses)
        return list(dict.fromkeys([*(each.address for each in self.shared), *own]))

    @property
    def routers(self) -> list[bytes]:
        """The addresses of the router."""
        return [] if self.router is None else [each.address for each in self.router.addresses]

    @cached_property
    def by_name(self) -> dict[str, Machine]:
        return {machine.name: machine for machine in self.machines}

    @cached_property
    def by_address(self) -> dict[bytes, str]:
        """Who answers for an address of the LAN; the first connector for the shared one."""
        shared = {each.address: self.connectors[0].name for each in self.shared}
        return shared | {
            each.address: machine.name for machine in self.machines for each in machine.addresses
        }

    def next_hop(self, machine: str, destination: bytes) -> Hop | None:
        """Where `machine` sends what is for `destination`; None: nowhere. KeyError if it is not of this LAN."""
        return self.by_name[machine].table.lookup(destination)


class SitePlans(Mapping[str, SitePlan]):
    """Of every site of a scenario in which nothing is counted any more, each made when it is first asked for."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._plans: dict[str, SitePlan] = {}
        self._sites = {  # by connector
            connector: name for name, site in scenario.topology.sites.items() for connector in site.connectors
        }
        self._owned: dict[str, list[tuple[Prefix, str]]] = {}  # by vnet: routes and the sites that have them
        for name, site in scenario.topology.sites.items():
            self._owned.setdefault(site.vnet, []).extend((route, name) for route in site.routes)

    def __getitem__(self, name: str) -> SitePlan:
        plan = self._plans.get(name)
        if plan is None:
            site = self._scenario.topology.sites[name]
            pools = self._scenario.vnets[site.vnet].pools
            others = (route for route, owner in self._owned[site.vnet] if owner != name)
            plan = self._plans[name] = _Planner(name, site, (*pools, *others)).plan()
        return plan

    def of(self, machine: str) -> SitePlan:
        """That of the LAN of a machine; KeyError if it is on none."""
        site = machine.partition("/")[0].removeprefix(router_name(""))
        return self[self._sites.get(site, site)]

    def addresses(self, site: str) -> dict[str, tuple[IPAddress, ...]]:
        """Those of each connector on the LAN of `site`: its own, then the shared ones. It costs less than the plan."""
        return _Planner(site, self._scenario.topology.sites[site], ()).of_connectors()

    def __iter__(self) -> Iterator[str]:
        return iter(self._scenario.topology.sites)

    def __len__(self) -> int:
        return len(self._scenario.topology.sites)


def is_plain(site: Site) -> bool:
    """Whether the plan of a site will say so; it costs nothing to ask."""
    return (
        site.deploy == "default-gateway"
        and site.router is None
        and all(host.gateway is None and host.routes is None for host in site.hosts.values())
    )


class _Planner:
    def __init__(self, name: str, site: Site, remote: tuple[Prefix, ...]) -> None:
        self._name = name
        self._site = site
        self._remote = remote
        self._prefixes = tuple(dict.fromkeys(site.routes))
        self._tables: dict[object, RouteTable] = {}
        self._versions = sorted({prefix.version for prefix in self._prefixes})
        self._taken = {bytes(host.ip) for host in site.hosts.values()}
        written = (site.gateway, None if site.router is None else site.router.ip)
        self._taken.update(bytes(address) for address in written if address is not None)
        self._gateways = {
            version: self._own(site.gateway, version) or LINK_LOCAL[version] for version in self._versions
        }
        self._routers = {
            version: found
            for version in self._versions
            if site.router is not None and (found := self._own(site.router.ip, version)) is not None
        }
        connectors = list(site.connectors) or [name]
        single = len(connectors) == 1
        self._connectors = {
            connector: list(self._gateways.values())
            if single
            else [address for version in self._versions if (address := self._free(version))]
            for connector in connectors
        }

    def plan(self) -> SitePlan:
        site, name = self._site, self._name
        return SitePlan(
            name,
            site.vnet,
            site.deploy,
            self._prefixes,
            self._remote,
            tuple(map(self._with_length, self._gateways.values())),
            tuple(
                Machine(
                    f"{name}/{short}",
                    "host",
                    (self._with_length(host.ip),),
                    self._of_host(host),
                )
                for short, host in site.hosts.items()
            ),
            self._router(),
            tuple(
                Machine(
                    connector, "connector", tuple(map(self._with_length, addresses)), self._of_connector()
                )
                for connector, addresses in self._connectors.items()
            ),
            is_plain(site),
        )

    def of_connectors(self) -> dict[str, tuple[IPAddress, ...]]:
        shared = self._gateways.values()
        return {name: tuple(dict.fromkeys([*own, *shared])) for name, own in self._connectors.items()}

    def _link(self, versions: Collection[int]) -> list[Route]:
        """What is on the link comes first in a table: next hops are reached by it."""
        return [Route(prefix) for prefix in self._prefixes if prefix.version in versions]

    def _of_host(self, host: Host) -> RouteTable:
        """Hosts that are alike share a table."""
        key = (_version(host.ip), host.gateway, host.routes)
        if key not in self._tables:
            self._tables[key] = RouteTable([*self._link([_version(host.ip)]), *self._routes_of(host)])
        return self._tables[key]

    def _routes_of(self, host: Host) -> Iterator[Route]:
        mode, version = self._site.deploy, _version(host.ip)
        default = host.gateway
        if default is None:
            default = (self._gateways if mode == "default-gateway" else self._routers).get(version)
        if host.routes is not None:
            yield from (self._via(route.to, route.via) for route in host.routes)
        elif mode == "per-host":
            yield from (self._to_connector(prefix) for prefix in self._remote if prefix.version == version)
        if default is not None:
            yield self._via(ANY[version], default)

    def _router(self) -> Machine | None:
        router = self._site.router
        if router is None:
            return None
        routes: Iterable[Prefix] | None = router.routes
        if routes is None:
            routes = self._remote if self._site.deploy == "intermediate-gateway" else ()
        static = [self._to_connector(prefix) for prefix in routes if prefix.version in self._routers]
        internet = [Route(ANY[version], Device.INTERNET) for version in self._routers]
        return Machine(
            router_name(self._name),
            "router",
            tuple(map(self._with_length, self._routers.values())),
            RouteTable([*self._link(self._routers), *static, *internet]),
        )

    def _of_connector(self) -> RouteTable:
        return RouteTable(
            [
                *self._link(self._versions),
                *(Route(ANY[version], Device.TUNNEL) for version in self._versions),
            ]
        )

    def _to_connector(self, prefix: Prefix) -> Route:
        return self._via(prefix, self._gateways[prefix.version])

    def _via(self, prefix: Prefix, address: IPAddress) -> Route:
        onlink = not any(each.covers(address) for each in self._prefixes)
        return Route(prefix, Device.LAN, address, onlink)

    def _with_length(self, address: IPAddress) -> Prefix:
        """As it is written on an interface: with the length of the longest prefix of the link that holds it."""
        lengths = [each.length for each in self._prefixes if each.covers(address)]
        return Prefix.of(address, max(lengths, default=len(address) * 8))

    def _own(self, written: IPAddress | None, version: int) -> IPAddress | None:
        """The address as written if it is of that version, else a free one."""
        if written is not None and _version(written) == version:
            return written
        return self._free(version)

    def _free(self, version: int) -> IPAddress | None:
        """The first host address of the link's prefixes that nobody has; taken from now on. None if there is none."""
        for prefix in self._prefixes:
            if prefix.version == version and (found := self._free_of(prefix)) is not None:
                self._taken.add(found)
                return IPAddress(found)
        return None

    def _free_of(self, prefix: Prefix) -> bytes | None:
        size = len(prefix.address)
        first, last = int.from_bytes(prefix.network), int.from_bytes(prefix.last)
        if last - first > 1:  # of two, both are hosts (RFC 3021, RFC 6164)
            first += 1  # the network itself; in IPv6 all its routers (RFC 4291 2.6.1)
            last -= prefix.version == 4  # the broadcast
        elif last == first:
            return None
        addresses = (number.to_bytes(size) for number in range(first, last + 1))
        return next((address for address in addresses if address not in self._taken), None)


def _version(address: bytes) -> int:
    return 4 if len(address) == 4 else 6
