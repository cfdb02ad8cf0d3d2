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
    def gateway4(self) -> bytes:
        """The PoP's own address in this network: the first of the pool."""
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
    public_key: bytes
    preshared_key: bytes | None = field(default=None, repr=False)
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
    def prefixes(self) -> tuple[Prefix, ...]:
        """Every source that may come in through this tunnel, and every destination that goes out of it."""
        return (*(Prefix.of(address) for address in self.addresses), *self.routes)

    @property
    def party(self) -> Party:
        """The tunnel as rules and hooks see it."""
        return Party(self.name, self.kind, self.site, self.user, self.groups, self.tags)


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


def _first(pool: Prefix) -> bytes:
    return (int.from_bytes(pool.address) + 1).to_bytes(len(pool.address))
