"""What edge.yaml and tunnels.d/*.yaml look like."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from edge.config.rules import RuleFile
from edge.config.types import (
    DEFAULT_HOOK_BUDGET,
    DEFAULT_MASQUE_PATH,
    DEFAULT_MTU,
    DEFAULT_POOL,
    WARP_NAMES,
    Kind,
    Retry,
    TunnelKind,
)
from edge.document import Duration, HostPort, IPAddress, KeyInfo, Prefix, PublicKey, Sha256, written
from edge.proto.forwarding.replica import ProbeSettings

MASQUE_CERTIFICATE = "masque.crt"
MASQUE_KEY = "masque.key"


class Section(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A mapping with fixed keys.

    A key without a value, as in ``preshared_key_file:``, is refused: a slip must not mean "none". Only where a PoP
    does something by default that one may not want, null turns it off.
    """


class ListenFile(Section, kw_only=True, frozen=True, forbid_unknown_fields=True):
    wireguard: HostPort
    masque: HostPort | UnsetType | None = UNSET  # null: not now, although `masque` has settings for it
    metrics: HostPort | None = None  # null: no metrics


class VnetFile(Section, kw_only=True, frozen=True, forbid_unknown_fields=True):
    pool: Prefix = written(DEFAULT_POOL)
    pool6: Prefix | UnsetType = UNSET
    mtu: Annotated[int, msgspec.Meta(ge=576, le=65455)] = DEFAULT_MTU
    default: Literal["allow", "block", "reject"] = "block"
    policy: tuple[RuleFile, ...] = ()
    hooks: tuple[str, ...] = ()
    hook_budget: Duration = written(Duration(DEFAULT_HOOK_BUDGET))
    nested_routes: bool = False


class TunnelFile(Section, kw_only=True, frozen=True, forbid_unknown_fields=True):
    kind: Kind
    vnet: str
    tunnel: TunnelKind = TunnelKind.WIREGUARD
    public_key: PublicKey | UnsetType = UNSET
    token_sha256: Sha256 | UnsetType = UNSET
    client_key: KeyInfo | UnsetType = UNSET
    preshared_key_file: str | UnsetType = UNSET
    addresses: tuple[IPAddress, ...] = ()
    routes: tuple[Prefix, ...] = ()
    site: str | UnsetType = UNSET
    user: str | UnsetType = UNSET
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    keepalive: Duration | UnsetType = UNSET
    endpoint: HostPort | UnsetType = UNSET
    default_route: bool = False
    preference: int = 0


class ProbeFile(Section, kw_only=True, frozen=True, forbid_unknown_fields=True):
    interval: Duration = written(Duration(ProbeSettings().interval))
    misses: int = ProbeSettings().misses
    hold: Duration = written(Duration(ProbeSettings().hold))
    preempt: bool = False


class MasqueFile(Section, kw_only=True, frozen=True, forbid_unknown_fields=True):
    certificate_file: str = MASQUE_CERTIFICATE
    key_file: str = MASQUE_KEY
    endpoint: HostPort | UnsetType = UNSET
    path: str = DEFAULT_MASQUE_PATH
    http2: bool = True
    retry: Retry = Retry.AUTO
    retry_key_file: str | UnsetType = UNSET
    warp_names: tuple[str, ...] = WARP_NAMES
    max_connections: int = 10_000
    idle_timeout: Duration = written(Duration(30.0))
    handshake_rate: float = 100.0
    source_rate: float = 10.0
    keylog_file: str | UnsetType = UNSET


class EdgeFile(Section, kw_only=True, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    name: str
    listen: ListenFile
    endpoint: HostPort | UnsetType = UNSET
    private_key_file: str
    masque: MasqueFile | UnsetType = UNSET
    state: str | UnsetType = UNSET  # without it, in memory
    vnets: dict[str, VnetFile]
    tunnels: dict[str, TunnelFile] = {}
    probe: ProbeFile = written(ProbeFile())
