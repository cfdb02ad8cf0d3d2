"""A new WireGuard peer: a key pair, perhaps a preshared key, and a wg-quick file."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from edge.config import EdgeConfig, TunnelConfig, TunnelKind, public_key
from edge.document import HostPort, Prefix
from edge.enrol.dialled import dialled, reachable
from edge.enrol.programs import poplab_head, run_by_poplab
from edge.enrol.text import base64_text, flow, quoted
from edge.errors import Refused


@dataclass(frozen=True, slots=True)
class WireGuardPeer:
    """What it has and the PoP does not keep: its private key."""

    endpoint: str
    keepalive: int
    private_key: bytes = field(repr=False)
    preshared_key: bytes | None = field(repr=False)
    for_poplab: bool = False

    @classmethod
    def new(cls, *, psk: bool, keepalive: int, endpoint: str, for_poplab: bool = False) -> WireGuardPeer:
        if not 0 <= keepalive <= 65535:
            raise Refused(f"a keepalive of {keepalive} seconds is not between 0 (none) and 65535")
        return cls(endpoint, keepalive, private_key(), os.urandom(32) if psk else None, for_poplab)

    @property
    def secret(self) -> str:
        return "private key"

    def usage(self, config: EdgeConfig, tunnel: TunnelConfig) -> tuple[str, ...]:
        return (run_by_poplab(tunnel),) if self.for_poplab else ()

    def credentials(self) -> dict[str, Any]:
        return {"public_key": public_key(self.private_key), "preshared_key": self.preshared_key}

    def text(self, config: EdgeConfig, tunnel: TunnelConfig) -> str:
        """Its configuration: for `wg-quick` and every WireGuard app, unless it is for our own end."""
        return self._poplab(config, tunnel) if self.for_poplab else self._quick(config, tunnel)

    def dials(self, config: EdgeConfig) -> HostPort:
        return dialled(config, TunnelKind.WIREGUARD, self.endpoint)

    def _poplab(self, config: EdgeConfig, tunnel: TunnelConfig) -> str:
        endpoint = self.dials(config)
        lines = [
            *poplab_head(config, tunnel),
            f"mtu: {config.vnets[tunnel.vnet].mtu}",
            f"reaches: {flow(reachable(config, tunnel))}",
            "wireguard:",
            f"  server: {quoted(str(endpoint))}",
            f"  public_key: {quoted(base64_text(public_key(config.private_key)))}",
            f"  private_key: {quoted(base64_text(self.private_key))}",
        ]
        if self.preshared_key is not None:
            lines.append(f"  preshared_key: {quoted(base64_text(self.preshared_key))}")
        lines.append(f"  keepalive: {self.keepalive}{'s' if self.keepalive else ''}")
        return "\n".join(lines) + "\n"

    def _quick(self, config: EdgeConfig, tunnel: TunnelConfig) -> str:
        vnet = config.vnets[tunnel.vnet]
        endpoint = self.dials(config)
        lines = [
            "[Interface]",
            f"# {tunnel.name} at {config.name}, virtual network {vnet.name}",
            f"PrivateKey = {base64_text(self.private_key)}",
            f"Address = {', '.join(str(Prefix.of(address)) for address in tunnel.addresses)}",
            f"MTU = {vnet.mtu}",
            "",
            "[Peer]",
            f"PublicKey = {base64_text(public_key(config.private_key))}",
        ]
        if self.preshared_key is not None:
            lines.append(f"PresharedKey = {base64_text(self.preshared_key)}")
        lines += [f"Endpoint = {endpoint}", f"AllowedIPs = {', '.join(map(str, reachable(config, tunnel)))}"]
        if self.keepalive:
            lines.append(f"PersistentKeepalive = {self.keepalive}")
        return "\n".join(lines) + "\n"


def private_key() -> bytes:
    """A clamped Curve25519 scalar (RFC 7748 section 5), as `wg genkey` makes them."""
    key = bytearray(os.urandom(32))
    key[0] &= 248
    key[31] = key[31] & 127 | 64
    return bytes(key)
