"""A world in memory: the PoP's configuration with fresh keys, and every host with its applications. Nothing runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_network
from random import Random
from typing import Any

from connectors.proto import Watch
from connectors.ways import MasqueTarget
from edge.config import (
    MASQUE_MTU,
    EdgeConfig,
    Kind,
    MasqueConfig,
    RuleFile,
    TunnelConfig,
    TunnelKind,
    VnetConfig,
    check,
    public_key,
    rule,
)
from edge.document import IPAddress, Path, Prefix
from edge.errors import ConfigError, Problem
from edge.proto.forwarding import Action, Observer
from edge.proto.types import Address
from scenarios.casting import Casting, Member, stream
from scenarios.certificate import SERVER_NAME, Certificate
from scenarios.links import nat, path_profile
from scenarios.outside import Identities, Lookout
from scenarios.proto.host import Host
from scenarios.proto.lan import Lan
from scenarios.proto.lan_router import LanRouter
from scenarios.proto.ledger import Ledger
from scenarios.proto.link_pair import LinkPair
from scenarios.proto.nat import Nat
from scenarios.proto.premises import Premises
from scenarios.proto.real_host import RealHost
from scenarios.proto.routed_lan import RoutedLan
from scenarios.proto.tcp import StackLimits
from scenarios.schema import Connector, Scenario, Script
from scenarios.schema.topology import AgentWord, Client, TunnelWord, own_tunnel
from scenarios.site_plan import SitePlan, SitePlans, is_plain
from scenarios.trace.recorder import Recorder

FAST = 10_000.0
"""Handshakes per second: in a world all tunnels come up at once, and on loopback from one address."""


@dataclass(frozen=True, slots=True)
class End:
    """The far end of one tunnel: what a fabric has to bring up."""

    name: str
    vnet: str
    kind: Kind
    premises: Premises
    private_key: bytes = field(repr=False)
    preshared_key: bytes = field(repr=False)
    path: Callable[[], LinkPair]
    """A new path to the PoP: with it begins a new underlay."""
    nat: Callable[[str], Nat | None]
    """The NAT in front of it with the given public address; None if there is none."""
    routes: tuple[Prefix, ...] = ()
    address: IPAddress | None = None
    """A connector's own, if it has stand-ins: the PoP asks there whether it is alive."""
    on_lan: tuple[IPAddress, ...] = ()
    """A connector's own on the LAN of its site, then those that it shares with its stand-ins."""
    preference: int = 0
    keepalive: float | None = None
    mtu: int = 1420
    """Of the tunnel: the largest IP packet that it takes."""
    tunnel: TunnelWord = "wireguard"
    token: bytes = field(default=b"", repr=False)
    """Of a MASQUE tunnel."""
    agent: AgentWord = "poplab"
    watch: Watch | None = field(default=None, repr=False)
    """Who looks on at the tunnel of a connector."""

    @property
    def has_choice(self) -> bool:
        """Whether it may reach the PoP in several ways."""
        return self.tunnel != "wireguard"

    @property
    def networks(self) -> list[IPv4Network | IPv6Network]:
        return [ip_network(str(route)) for route in self.routes]


@dataclass(frozen=True)
class World:
    """Everything that a fabric needs, and everything that steps and conditions look at."""

    script: Script
    seed: int
    config: EdgeConfig
    ends: tuple[End, ...]
    members: dict[str, Member]
    ledger: Ledger
    plans: SitePlans
    """How the LANs of its sites are set up."""
    recorder: Recorder | None = None
    """Who watches all of it."""
    certificate: Certificate | None = None
    """The PoP's, if it takes MASQUE."""
    outside: tuple[End, ...] = ()
    """Tunnels to devices of the user: no fabric brings them up."""
    lookout: Lookout | None = None
    """Who sees what passes the PoP, if that is wanted or there are such devices."""

    @property
    def observer(self) -> Observer | None:
        """Who is told by the PoP what becomes of every packet."""
        return self.recorder if self.lookout is None else self.lookout

    @property
    def scenario(self) -> Scenario:
        return self.script.scenario

    @cached_property
    def addresses(self) -> list[str]:
        """Of all hosts."""
        return sorted({member.host.address for member in self.members.values()})

    @cached_property
    def _premises(self) -> dict[str, Premises]:
        return {end.premises.inside.name: end.premises for end in (*self.ends, *self.outside)}

    def premises(self, name: str) -> Premises:
        """A site, or a client's device."""
        return self._premises[name]

    def stream(self, name: str) -> Random:
        """The random numbers of `name`."""
        return stream(self.seed, name)


