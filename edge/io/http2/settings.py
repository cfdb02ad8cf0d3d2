"""What an end of HTTP/2 is given: its keys, whom it trusts, how long it waits; and what it counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. HTTP/2 has no idle timeout of its own, and TCP does not notice a peer that is gone."""

    handshake: float = 10.0  # from the connection to the peer's first SETTINGS; slow ones are strangers
    keep_alive: float = 10.0  # of silence, then a PING
    dead: float = 30.0  # without a sign of life, or without room for what waits
    idle: float = 30.0  # a server's connection without a stream


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """`certificate` is PEM, the leaf first; `private_key` PEM. `key_log` gets lines of the NSS key log format."""

    certificate: bytes
    private_key: bytes = field(repr=False)
    max_connections: int = 10_000
    max_half_open: int = 256  # connections whose handshake is not complete; one more ends the oldest of them
    timing: Timing = Timing()
    key_log: Callable[[bytes], None] | None = None


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """Whom to trust is either `ca` (PEM; then the certificate must be for `server_name`) or `pinned_key`.

    `server_name` is a DNS name, sent as SNI, or an IP address. `certificate` and `private_key` (PEM) are the client's.
    """

    server_name: str
    ca: bytes | None = None
    pinned_key: bytes | None = None  # SubjectPublicKeyInfo, DER
    certificate: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)
    timing: Timing = Timing()
    key_log: Callable[[bytes], None] | None = None

    def __post_init__(self) -> None:
        if (self.ca is None) == (self.pinned_key is None):
            raise ValueError("either a CA or a pinned key says who the server is")
        if (self.certificate is None) != (self.private_key is None):
            raise ValueError("a client's certificate and its private key go together")


@dataclass(slots=True)
class Counters:
    """Connections, by what became of them. Every one that was accepted is open or in exactly one of the last nine."""

    accepted: int = 0
    refused: int = 0  # as many as allowed were open; never accepted
    ready: int = 0  # handshakes completed
    closed: int = 0  # by us, without fault of the peer
    closed_by_peer: int = 0
    tls_failed: int = 0  # not TLS, no version or algorithm in common, or nobody we trust
    malformed: int = 0  # violated HTTP/2
    flooded: int = 0  # did what is allowed, but too much of it
    late: int = 0  # no complete handshake in time
    evicted: int = 0  # no complete handshake, and others wanted the place
    dead: int = 0  # no sign of life, or takes nothing
    idle: int = 0  # asked for nothing
