"""The ways to a PoP, made from what an enrolment gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from connectors.proto.choosing_end import ChoosingEnd
from connectors.proto.masque_way import Http2Way, QuicWay
from connectors.proto.side import PacketSide
from connectors.proto.tunnel_end import TunnelEnd
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
    """A PoP that takes MASQUE, and `others` that would do as well.

    Whom to trust is `ca` (PEM, then for `server_name`) or `pinned_key` (DER).

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
    others: tuple[Address, ...] = ()


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

    def dial_quic(pop: Address, now: float) -> quic.QuicClient:
        settings = quic.ClientSettings(
            server_name=target.server_name,
            authority=target.ca,
            server_key=target.pinned_key,
            certificate=target.certificate,
            private_key=target.private_key,
        )
        return quic.QuicClient(settings, pop, now=now)

    def make_http2(pop: Address, now: float) -> http2.Http2Client:
        settings = http2.ClientSettings(
            server_name=target.server_name,
            ca=target.ca,
            pinned_key=target.pinned_key,
            certificate=target.certificate,
            private_key=target.private_key,
        )
        return http2.Http2Client(settings, peer=pop, now=now, rng=rng)

    pops = (target.pop, *target.others)
    ways: list[Way] = [QuicWay(pops, dial_quic, session)]
    if target.http2:
        ways.append(Http2Way(pops, make_http2, session))
    return ways


def make_end(
    tunnel: TunnelWord,
    side: PacketSide,
    *,
    wireguard: WireGuardTarget | None,
    masque: MasqueTarget | None,
    now: float,
    epoch: float,
    rng: Callable[[int], bytes],
    aead: Aead = ChaCha20Poly1305,
) -> TunnelEnd | ChoosingEnd:
    """The far end of a tunnel, ready to begin. ValueError if a target is missing that `tunnel` needs."""
    if (masque is None and tunnel != "wireguard") or (wireguard is None and tunnel != "masque"):
        raise ValueError(f"a tunnel that is {tunnel} needs to know where the PoP is")
    if tunnel == "wireguard":
        assert wireguard is not None
        return TunnelEnd(
            wireguard.private_key,
            wireguard.pop_public,
            wireguard.pop,
            side,
            now=now,
            epoch=epoch,
            rng=rng,
            psk=wireguard.psk,
            keepalive=wireguard.keepalive,
            aead=aead,
        )
    assert masque is not None
    ways = masque_ways(masque, rng=rng)
    if tunnel == "auto":
        assert wireguard is not None
        ways.append(_wireguard_way(wireguard, now=now, epoch=epoch, rng=rng, aead=aead))
    return ChoosingEnd(ways, side, now=now, jitter=lambda: int.from_bytes(rng(4)) / 2**32)


def _wireguard_way(
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
