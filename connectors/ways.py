"""The ways to a PoP, made from what an enrolment gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from connectors.proto.masque_way import Http2Way, QuicWay
from connectors.proto.way import Way
from connectors.proto.wireguard_way import WireGuardWay
from edge.io import http2, quic
from edge.proto.masque.client import ClientSession
from edge.proto.masque.credential import Credential
from edge.proto.masque.request import Dialect
from edge.proto.masque.template import Template
from edge.proto.types import Address
from edge.proto.wireguard import Aead, Device, Identity, TimestampClock

TunnelWord = Literal["wireguard", "masque", "auto"]
"""auto: MASQUE over QUIC, else over HTTP/2, else WireGuard."""

DEFAULT_PATH = "/.well-known/masque/ip/{target}/{ipproto}/"


@dataclass(frozen=True, slots=True)
class WireGuardTarget:
    """A PoP as a WireGuard peer; keys are 32 bytes. `keepalive` in seconds."""

    pop: Address
    pop_public: bytes
    private_key: bytes = field(repr=False)
    psk: bytes | None = field(default=None, repr=False)
    keepalive: float | None = 25.0


@dataclass(frozen=True, slots=True)
class MasqueTarget:
    """A PoP that takes MASQUE. Whom to trust is `ca` (PEM, then for `server_name`) or `pinned_key` (DER).

    Who we are is told by `token`, or by `certificate` and `private_key` (PEM), as in the WARP dialect.
    """

    pop: Address
    server_name: str
    ca: bytes | None = None
    pinned_key: bytes | None = None
    user: str = ""
    token: bytes = field(default=b"", repr=False)
    certificate: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)
    path: str = DEFAULT_PATH
    authority: str = ""  # without it, the server's name and port
    dialect: Dialect = Dialect.STANDARD
    http2: bool = True


def masque_ways(target: MasqueTarget, *, rng: Callable[[int], bytes]) -> list[Way]:
    """HTTP/3 first."""
    template = Template.parse(target.path)
    host = f"[{target.server_name}]" if ":" in target.server_name else target.server_name
    authority = target.authority or (host if target.dialect is Dialect.WARP else f"{host}:{target.pop[1]}")

    def session() -> ClientSession:
        return ClientSession(
            authority=authority,
            template=template,
            credential=Credential(target.user, target.token) if target.token else None,
            dialect=target.dialect,
        )

    def dial_quic(now: float) -> quic.QuicClient:
        settings = quic.ClientSettings(
            server_name=target.server_name,
            authority=target.ca,
            server_key=target.pinned_key,
            certificate=target.certificate,
            private_key=target.private_key,
        )
        return quic.QuicClient(settings, target.pop, now=now)

    def dial_http2(number: int, now: float) -> http2.Http2Client:
        settings = http2.ClientSettings(
            server_name=target.server_name,
            ca=target.ca,
            pinned_key=target.pinned_key,
            certificate=target.certificate,
            private_key=target.private_key,
        )
        return http2.Http2Client(settings, number, peer=target.pop, now=now, rng=rng)

    ways: list[Way] = [QuicWay(target.pop, dial_quic, session)]
    if target.http2:
        ways.append(Http2Way(target.pop, dial_http2, session))
    return ways


def wireguard_way(
    target: WireGuardTarget, *, now: float, epoch: float, rng: Callable[[int], bytes], aead: Aead
) -> WireGuardWay:
    device = Device(
        Identity.from_bytes(target.private_key), rng=rng, clock=TimestampClock(epoch), now=now, aead=aead
    )
    tunnel = device.add_peer(
        "pop",
        target.pop_public,
        psk=target.psk,
        endpoint=target.pop,
        persistent_keepalive=target.keepalive,
    )
    return WireGuardWay(device, tunnel)
