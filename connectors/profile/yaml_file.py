"""The YAML file of `--for poplab`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
from cryptography.x509 import load_pem_x509_certificates
from msgspec import UNSET, UnsetType

from connectors.profile.addresses import fault
from connectors.profile.types import MasqueServer, Profile, WireGuardServer
from connectors.proto.split_tunnel import Network
from connectors.ways import DEFAULT_PATH
from edge.config import NAME_RULE, Kind, TunnelKind, is_name
from edge.document import Document, Duration, HostPort, Prefix, PublicKey, key_bytes, written
from edge.errors import ConfigError, Problem
from edge.proto.masque.template import Template


class Secret(str):
    """Text that no message repeats."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {"type": "string"}

    @classmethod
    def parse(cls, value: object) -> Self:
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
            raise ValueError("not a token; write it in quotes, as it was printed")
        return cls(value)

    def __repr__(self) -> str:
        return "Secret()"


class SecretKey(bytes):
    """32 bytes in base64 that no message repeats."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {"type": "string"}

    @classmethod
    def parse(cls, value: object) -> Self:
        key = key_bytes(value) if isinstance(value, str) else None
        if key is None:
            raise ValueError("not a WireGuard key; write the 44 base64 characters that were printed")
        return cls(key)

    def __repr__(self) -> str:
        return "SecretKey()"


class Section(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A mapping with fixed keys."""


class WireGuardFile(Section, kw_only=True, frozen=True, forbid_unknown_fields=True):
    server: HostPort
    public_key: PublicKey
    private_key: SecretKey
    preshared_key: SecretKey | UnsetType = UNSET
    keepalive: Duration = written(Duration(25.0))


class ProfileFile(Section, kw_only=True, frozen=True, forbid_unknown_fields=True):
    version: Literal[1]
    name: str
    tunnel: TunnelKind
    kind: Kind
    addresses: tuple[Prefix, ...] = ()
    mtu: Annotated[int, msgspec.Meta(ge=576, le=65455)]
    serves: tuple[Prefix, ...] = ()
    reaches: tuple[Prefix, ...] | UnsetType = UNSET
    wireguard: WireGuardFile | UnsetType = UNSET
    # MASQUE
    server: HostPort | UnsetType = UNSET
    server_name: str | UnsetType = UNSET
    path: str = DEFAULT_PATH
    http2: bool = True
    token: Secret | UnsetType = UNSET
    certificate_authority: str | UnsetType = UNSET


def decode(document: Document) -> Profile:
    """The profile; ConfigError with all that is wrong."""
    file = document.decode(ProfileFile)
    if problems := list(_problems(document, file)):
        raise ConfigError(problems)
    wireguard = None if isinstance(file.wireguard, UnsetType) else _wireguard(file.wireguard)
    masque = None
    if isinstance(file.server, HostPort):
        masque = MasqueServer(
            server=file.server,
            server_name=file.server_name or file.server[0],
            token=(file.token or "").encode(),
            path=file.path,
            http2=file.http2,
            authority=(file.certificate_authority or "").encode(),
        )
    return Profile(
        name=file.name,
        kind=file.kind,
        tunnel=file.tunnel.value,
        addresses=tuple(ip_address(prefix.address) for prefix in file.addresses),
        mtu=file.mtu,
        serves=_networks(file.serves),
        reaches=None if isinstance(file.reaches, UnsetType) else _networks(file.reaches),
        wireguard=wireguard,
        masque=masque,
    )


def _wireguard(file: WireGuardFile) -> WireGuardServer:
    return WireGuardServer(
        server=file.server,
        public_key=bytes(file.public_key),
        private_key=bytes(file.private_key),
        preshared_key=None if isinstance(file.preshared_key, UnsetType) else bytes(file.preshared_key),
        keepalive=float(file.keepalive) or None,
    )


def _networks(prefixes: tuple[Prefix, ...]) -> tuple[Network, ...]:
    return tuple(ip_network((prefix.address, prefix.length)) for prefix in prefixes)


def _problems(document: Document, file: ProfileFile) -> Iterator[Problem]:
    if not is_name(file.name):
        yield document.problem(("name",), f"{file.name!r} cannot be a name", NAME_RULE)
    tunnel = file.tunnel
    if tunnel is not TunnelKind.WIREGUARD:
        for key, value in (("server", file.server), ("token", file.token)):
            if isinstance(value, UnsetType):
                yield document.problem(
                    ("tunnel",), f"`tunnel: {tunnel}` needs `{key}`", "enrol it anew with --tunnel masque"
                )
    if tunnel is not TunnelKind.MASQUE and isinstance(file.wireguard, UnsetType):
        yield document.problem(
            ("tunnel",),
            f"`tunnel: {tunnel}` needs the section `wireguard`",
            "server, public_key and private_key under `wireguard:`",
        )
    if tunnel is TunnelKind.WIREGUARD and isinstance(file.reaches, UnsetType):
        yield document.problem(
            ("tunnel",),
            "WireGuard does not tell what it reaches, so the file has to",
            "`reaches: [PREFIX, ...]`",
        )
    for number, prefix in enumerate(file.addresses):
        if prefix.length != len(prefix.address) * 8:
            yield document.problem(
                ("addresses", number), f"{prefix} is not one address", f"{prefix}".partition("/")[0]
            )
        elif wrong := fault(ip_address(prefix.address), file.mtu):
            yield document.problem(("addresses", number), wrong, "the file as it was printed")
    if file.kind is Kind.CONNECTOR and not file.serves:
        yield document.problem(("kind",), "a connector serves a site", "`serves: [PREFIX, ...]`")
    if file.kind is Kind.CLIENT and file.serves:
        yield document.problem(("serves",), "a client serves no site", "`kind: connector`, or leave it out")
    if file.kind is Kind.CLIENT and not file.addresses:
        yield document.problem(("kind",), "a client has an address", "`addresses: [ADDRESS]`")
    try:
        Template.parse(file.path)
    except ValueError as error:
        yield document.problem(("path",), str(error), f'leave it out for "{DEFAULT_PATH}"')
    if isinstance(file.certificate_authority, str):
        try:
            load_pem_x509_certificates(file.certificate_authority.encode())
        except ValueError:
            yield document.problem(
                ("certificate_authority",), "not a certificate in PEM", "the PoP's ca.crt, as it is"
            )
