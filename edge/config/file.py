"""What edge.yaml and tunnels.d/*.yaml look like."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edge.config.rules import RuleFile
from edge.config.types import DEFAULT_HOOK_BUDGET, DEFAULT_MTU, DEFAULT_POOL, Kind
from edge.document import Duration, HostPort, IPAddress, Prefix, PublicKey


class Section(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A mapping with fixed keys."""


class ListenFile(Section, kw_only=True, frozen=True, forbid_unknown_fields=True):
    wireguard: HostPort
    metrics: HostPort | None = None


class VnetFile(Section, kw_only=True, frozen=True, forbid_unknown_fields=True):
    pool: Prefix = DEFAULT_POOL
    pool6: Prefix | None = None
    mtu: Annotated[int, msgspec.Meta(ge=576, le=65455)] = DEFAULT_MTU
    default: Literal["allow", "block", "reject"] = "block"
    policy: tuple[RuleFile, ...] = ()
    hooks: tuple[str, ...] = ()
    hook_budget: Duration = Duration(DEFAULT_HOOK_BUDGET)
    nested_routes: bool = False


class TunnelFile(Section, kw_only=True, frozen=True, forbid_unknown_fields=True):
    kind: Kind
    vnet: str
    public_key: PublicKey
    preshared_key_file: str | None = None
    addresses: tuple[IPAddress, ...] = ()
    routes: tuple[Prefix, ...] = ()
    site: str | None = None
    user: str | None = None
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    keepalive: Duration | None = None
    endpoint: HostPort | None = None
    default_route: bool = False


class EdgeFile(Section, kw_only=True, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    name: str
    listen: ListenFile
    endpoint: HostPort | None = None
    private_key_file: str
    state: str | None = None
    vnets: dict[str, VnetFile]
    tunnels: dict[str, TunnelFile] = {}
