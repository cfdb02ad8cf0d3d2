"""Ready configurations of the programs that speak to a PoP by MASQUE."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from edge.config import (
    MASQUE_MTU,
    WARP_NAMES,
    EdgeConfig,
    MasqueConfig,
    TunnelConfig,
    certificate_names,
    spki,
)
from edge.document import HostPort, Prefix, address_bytes
from edge.enrol.text import base64_text, flow, quoted
from edge.errors import Refused

YOUR_OWN = "PUT THE PRIVATE KEY OF THE DEVICE HERE"
SOCKS = "127.0.0.1", 1080
XRAY_WHEEL = (
    "python -c 'import sys, pathlib, xray; xray.startFromJSON(pathlib.Path(sys.argv[1]).read_text())'"
)


class Dialect(StrEnum):
    """How a client asks for a tunnel."""

    STANDARD = "standard"  # RFC 9484, with a token
    WARP = "warp"  # with the key of a client certificate


class Program(StrEnum):
    """What runs at the client."""

    POPLAB = "poplab"
    XRAY = "xray"
    USQUE = "usque"
    MIHOMO = "mihomo"


SPEAKS = {
    Program.POPLAB: (Dialect.STANDARD,),
    Program.XRAY: (Dialect.STANDARD, Dialect.WARP),
    Program.USQUE: (Dialect.WARP,),
    Program.MIHOMO: (Dialect.WARP,),
}


@dataclass(frozen=True, slots=True)
class Server:
    """What a client is told about the PoP."""

    config: EdgeConfig
    masque: MasqueConfig
    endpoint: HostPort
    certificate: x509.Certificate
    authority: str  # PEM; empty if the certificate is not of our own

    @property
    def key(self) -> bytes:
        """What clients of the dialect pin."""
        return spki(self.certificate.public_key())

    @property
    def server_name(self) -> str:
        """What the client asks for and looks for in the certificate: a name rather than an address, if it may."""
        host = self.endpoint[0]
        names, addresses = certificate_names(self.certificate)
        if any(_covers(name, host) for name in names):
            return host
        if own := [name for name in names if not name.startswith("*.") and name != "localhost"]:
            return own[0]
        if host in addresses:
            return host
        raise Refused(
            f"the certificate of the PoP is not for {host}, but for {', '.join([*names, *addresses]) or 'nobody'}\n"
            "    fix: --endpoint with one of them, or another certificate"
        )


def poplab(server: Server, tunnel: TunnelConfig, token: str) -> str:
    """The file of our own end. What it reaches, the PoP tells it each time."""
    lines = [
        *poplab_head(server.config, tunnel),
        f"mtu: {MASQUE_MTU}",
        f"server: {quoted(str(server.endpoint))}",
        f"server_name: {quoted(server.server_name)}",
        f"path: {quoted(server.masque.path)}",
        f"http2: {str(server.masque.http2).lower()}",
        f"token: {quoted(token)}",
    ]
    if server.authority:
        lines += ["certificate_authority: |", *(f"  {line}" for line in server.authority.splitlines())]
    return "\n".join(lines) + "\n"


def poplab_head(config: EdgeConfig, tunnel: TunnelConfig) -> list[str]:
    """The lines that such a file begins with, whatever the tunnel speaks."""
    lines = [
        f"# {tunnel.name} at {config.name}, virtual network {tunnel.vnet}: whoever has this file, is let in.",
        "version: 1",
        f"name: {quoted(tunnel.name)}",
        f"tunnel: {tunnel.tunnel}",
        f"kind: {tunnel.kind}",
        f"addresses: {flow(_prefixes(tunnel))}",
    ]
    if tunnel.routes:
        lines.append(f"serves: {flow(tunnel.routes)}")
    return lines


def run_by_poplab(tunnel: TunnelConfig) -> str:
    """What to do with such a file."""
    what = "is the router between its network and the others" if tunnel.routes else "joins the network"
    return f"`poplab {tunnel.kind} FILE`, as root on a Linux machine, {what}"


def xray(server: Server, tunnel: TunnelConfig, token: str) -> str:
    """Xray with a SOCKS proxy in front of the tunnel: the standard, over HTTP/3."""
    tls: dict[str, Any] = {"serverName": server.server_name, "alpn": ["h3"]}
    if server.authority:
        trusted = {"usage": "verify", "certificate": server.authority.splitlines()}
        tls |= {"disableSystemRoot": True, "certificates": [trusted]}
    masque = {"host": server.server_name, "path": server.masque.path, "user": tunnel.name, "pass": token}
    return _xray(server, masque, tls)


def xray_warp(server: Server, tunnel: TunnelConfig, key: EllipticCurvePrivateKey | None) -> str:
    """The same with the dialect."""
    warp = {
        "privateKey": _private(key, PrivateFormat.PKCS8),
        "publicKey": base64_text(server.key),
        "address": [str(prefix) for prefix in _prefixes(tunnel)],
    }
    return _xray(server, {"warp": warp}, {"serverName": _warp_name(server), "alpn": ["h3"]})


def _xray(server: Server, masque: dict[str, Any], tls: dict[str, Any]) -> str:
    host, port = server.endpoint
    return _json(
        {
            "inbounds": [
                {"listen": SOCKS[0], "port": SOCKS[1], "protocol": "socks", "settings": {"udp": True}}
            ],
            "outbounds": [
                {
                    "protocol": "masque",
                    "settings": {"address": host, "port": port},
                    "streamSettings": {
                        "network": "masque",
                        "method": "masque",
                        "masqueSettings": masque,
                        "security": "tls",
                        "tlsSettings": tls,
                    },
                }
            ],
        }
    )


def usque(server: Server, tunnel: TunnelConfig, key: EllipticCurvePrivateKey | None) -> str:
    """Its config.json. It resolves no names, and takes the port on its command line."""
    host = server.endpoint[0]
    address = address_bytes(host)
    if address is None:
        raise Refused(f"usque dials addresses only, not {host}\n    fix: --endpoint ADDRESS:PORT")
    v4, v6 = (host, "") if len(address) == 4 else ("", host)
    pinned = server.certificate.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    own = {prefix.version: str(prefix).partition("/")[0] for prefix in _prefixes(tunnel)}
    return _json(
        {
            "private_key": _private(key, PrivateFormat.TraditionalOpenSSL),
            "endpoint_v4": v4,
            "endpoint_v6": v6,
            "endpoint_h2_v4": v4,
            "endpoint_h2_v6": v6,
            "endpoint_pub_key": pinned.decode(),
            "id": "",
            "access_token": "",
            "ipv4": own.get(4, ""),
            "ipv6": own.get(6, ""),
        }
    )


def mihomo(server: Server, tunnel: TunnelConfig, key: EllipticCurvePrivateKey | None) -> str:
    """One entry of its `proxies`."""
    host, port = server.endpoint
    lines = [
        "proxies:",
        f"  - name: {quoted(server.config.name)}",
        "    type: masque",
        f"    server: {quoted(host)}",
        f"    port: {port}",
        f"    private-key: {quoted(_private(key, PrivateFormat.TraditionalOpenSSL))}",
        f"    public-key: {quoted(base64_text(server.key))}",
        *(f"    {'ip' if p.version == 4 else 'ipv6'}: {quoted(str(p))}" for p in _prefixes(tunnel)),
        f"    sni: {quoted(_warp_name(server))}",
        f"    mtu: {MASQUE_MTU}",
        "    udp: true",
    ]
    return "\n".join(lines) + "\n"


def usage(program: Program, server: Server, tunnel: TunnelConfig) -> tuple[str, ...]:
    """What to do with the text, in words."""
    if program is Program.POPLAB:
        return (
            run_by_poplab(tunnel),
            f"any other client of CONNECT-IP (RFC 9484) is to enter https://{server.endpoint}{server.masque.path} "
            f"and the token, as bearer or as the password of {tunnel.name}",
        )
    if program is Program.XRAY:
        return (
            f"`xray run -c FILE` makes a SOCKS proxy on {SOCKS[0]}:{SOCKS[1]} that leads into the tunnel",
            f"with the wheel of Xray, the same is `{XRAY_WHEEL} FILE`",
        )
    if program is Program.MIHOMO:
        return ("it goes under `proxies` of mihomo's configuration; `network: h2` in it means HTTP/2",)
    words = [f"usque -c FILE socks -P {server.endpoint[1]}"]
    if _warp_name(server) != WARP_NAMES[0]:
        words.append(f"-s {_warp_name(server)}")
    if len(address_bytes(server.endpoint[0]) or b"") == 16:
        words.append("-6")
    versions = {prefix.version for prefix in _prefixes(tunnel)}
    words += [option for version, option in ((4, "-F"), (6, "-S")) if version not in versions]
    return (f"`{' '.join(words)}` makes a SOCKS proxy that leads into the tunnel; --http2 takes TCP",)


def _covers(name: str, host: str) -> bool:
    """Whether a certificate's `name` is that of `host` (RFC 6125 section 6.4.3: * is one label)."""
    name, host = name.lower(), host.lower()
    return name == host or (name.startswith("*.") and host.partition(".")[2] == name[2:])


def _warp_name(server: Server) -> str:
    return server.masque.warp_names[0]


def _prefixes(tunnel: TunnelConfig) -> Iterable[Prefix]:
    return [Prefix.of(address) for address in tunnel.addresses]


def _private(key: EllipticCurvePrivateKey | None, form: PrivateFormat) -> str:
    """DER in base64; a place to fill in for a key that never left its device."""
    return YOUR_OWN if key is None else base64_text(key.private_bytes(Encoding.DER, form, NoEncryption()))


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2) + "\n"
