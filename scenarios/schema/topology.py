"""Who is there, and where: virtual networks, links, sites with their hosts, clients."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal, Self, get_args

import msgspec

from edge.config import DEFAULT_POOL, RuleFile
from edge.document import Duration, IPAddress, Prefix
from scenarios.schema.apps import Apps
from scenarios.schema.scalars import BitRate, Loss, Share, Size
from scenarios.schema.words import Copies, Name, Section, written

TunnelWord = Literal["wireguard", "masque", "auto"]
"""How a tunnel is made. masque: CONNECT-IP over HTTP/3, or over HTTP/2 where UDP does not get through; auto: masque,
and WireGuard where neither works."""
TUNNEL_WORDS: tuple[TunnelWord, ...] = get_args(TunnelWord)

AgentWord = Literal["poplab", "daemon", "wireguard-go", "xray"]
"""Who makes the tunnel of a far end. poplab: a task of the process that runs the scenario; daemon: `poplab client` or
`poplab connector` in a process of its own; wireguard-go, xray: programs by other people."""


class Vnet(Section, frozen=True, kw_only=True):
    """A virtual network: it shares nothing with the others, not even address space."""

    pool: Prefix = written(DEFAULT_POOL)
    pool6: Prefix | None = None
    """Of clients whose `ip` is an IPv6 one; who has none written gets one of `pool`."""
    mtu: Annotated[int, msgspec.Meta(ge=576, le=65455)] = 1420
    default: Literal["allow", "block", "reject"] = "block"
    policy: tuple[RuleFile, ...] | None = None
    """Rules of this network alone; without them those at the top of the file apply."""

    @property
    def pools(self) -> tuple[Prefix, ...]:
        return (self.pool,) if self.pool6 is None else (self.pool, self.pool6)


class Impairment(Section, frozen=True, kw_only=True):
    """What a path does to datagrams. What is left out stays as it was; nothing of it is on a perfect path."""

    delay: Duration | None = None
    jitter: Duration | None = None
    loss: Loss | None = None
    rate: BitRate | None = None
    queue: Size | None = None
    """Bytes that wait for the rate before the next one is dropped; without it, 100 ms of the rate."""
    reorder: Share | None = None
    duplicate: Share | None = None
    corrupt: Share | None = None
    mtu: Annotated[int, msgspec.Meta(ge=576, le=65535)] | None = None


class Link(Impairment, frozen=True, kw_only=True):
    """A path between a tunnel's far end and the PoP, each way."""

    like: Name | None = None
    """Another link, or a preset: lan, wan, dsl, wifi, lte, satellite, lossy. Its figures hold where none are given."""
    up: Impairment | None = None
    """To the PoP, where that differs."""
    down: Impairment | None = None


LINK_LOCAL: Mapping[int, IPAddress] = MappingProxyType(
    {4: IPAddress.parse("169.254.0.1"), 6: IPAddress.parse("fe80::1")}
)
"""The gateway of a LAN in which no address is free (RFC 3927, RFC 4291): its neighbours know it as on the link."""


class StaticRoute(Section, frozen=True, kw_only=True):
    """A route that somebody wrote into a machine."""

    to: Prefix
    via: IPAddress
    """On the LAN, or the address of the connector where none is free."""


class Host(Section, frozen=True, kw_only=True):
    """A machine in the network of a site. The copies of a counted one have the addresses that follow."""

    ip: IPAddress
    gateway: IPAddress | None = None
    """Its default gateway; without it, what is right for the site's `deploy`."""
    routes: tuple[StaticRoute, ...] | None = None
    """Beside the default gateway; without it, what is right for the site's `deploy`."""
    app: Apps = Apps()
    count: Copies | None = None


class ToConnector(Prefix):
    """What a router sends to the connector."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        if isinstance(value, dict):  # as the routes of a host are written
            to = value.get("to")
            example = to if isinstance(to, str) else "100.96.0.0/12"
            raise ValueError(
                f"the routes of a router all lead to the connector; write prefixes alone: {example}"
            )
        return super().parse(value)


class Router(Section, frozen=True, kw_only=True):
    """The ordinary router of a site. What it has no better route for, it sends to the Internet."""

    ip: IPAddress
    """Its address on the LAN."""
    routes: tuple[ToConnector, ...] | None = None
    """What it sends to the connector; without it, what is right for the site's `deploy`."""


class Connector(Section, frozen=True, kw_only=True):
    """A virtual router of a site."""

    tunnel: TunnelWord | None = None
    """Without it, what its agent speaks, or as the file says."""
    agent: AgentWord = "poplab"
    link: Name | None = None
    keepalive: Duration | None = None


DeployWord = Literal["default-gateway", "intermediate-gateway", "per-host"]
"""How packets of a LAN find the connector. default-gateway: it is every host's default gateway; intermediate-gateway:
the router is, and has routes to it; per-host: so is the router, and every host has routes to the connector."""


class Site(Section, frozen=True, kw_only=True):
    """A network behind connectors. The copies of a counted one have the prefixes and addresses that follow."""

    vnet: Name
    routes: Annotated[tuple[Prefix, ...], msgspec.Meta(min_length=1)]
    deploy: DeployWord = "default-gateway"
    gateway: IPAddress | None = None
    """The address on the LAN that the connectors share; without it, the first free one of the routes."""
    router: Router | None = None
    connectors: Annotated[dict[Name, Connector], msgspec.Meta(max_length=8)] = {}
    """In order of preference; without them, one that is called like the site."""
    hosts: dict[Name, Host] = {}
    link: Name | None = None
    """Of connectors that name none."""
    tags: tuple[str, ...] = ()
    count: Copies | None = None


NatKind = Literal["full-cone", "restricted-cone", "port-restricted", "symmetric", "cgnat"]


class NatBox(Section, frozen=True, kw_only=True):
    """A NAT (RFC 4787) in front of a client."""

    kind: NatKind = "port-restricted"
    idle: Duration | None = None
    """A mapping that nothing used for so long is gone; without it, as is usual for the kind."""


class Client(Section, frozen=True, kw_only=True):
    """One device with a tunnel of its own. The copies of a counted one have the addresses that follow."""

    vnet: Name
    ip: IPAddress | None = None
    """Without it, a free one of the pool."""
    outside: bool = False
    """A device of yours, a phone or a laptop, that joins a world which `poplab up` keeps running. Nothing of it is
    simulated, and its tunnel is WireGuard."""
    tunnel: TunnelWord | None = None
    """Without it, what its agent speaks, or as the file says."""
    agent: AgentWord = "poplab"
    link: Name | None = None
    nat: NatKind | NatBox | None = None
    keepalive: Duration | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    app: Apps = Apps()
    count: Copies | None = None


class Topology(Section, frozen=True, kw_only=True):
    """Who is there, and where."""

    links: dict[Name, Link] = {}
    sites: dict[Name, Site] = {}
    clients: dict[Name, Client] = {}


SPEAKS: Mapping[str, TunnelWord] = MappingProxyType({"wireguard-go": "wireguard", "xray": "masque"})
"""Programs that know one kind of tunnel."""


def own_tunnel(given: Connector | Client) -> TunnelWord | None:
    """The kind of tunnel that a far end has, whatever the file says of all."""
    return given.tunnel or SPEAKS.get(given.agent)
