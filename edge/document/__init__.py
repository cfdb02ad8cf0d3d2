"""Strict documents: YAML text to typed structs, with every mistake named by file, line, column and fix."""

from edge.document.decode import Document, Places, convert, differences, load, schema, written
from edge.document.diagnose import Mismatch, did_you_mean
from edge.document.flow import flow_command
from edge.document.parse import MAX_BYTES, MAX_NODES, Path
from edge.document.scalars import (
    Duration,
    HostPort,
    IPAddress,
    KeyInfo,
    Prefix,
    Prefixes,
    PublicKey,
    Scalar,
    Sha256,
    Words,
    address_bytes,
    address_text,
    key_bytes,
)

__all__ = [
    "MAX_BYTES",
    "MAX_NODES",
    "Document",
    "Duration",
    "HostPort",
    "IPAddress",
    "KeyInfo",
    "Mismatch",
    "Path",
    "Places",
    "Prefix",
    "Prefixes",
    "PublicKey",
    "Scalar",
    "Sha256",
    "Words",
    "address_bytes",
    "address_text",
    "convert",
    "did_you_mean",
    "differences",
    "flow_command",
    "key_bytes",
    "load",
    "schema",
    "written",
]