def masque_target(end: End, certificate: Certificate, pop: Address) -> MasqueTarget:
    """What the far end of a MASQUE tunnel knows of the PoP at `pop`."""
    return MasqueTarget(pop, SERVER_NAME, pinned_key=certificate.public_key, user=end.name, token=end.token)


def build(
    script: Script,
    *,
    seed: int | None = None,
    secret: Callable[[int], bytes] | None = None,
    recorder: Recorder | None = None,
    identities: Identities | None = None,
    watched: bool = False,
) -> World:
    """The world of a checked scenario; ConfigError if no PoP would serve it.

    Keys come from `secret`; without it they follow from the seed, so that a run can be repeated to the byte. Those of
    the PoP and of devices from outside are `identities`, if given. `recorder` sees every packet at every host, at the
    PoP and on the paths. `watched`: somebody looks on at what the PoP does.
    """
    scenario = script.scenario
    chosen = scenario.seed if seed is None else seed
    make_key = secret or Random(f"{chosen}/keys").randbytes
    ledger = Ledger()
    cast = script.cast
    hosts = {
        actor.name: (RealHost if actor.name in cast.real | cast.outside else Host)(
            actor.name,
            str(actor.ip),
            vnet=actor.vnet,
            ledger=ledger,
            rng=Random(f"{chosen}/{actor.name}/tcp"),
            **_interface(scenario, actor.name),
        )
        for actor in cast.actors.values()
    }
    plans = SitePlans(scenario)
    every = list(_ends(scenario, hosts, plans, chosen, make_key))
    ends = tuple(end for end in every if end.name not in cast.outside)
    guests = tuple(_known(end, identities) for end in every if end.name in cast.outside)
    certificate = Certificate(make_key(32)) if any(end.tunnel != "wireguard" for end in ends) else None
    config = EdgeConfig(
        name=scenario.name,
        listen=("127.0.0.1", 0),
        private_key=make_key(32) if identities is None else identities.pop,
        vnets={name: _vnet(scenario, name) for name in scenario.vnets},
        tunnels={end.name: _tunnel(scenario, end) for end in (*ends, *guests)},
        masque=None
        if certificate is None
        else MasqueConfig(
            ("127.0.0.1", 0),
            certificate=certificate.pem,
            private_key=certificate.private_pem,
            handshake_rate=FAST,
            source_rate=FAST,
        ),
    )
    problems = [
        script.problem(_place(finding.path, scenario), finding.message, _in_a_scenario(finding.fix))
        for finding in check(config)
    ]
    if problems:
        raise ConfigError(problems)
    for name, vnet in config.vnets.items():
        ledger.routers[name] = set(vnet.gateways)
    for name, site in scenario.topology.sites.items():
        if site.router is not None:
            ledger.routers[site.vnet].update(plans[name].routers)
    for each in every:
        ledger.routers[each.vnet].update(each.on_lan)
    if recorder is not None:
        ends = tuple(_watched(end, recorder) for end in ends)
        for host in hosts.values():
            host.tap = recorder
    devices = {
        name: host
        for name, host in hosts.items()
        if (name in cast.outside or name in cast.proxied) and isinstance(host, RealHost)
    }
    lookout = Lookout(devices, recorder) if devices or watched else None
    world = World(
        script,
        chosen,
        config,
        ends,
        {},
        ledger,
        plans,
        recorder,
        certificate,
        outside=guests,
        lookout=lookout,
    )
    premises = {host.name: end.premises for end in every for host in end.premises.hosts}
    casting = Casting(script, chosen, {end.name: end.private_key for end in guests})
    for actor in cast.actors.values():
        world.members[actor.name] = casting.member(actor, hosts[actor.name], premises[actor.name])
    return world


