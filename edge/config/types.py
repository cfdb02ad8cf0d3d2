"""The configuration of a PoP, resolved: keys are bytes, names are checked, nothing refers to a file any more.

Scenarios build these in code; `edge.config.load` builds them from files. A secret never shows in a repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from edge.document import Prefix
from edge.proto.forwarding.policy import Action, Hook, Party, Rule
from edge.proto.forwarding.replica import ProbeSettings
from edge.proto.types import Address

DEFAULT_MTU = 1420  # 1500 less IPv6, UDP and WireGuard headers
DEFAULT_HOOK_BUDGET = 0.005
DEFAULT_POOL = Prefix.parse("100.96.0.0/12")
DEFAULT_MASQUE_PATH = "/.well-known/masque/ip/{target}/{ipproto}/"
WARP_NAMES = ("consumer-masque.cloudflareclient.com", "zt-masque.cloudflareclient.com")
MASQUE_MTU = 1280  # of every MASQUE tunnel: known clients assume it, and a fallback to TCP must not change it


class Retry(StrEnum):
    """When a new QUIC client has to prove its address first (RFC 9000 section 8.1.2)."""

    AUTO = "auto"  # while many handshakes are under way
    ALWAYS = "always"


class TunnelKind(StrEnum):
    """How a tunnel is made."""

    WIREGUARD = "wireguard"
    MASQUE = "masque"  # CONNECT-IP, RFC 9484
    AUTO = "auto"  # either: the peer is where it spoke last


class Kind(StrEnum):
    """What is at the other end of a tunnel."""

    CONNECTOR = "connector"  # the router of a site: traffic of whole prefixes
    CLIENT = "client"  # one device with addresses of the pool


@dataclass(frozen=True, slots=True)
class VnetConfig:
    """One virtual network."""

    name: str
    pool: Prefix = DEFAULT_POOL
    pool6: Prefix | None = None
    mtu: int = DEFAULT_MTU
    default: Action = Action.BLOCK
    policy: tuple[Rule, ...] = ()
    hooks: tuple[Hook, ...] = ()
    hook_budget: float = DEFAULT_HOOK_BUDGET
    nested_routes: bool = False  # a longer prefix may lie inside a shorter one of another tunnel

    @property
    def pools(self) -> tuple[Prefix, ...]:
        return (self.pool,) if self.pool6 is None else (self.pool, self.pool6)

    @property
    def gateways(self) -> tuple[bytes, ...]:
        """The PoP's own addresses in this network: the first of each pool."""
        return tuple(map(_first, self.pools))

    @property
    def gateway4(self) -> bytes:
        return _first(self.pool)

    @property
    def gateway6(self) -> bytes | None:
        return None if self.pool6 is None else _first(self.pool6)


@dataclass(frozen=True, slots=True)
class TunnelConfig:
    """One tunnel: who may attach with which key, and the sources that are its own."""

    name: str
    vnet: str
    kind: Kind
    public_key: bytes = b""  # WireGuard
    preshared_key: bytes | None = field(default=None, repr=False)
    tunnel: TunnelKind = TunnelKind.WIREGUARD
    token_sha256: bytes = b""  # MASQUE: of the bearer token, which is also the password for Basic; 32 bytes
    client_key: bytes = b""  # MASQUE: SubjectPublicKeyInfo (DER) of the client's certificate
    addresses: tuple[bytes, ...] = ()  # its own, from the pool
    routes: tuple[Prefix, ...] = ()  # what lies behind a connector
    site: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    keepalive: float | None = None
    endpoint: Address | None = None  # where to begin; peers roam from there
    default_route: bool = False  # 0.0.0.0/0 or ::/0 is meant
    preference: int = 0  # among the replicas of its site, the smallest first; equal ones as they come

    @property
    def by_wireguard(self) -> bool:
        """Whether the peer may come by WireGuard."""
        return self.tunnel is not TunnelKind.MASQUE

    @property
    def by_masque(self) -> bool:
        """Whether the peer may come by MASQUE."""
        return self.tunnel is not TunnelKind.WIREGUARD

    @property
    def identity(self) -> bytes:
        """What tells the tunnel from all others, whatever its name is."""
        return self.public_key or self.token_sha256 or self.client_key

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """Every source that may come in through this tunnel, and every destination that goes out of it."""
        return (*(Prefix.of(address) for address in self.addresses), *self.routes)

    @property
    def party(self) -> Party:
        """The tunnel as rules and hooks see it."""
        return Party(self.name, self.kind, self.site, self.user, self.groups, self.tags)


@dataclass(frozen=True, slots=True)
class MasqueConfig:
    """How the PoP takes MASQUE tunnels: one port, UDP for HTTP/3 and TCP for HTTP/2."""

    listen: Address
    certificate: bytes  # PEM, the leaf first
    private_key: bytes = field(repr=False)  # PEM
    path: str = DEFAULT_MASQUE_PATH  # template, RFC 9484 section 3
    http2: bool = True
    retry: Retry = Retry.AUTO
    retry_key: bytes = field(
        default=b"", repr=False
    )  # 32 bytes, shared by PoPs behind one address; empty: our own
    warp_names: tuple[str, ...] = WARP_NAMES  # server names (SNI) that get the WARP dialect
    max_connections: int = 10_000
    idle_timeout: float = 30.0  # seconds
    handshake_rate: float = 100.0  # new QUIC connections per second
    source_rate: float = 10.0  # of these, of one address
    keylog: Path | None = None  # TLS secrets in the format of tshark; for a lab only
    endpoint: str = (
        ""  # host:port that clients dial, where it is not `listen` at the host of the PoP's endpoint
    )


@dataclass(frozen=True, slots=True)
class EdgeConfig:
    """A whole PoP."""

    name: str
    listen: Address
    private_key: bytes = field(repr=False)
    vnets: Mapping[str, VnetConfig]
    tunnels: Mapping[str, TunnelConfig] = field(default_factory=dict)
    metrics: Address | None = None
    state: Path | None = None  # None: in memory
    endpoint: str = ""  # host:port that peers dial, where it is not `listen`
    probe: ProbeSettings = field(default_factory=ProbeSettings)  # of the replicas of a site
    masque: MasqueConfig | None = None  # None: WireGuard only


def host_of(endpoint: str) -> str:
    """The host of host:port, without brackets."""
    return endpoint.rpartition(":")[0].strip("[]")


def _first(pool: Prefix) -> bytes:
    return (int.from_bytes(pool.address) + 1).to_bytes(len(pool.address))
