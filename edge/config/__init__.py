"""The configuration of a PoP: what it may contain, what it means, and what is wrong with it."""

from edge.config.advice import advice
from edge.config.certificates import (
    CertificateKey,
    certificate_names,
    check_match,
    leaf,
    read_certificates,
    read_private_key,
    spki,
)
from edge.config.checks import check
from edge.config.file import MASQUE_CERTIFICATE, MASQUE_KEY, EdgeFile, MasqueFile, TunnelFile, VnetFile
from edge.config.finding import Finding
from edge.config.keys import BadFile, public_key
from edge.config.load import CONFIG_NAME, TUNNELS_FOLDER, Reading, load, not_there
from edge.config.masque import masque_beside
from edge.config.names import NAME_RULE, counted, is_name
from edge.config.replicas import free_addresses, sites
from edge.config.rules import RuleFile, rule
from edge.config.types import (
    DEFAULT_POOL,
    MASQUE_MTU,
    WARP_NAMES,
    EdgeConfig,
    Kind,
    MasqueConfig,
    Retry,
    TunnelConfig,
    TunnelKind,
    VnetConfig,
    host_of,
)
from edge.proto.forwarding.replica import ProbeSettings

__all__ = [
    "CONFIG_NAME",
    "DEFAULT_POOL",
    "MASQUE_CERTIFICATE",
    "MASQUE_KEY",
    "MASQUE_MTU",
    "NAME_RULE",
    "TUNNELS_FOLDER",
    "WARP_NAMES",
    "BadFile",
    "CertificateKey",
    "EdgeConfig",
    "EdgeFile",
    "Finding",
    "Kind",
    "MasqueConfig",
    "MasqueFile",
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
    "certificate_names",
    "check",
    "check_match",
    "counted",
    "free_addresses",
    "host_of",
    "is_name",
    "leaf",
    "load",
    "masque_beside",
    "not_there",
    "public_key",
    "read_certificates",
    "read_private_key",
    "rule",
    "sites",
    "spki",
]
