"""The configuration of a PoP: what it may contain, what it means, and what is wrong with it."""

from edge.config.advice import advice
from edge.config.checks import check
from edge.config.file import EdgeFile, TunnelFile, VnetFile
from edge.config.finding import Finding
from edge.config.keys import public_key
from edge.config.load import CONFIG_NAME, TUNNELS_FOLDER, Reading, load, not_there
from edge.config.names import NAME_RULE, counted, is_name
from edge.config.replicas import free_addresses, sites
from edge.config.rules import RuleFile, rule
from edge.config.types import (
    DEFAULT_POOL,
    MASQUE_MTU,
    EdgeConfig,
    Kind,
    MasqueConfig,
    Retry,
    TunnelConfig,
    TunnelKind,
    VnetConfig,
)
from edge.proto.forwarding.replica import ProbeSettings

__all__ = [
    "CONFIG_NAME",
    "DEFAULT_POOL",
    "MASQUE_MTU",
    "NAME_RULE",
    "TUNNELS_FOLDER",
    "EdgeConfig",
    "EdgeFile",
    "Finding",
    "Kind",
    "MasqueConfig",
    "ProbeSettings",
    "Reading",
    "Retry",
    "RuleFile",
    "TunnelConfig",
    "TunnelFile",
    "TunnelKind",
    "VnetConfig",
    "VnetFile",
    "advice",
    "check",
    "counted",
    "free_addresses",
    "is_name",
    "load",
    "not_there",
    "public_key",
    "rule",
    "sites",
]
