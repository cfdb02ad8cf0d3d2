"""What a QUIC endpoint is told. A secret never shows in a repr."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from edge.config.types import Retry

MAX_DATAGRAM_SIZE = (
    1350  # of UDP payload that we send: 1280 byte packets fit in, and it passes IPv6 and PPPoE
)


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Times are in seconds, rates per second."""

    certificate: bytes  # PEM, the leaf first
    private_key: bytes = field(repr=False)  # PEM
    retry: Retry = Retry.AUTO
    retry_key: bytes = field(default=b"", repr=False)  # 32 bytes, shared by PoPs; empty: our own
    retry_above: int = 64  # AUTO: so many handshakes under way, and newcomers have to prove their address
    wall_offset: float = 0.0  # wall clock less `now`: tokens that PoPs share need a clock that they share
    max_connections: int = 10_000
    half_open_limit: int = 512  # handshakes under way
    handshake_rate: float = 100.0
    source_rate: float = 10.0  # handshakes of one address
    handshake_timeout: float = 10.0
    idle_timeout: float = 30.0
    keepalive: float | None = None  # a PING after so long without a sign of life
    on_secret: Callable[[str], None] | None = field(default=None, repr=False)  # a line of the TLS key log


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """The server is known by its key, or by a certificate of an authority for `server_name`, or by both."""

    server_name: str
    authority: bytes | None = None  # PEM; without it and `server_key`, the authorities of the system
    server_key: bytes | None = None  # SubjectPublicKeyInfo (DER)
    certificate: bytes | None = None  # of ours, PEM
    private_key: bytes | None = field(default=None, repr=False)  # PEM
    handshake_timeout: float = 10.0
    idle_timeout: float = 30.0
    keepalive: float | None = 15.0
    on_secret: Callable[[str], None] | None = field(default=None, repr=False)