def _known(end: End, identities: Identities | None) -> End:
    """A device from outside with the keys that it had before, if it had any."""
    own = None if identities is None else identities.outside.get(end.name)
    return end if own is None else replace(end, private_key=own.private_key, preshared_key=own.preshared_key)


def _watched(end: End, recorder: Recorder) -> End:
    """`end`, whose losses are heard."""
    site = end.premises.inside.name
    end.premises.on_lost = lambda reason, packets: recorder.lost_inside(site, end.vnet, reason, packets)
    return replace(
        end,
        path=lambda: recorder.follow(end.path(), end.name, end.vnet),
        watch=recorder.at_connector(end.name) if end.kind is Kind.CONNECTOR else None,
    )


def _ends(
    scenario: Scenario,
    hosts: dict[str, Host],
    plans: SitePlans,
    seed: int,
    make_key: Callable[[int], bytes],
) -> Iterator[End]:
    topology = scenario.topology

    def end(
        name: str,
        vnet: str,
        kind: Kind,
        premises: Premises,
        given: Connector | Client,
        link: str | None = None,
        **rest: Any,
    ) -> End:
        profile = path_profile(topology.links, given.link or link)
        tunnel = own_tunnel(given) or scenario.tunnel
        if isinstance(given, Client) and given.outside:
            tunnel = "wireguard"
        box = given.nat if isinstance(given, Client) else None
        return End(
            name,
            vnet,
            kind,
            premises,
            make_key(32),
            make_key(32),
            path=lambda: LinkPair.of(profile, stream(seed, f"{name}/up"), stream(seed, f"{name}/down")),
            nat=lambda public: nat(box, public, stream(seed, f"{name}/nat")),
            keepalive=given.keepalive,
            tunnel=tunnel,
            agent=given.agent,
            mtu=_tunnel_mtu(scenario, vnet, tunnel),
            token=b"" if tunnel == "wireguard" else make_key(32).hex().encode(),
            **rest,
        )

    spare = {name: _spare_addresses(scenario, name) for name in scenario.vnets}
    for name, site in topology.sites.items():
        connectors = site.connectors or {name: Connector()}
        members = [hosts[f"{name}/{short}"] for short in site.hosts]
        lan = Lan(name, members) if is_plain(site) else _routed(plans[name], members)
        premises = Premises(lan, list(connectors))
        on_lan = plans.addresses(name)
        for preference, (connector, given) in enumerate(connectors.items()):
            yield end(
                connector,
                site.vnet,
                Kind.CONNECTOR,
                premises,
                given,
                link=site.link,
                routes=site.routes,
                address=next(spare[site.vnet]) if len(connectors) > 1 else None,
                on_lan=on_lan[connector],
                preference=preference,
            )
    for name, client in topology.clients.items():
        yield end(name, client.vnet, Kind.CLIENT, Premises(hosts[name], [name]), client)


def _routed(plan: SitePlan, hosts: list[Host]) -> Lan:
    """The LAN of a site where route tables decide."""
    router = plan.router
    return RoutedLan(
        plan.site,
        hosts,
        tables={machine.name: machine.table for machine in plan.hosts},
        gateways=plan.gateways,
        router=None
        if router is None
        else LanRouter([each.address for each in router.addresses], router.table),
        connector=LanRouter([each.address for each in plan.shared], plan.connectors[0].table),
    )


def _tunnel_mtu(scenario: Scenario, vnet: str, tunnel: TunnelWord) -> int:
    """What the configuration of a far end says; that of MASQUE is the same whichever way it goes."""
    mtu = scenario.vnets[vnet].mtu
    return mtu if tunnel == "wireguard" else min(mtu, MASQUE_MTU)


def _interface(scenario: Scenario, name: str) -> dict[str, Any]:
    """The interface of a host: that of a client is its tunnel, that of a site's host an Ethernet."""
    client = scenario.topology.clients.get(name)
    if client is None:
        return {}
    tunnel = "wireguard" if client.outside else own_tunnel(client) or scenario.tunnel
    mtu = _tunnel_mtu(scenario, client.vnet, tunnel)
    return {"mtu": mtu, "tcp_limits": StackLimits(mtu=mtu)}


