"""What MASQUE needs beyond its credentials: a listener, a path, and names that clients ask for."""

from __future__ import annotations

from collections.abc import Iterator

from edge.config.certificates import is_ecdsa, leaf
from edge.config.finding import Finding
from edge.config.names import counted
from edge.config.types import (
    DEFAULT_MASQUE_PATH,
    MASQUE_MTU,
    EdgeConfig,
    MasqueConfig,
    TunnelConfig,
)
from edge.document import HostPort
from edge.proto.masque.template import Template
from edge.proto.types import Address

DEFAULT_MASQUE_PORT = 4433  # one that needs no privilege, unlike 443
MOST_CONNECTIONS = 1_000_000
SHORTEST_IDLE, LONGEST_IDLE = 1.0, 600.0  # seconds
RETRY_KEY_SIZE = 32


def masque_beside(listen: Address) -> str:
    """Where to take MASQUE tunnels beside WireGuard's, if nobody says where."""
    port = DEFAULT_MASQUE_PORT + (listen[1] == DEFAULT_MASQUE_PORT) if listen[1] else 0
    return str(HostPort((listen[0], port)))


def check_masque(config: EdgeConfig, command: str) -> Iterator[Finding]:
    tunnels = [tunnel for tunnel in config.tunnels.values() if tunnel.by_masque]
    yield from _mtu(config, tunnels)
    if config.masque is None:
        yield from _no_listener(config, tunnels, command)
        return
    yield from _settings(config.masque)
    yield from _dialect(config.masque, tunnels)


def _no_listener(config: EdgeConfig, tunnels: list[TunnelConfig], command: str) -> Iterator[Finding]:
    if tunnels:
        others = f" and {counted(len(tunnels) - 1, 'other')}" if tunnels[1:] else ""
        makes = f"; `{command} init-masque` makes the certificate" if command else ""
        yield Finding(
            ("tunnels", tunnels[0].name, "tunnel"),
            f"the PoP does not listen for MASQUE, as it must for this tunnel{others}",
            f'add `masque: "{masque_beside(config.listen)}"` to `listen`{makes}',
        )


def _mtu(config: EdgeConfig, tunnels: list[TunnelConfig]) -> Iterator[Finding]:
    """RFC 9484 section 10.1: IPv6 needs it, and the clients assume it."""
    for vnet in config.vnets.values():
        here = [tunnel for tunnel in tunnels if tunnel.vnet == vnet.name]
        if here and vnet.mtu < MASQUE_MTU:
            yield Finding(
                ("vnets", vnet.name, "mtu"),
                f"{vnet.mtu} is less than that of MASQUE tunnels, such as {here[0].name!r}: {MASQUE_MTU}",
                f"{MASQUE_MTU} or more",
                ("tunnels", here[0].name, "tunnel"),
            )


def _settings(masque: MasqueConfig) -> Iterator[Finding]:
    try:
        Template.parse(masque.path)
    except ValueError as error:
        message, _, fix = str(error).partition("; ")
        yield Finding(("masque", "path"), message, fix or DEFAULT_MASQUE_PATH)
    if not 1 <= masque.max_connections <= MOST_CONNECTIONS:
        yield Finding(("masque", "max_connections"), f"between 1 and {MOST_CONNECTIONS}", "10000")
    if not SHORTEST_IDLE <= masque.idle_timeout <= LONGEST_IDLE:
        yield Finding(
            ("masque", "idle_timeout"),
            f"between {SHORTEST_IDLE:g}s and {LONGEST_IDLE:g}s",
            "30s: clients are gone that long before the PoP forgets them",
        )
    if not 1 <= masque.handshake_rate <= MOST_CONNECTIONS:
        yield Finding(
            ("masque", "handshake_rate"), f"between 1 and {MOST_CONNECTIONS} per second", "100, the default"
        )
    if not masque.source_rate > 0:
        yield Finding(("masque", "source_rate"), "more than 0 per second", "10, the default")
    if masque.retry_key and len(masque.retry_key) != RETRY_KEY_SIZE:
        yield Finding(("masque", "retry_key_file"), "a retry key has 32 bytes", "`openssl rand -base64 32`")
    for index, name in enumerate(masque.warp_names):
        if not name or not name.isascii() or name != name.strip() or name.endswith("."):
            yield Finding(
                ("masque", "warp_names", index),
                f"{name!r} is no server name",
                "a name as clients send it (SNI)",
            )


def _dialect(masque: MasqueConfig, tunnels: list[TunnelConfig]) -> Iterator[Finding]:
    """Its clients pin an ECDSA key and take no other."""
    users = [tunnel for tunnel in tunnels if tunnel.client_key]
    if users and not masque.warp_names:
        yield Finding(
            ("masque", "warp_names"),
            f"tunnel {users[0].name!r} is of the WARP dialect, which no server name gets",
            "leave `warp_names` out for the usual ones",
            ("tunnels", users[0].name, "client_key"),
        )
    certificate = leaf(masque.certificate)
    if users and certificate is not None and not is_ecdsa(certificate):
        yield Finding(
            ("masque", "certificate_file"),
            f"clients of the WARP dialect, such as {users[0].name!r}, take ECDSA certificates only",
            "a certificate with an EC P-256 key, as `poplab edge init-masque` makes it",
            ("tunnels", users[0].name, "client_key"),
        )
