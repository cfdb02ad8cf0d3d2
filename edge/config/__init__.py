"""The configuration of a PoP: what it may contain, what it means, and what is wrong with it."""

from edge.config.checks import check
from edge.config.file import EdgeFile, TunnelFile, VnetFile
from edge.config.finding import Finding
from edge.config.keys import public_key
from edge.config.load import TUNNELS_FOLDER, load
from edge.config.names import NAME_RULE, is_name
from edge.config.replicas import free_addresses, sites
from edge.config.rules import RuleFile, rule
from edge.config.types import DEFAULT_POOL, EdgeConfig, Kind, TunnelConfig, VnetConfig
from edge.proto.forwarding.replica import ProbeSettings

__all__ = [
    "DEFAULT_POOL",
    "NAME_RULE",
    "TUNNELS_FOLDER",
    "EdgeConfig",
    "EdgeFile",
    "Finding",
    "Kind",
    "ProbeSettings",
    "RuleFile",
    "TunnelConfig",
    "TunnelFile",
    "VnetConfig",
    "VnetFile",
    "check",
    "free_addresses",
    "is_name",
    "load",
    "public_key",
    "rule",
    "sites",
]