def _spare_addresses(scenario: Scenario, vnet: str) -> Iterator[IPAddress]:
    """Addresses of the pool that nobody in the file has, from its end."""
    pool = scenario.vnets[vnet].pool
    taken = {client.ip for client in scenario.topology.clients.values() if client.vnet == vnet}
    for number in range(int.from_bytes(pool.last) - 1, int.from_bytes(pool.network) + 1, -1):
        address = IPAddress(number.to_bytes(len(pool.network)))
        if address not in taken:
            yield address
    raise ConfigError(
        [Problem("", 0, 0, f"the pool of {vnet!r} has no address left for a connector", "enlarge it")]
    )


def _vnet(scenario: Scenario, name: str) -> VnetConfig:
    vnet = scenario.vnets[name]
    rules = (
        vnet.policy
        if vnet.policy is not None
        else [text for text in scenario.policy if _concerns(text, name, scenario)]
    )
    return VnetConfig(
        name=name,
        pool=vnet.pool,
        pool6=vnet.pool6,
        mtu=vnet.mtu,
        default=Action(vnet.default),
        policy=tuple(rule(text) for text in rules),
    )


def _concerns(text: RuleFile, vnet: str, scenario: Scenario) -> bool:
    """Whether a rule of the whole file is for `vnet`: it is not if it names another network or somebody in it."""
    if text.vnets and vnet not in text.vnets:
        return False
    topology = scenario.topology
    home = {name: site.vnet for name, site in topology.sites.items()}
    home |= {name: client.vnet for name, client in topology.clients.items()}
    home |= {other: site.vnet for site in topology.sites.values() for other in site.connectors}
    sides = (text.source, text.destination)
    named = [
        name for side in sides for words in (side.tunnel, side.site, side.client) for name in words or ()
    ]
    return all(home.get(name, vnet) == vnet for name in named)


def _tunnel(scenario: Scenario, end: End) -> TunnelConfig:
    kind = TunnelKind(end.tunnel)
    by_wireguard = kind is not TunnelKind.MASQUE
    credentials: dict[str, Any] = {
        "tunnel": kind,
        "public_key": public_key(end.private_key) if by_wireguard else b"",
        "preshared_key": end.preshared_key if by_wireguard else None,
        "token_sha256": sha256(end.token).digest() if end.token else b"",
    }
    if end.kind is Kind.CONNECTOR:
        site = end.premises.inside.name
        return TunnelConfig(
            name=end.name,
            vnet=end.vnet,
            kind=end.kind,
            **credentials,
            addresses=() if end.address is None else (end.address,),
            preference=end.preference,
            routes=end.routes,
            site=site,
            tags=scenario.topology.sites[site].tags,
        )
    client = scenario.topology.clients[end.name]
    assert client.ip is not None, "as after the expansion"
    return TunnelConfig(
        name=end.name,
        vnet=end.vnet,
        kind=end.kind,
        **credentials,
        addresses=(client.ip,),
        user=client.user or end.name,
        groups=client.groups,
        tags=client.tags,
    )


def _in_a_scenario(fix: str) -> str:
    """Advice for the configuration of a PoP, without the key that only that has."""
    return fix.partition(", or set `nested_routes: true`")[0]


def _place(path: Path, scenario: Scenario) -> Path:
    """Where in the scenario a mistake of the PoP's configuration was written."""
    match path:
        case ("vnets", str() as name, "policy", *rest) if scenario.vnets[name].policy is None:
            return ("policy", *rest)
        case ("tunnels", str() as name, "addresses", *_):
            return ("topology", "clients", name, "ip")
        case ("tunnels", str() as name, *rest):
            for site, given in scenario.topology.sites.items():
                if name == site or name in given.connectors:
                    return ("topology", "sites", site, *rest)
            return ("topology", "clients", name, *rest)
        case _:
            return path
