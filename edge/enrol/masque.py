"""A new MASQUE client: a token, or a key pair for the WARP dialect, and a file for the program that it runs."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from edge.config import EdgeConfig, TunnelConfig, TunnelKind, leaf, spki
from edge.document import HostPort, KeyInfo
from edge.enrol.authority import new_key
from edge.enrol.dialled import dialled
from edge.enrol.programs import (
    SPEAKS,
    YOUR_OWN,
    Dialect,
    Program,
    Server,
    mihomo,
    poplab,
    usage,
    usque,
    xray,
    xray_warp,
)
from edge.enrol.trust import authority_of
from edge.errors import Refused

TOKEN_SIZE = 32  # random bytes


@dataclass(frozen=True, slots=True)
class Masque:
    """What is wanted; what is left out follows from the rest."""

    dialect: Dialect | None = None
    program: Program | None = None
    client_key: str = ""  # SubjectPublicKeyInfo in base64 or PEM, of a device that made its own key

    def chosen(self) -> tuple[Dialect, Program]:
        dialect, program = self.dialect, self.program
        if dialect is None:
            spoken = (Dialect.STANDARD, Dialect.WARP) if program is None else SPEAKS[program]
            dialect = Dialect.WARP if self.client_key and Dialect.WARP in spoken else spoken[0]
        if program is None:
            program = Program.USQUE if dialect is Dialect.WARP else Program.POPLAB
        if dialect not in SPEAKS[program]:
            others = " or ".join(other for other, spoken in SPEAKS.items() if dialect in spoken)
            raise Refused(
                f"{program} does not speak the {dialect} dialect\n"
                f"    fix: --dialect {SPEAKS[program][0]}, or --for {others}"
            )
        if self.client_key and dialect is Dialect.STANDARD:
            raise Refused(
                "a client of the standard shows a token, not a key\n    fix: --dialect warp, or no --client-key"
            )
        return dialect, program


@dataclass(frozen=True, slots=True)
class MasquePeer:
    """What it has and the PoP does not keep: a token or a private key."""

    endpoint: str
    folder: Path
    program: Program
    token: str = field(default="", repr=False)
    key: EllipticCurvePrivateKey | None = field(default=None, repr=False)
    client_key: bytes = b""

    @classmethod
    def new(cls, wanted: Masque, *, endpoint: str, folder: Path) -> MasquePeer:
        dialect, program = wanted.chosen()
        if dialect is Dialect.STANDARD:
            return cls(endpoint, folder, program, token=secrets.token_urlsafe(TOKEN_SIZE))
        if wanted.client_key:
            return cls(endpoint, folder, program, client_key=_client_key(wanted.client_key))
        key = new_key()
        return cls(endpoint, folder, program, key=key, client_key=spki(key.public_key()))

    @property
    def secret(self) -> str:
        """What the text is the only place of, if anything."""
        return "token" if self.token else "private key" if self.key else ""

    def credentials(self) -> dict[str, Any]:
        return {
            "tunnel": TunnelKind.MASQUE,
            "token_sha256": hashlib.sha256(self.token.encode()).digest() if self.token else b"",
            "client_key": self.client_key,
        }

    def text(self, config: EdgeConfig, tunnel: TunnelConfig) -> str:
        server = self._server(config)
        match self.program, self.token:
            case Program.POPLAB, token:
                return poplab(server, tunnel, token)
            case Program.XRAY, "":
                return xray_warp(server, tunnel, self.key)
            case Program.XRAY, token:
                return xray(server, tunnel, token)
            case Program.USQUE, _:
                return usque(server, tunnel, self.key)
        return mihomo(server, tunnel, self.key)

    def usage(self, config: EdgeConfig, tunnel: TunnelConfig) -> tuple[str, ...]:
        lines = usage(self.program, self._server(config), tunnel)
        if self.secret:
            return lines
        return (f"write the private key of the device where {YOUR_OWN!r} stands", *lines)

    def dials(self, config: EdgeConfig) -> HostPort:
        return dialled(config, TunnelKind.MASQUE, self.endpoint)

    def _server(self, config: EdgeConfig) -> Server:
        masque = config.masque
        assert masque is not None, "checked before, like everything in the configuration"
        certificate = leaf(masque.certificate)
        assert certificate is not None, "likewise"
        authority = (
            authority_of(self.folder, config.name, certificate) if self.token else ""
        )  # others pin its key
        return Server(config, masque, self.dials(config), certificate, authority)


def _client_key(text: str) -> bytes:
    lines = [line.strip() for line in text.split("\n") if not line.startswith("-----")]
    try:
        return bytes(KeyInfo.parse("".join(lines)))
    except ValueError as error:
        raise Refused(str(error)) from error
