"""Enrol a peer: the next free address, a file in tunnels.d, and a text for the other end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from edge.config import (
    TUNNELS_FOLDER,
    EdgeConfig,
    Kind,
    Reading,
    TunnelConfig,
    TunnelKind,
    VnetConfig,
    advice,
    free_addresses,
    sites,
)
from edge.document import HostPort, Prefix, address_text, did_you_mean
from edge.enrol.dialled import unreachable
from edge.enrol.files import alone, write_all_new
from edge.enrol.masque import Masque, MasquePeer
from edge.enrol.text import base64_text, flow, quoted, scalar
from edge.enrol.wireguard import WireGuardPeer
from edge.errors import ConfigError, Refused


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a new peer needs; `text` holds its secret and is shown once.

    `usage` says what to do with it, where that is not plain; FILE in it stands for where it was put. `advice` is for
    who enrolled it.
    """

    tunnel: TunnelConfig
    file: Path
    state: Path | None  # of the PoP; who holds it, is the process to tell
    text: str = field(repr=False)
    secret: str  # what is in the text and nowhere else: a word such as "token"; empty for nothing
    usage: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


Deliver: TypeAlias = Callable[[str], None]
"""Takes the text before anything is enrolled: a key that nobody got must open nothing."""


class Peer(Protocol):
    """The other end in the making: its secrets, and what of them the PoP keeps."""

    @property
    def secret(self) -> str: ...

    def credentials(self) -> dict[str, Any]:
        """The fields of its ``TunnelConfig``."""

    def text(self, config: EdgeConfig, tunnel: TunnelConfig) -> str:
        """Its own configuration; Refused if the PoP's does not tell enough."""

    def usage(self, config: EdgeConfig, tunnel: TunnelConfig) -> tuple[str, ...]:
        """What to do with the text."""

    def dials(self, config: EdgeConfig) -> HostPort:
        """Where it finds the PoP; Refused likewise."""


def _keep(_: str) -> None:
    """The caller takes the text from `Enrolled`."""


def add_client(
    config_path: Path,
    name: str,
    *,
    vnet: str = "",
    user: str = "",
    tags: Sequence[str] = (),
    groups: Sequence[str] = (),
    psk: bool = True,
    keepalive: int = 25,
    for_poplab: bool = False,
    masque: Masque | None = None,
    endpoint: str = "",
    deliver: Deliver = _keep,
) -> Enrolled:
    """Enrol one device: by WireGuard with a wg-quick file, or one `for_poplab`, unless `masque` says which program
    it runs."""
    peer = _peer(config_path, psk, keepalive, for_poplab, masque, endpoint)
    with alone(config_path):
        reading = Reading(config_path)
        network = _vnet(reading.config, vnet)
        words: dict[str, Any] = {"user": user or name, "groups": tuple(groups), "tags": tuple(tags)}
        return _enrol(reading, _new_tunnel(reading, network, name, Kind.CLIENT, peer, **words), peer, deliver)


def add_connector(
    config_path: Path,
    name: str,
    *,
    routes: Sequence[str] = (),
    replica_of: str = "",
    vnet: str = "",
    psk: bool = True,
    keepalive: int = 25,
    for_poplab: bool = False,
    masque: Masque | None = None,
    endpoint: str = "",
    deliver: Deliver = _keep,
) -> Enrolled:
    """Enrol the router of one site: its prefixes, and an address of the pool for itself.

    Or one more router of the site `replica_of`, the least preferred, for the same prefixes.
    """
    if bool(routes) == bool(replica_of):
        raise Refused(
            "a connector has either routes or is a replica of a site, whose routes are its own\n"
            "    fix: --route PREFIX for a new site, or --replica-of SITE"
        )
    peer = _peer(config_path, psk, keepalive, for_poplab, masque, endpoint)
    with alone(config_path):
        reading = Reading(config_path)
        if replica_of:
            tunnel = _replica(reading, name, replica_of, vnet, peer)
        else:
            network = _vnet(reading.config, vnet)
            try:
                prefixes = tuple(Prefix.parse(route) for route in routes)
            except ValueError as error:
                raise Refused(str(error)) from error
            words: dict[str, Any] = {
                "site": name,
                "routes": prefixes,
                "default_route": any(prefix.length == 0 for prefix in prefixes),
            }
            tunnel = _new_tunnel(reading, network, name, Kind.CONNECTOR, peer, **words)
        return _enrol(reading, tunnel, peer, deliver)


def _peer(
    config_path: Path, psk: bool, keepalive: int, for_poplab: bool, masque: Masque | None, endpoint: str
) -> Peer:
    if masque is None:
        return WireGuardPeer.new(psk=psk, keepalive=keepalive, endpoint=endpoint, for_poplab=for_poplab)
    return MasquePeer.new(masque, endpoint=endpoint, folder=config_path.parent)


def _replica(reading: Reading, name: str, site: str, vnet: str, peer: Peer) -> TunnelConfig:
    """Like the others of its site in everything that rules and routes see."""
    config = reading.config
    found = {
        where: members[site]
        for where in config.vnets
        if site in (members := sites(t for t in config.tunnels.values() if t.vnet == where))
    }
    network = _vnet(config, vnet or (next(iter(found)) if len(found) == 1 else ""))
    if network.name not in found:
        if reading.problems:  # the site may be in a file that has mistakes
            raise ConfigError(reading.judge())
        known = {t.site for t in config.tunnels.values() if t.vnet == network.name and t.site}
        raise Refused(
            f"vnet {network.name} has no site {site!r}\n    fix: "
            + (did_you_mean(site, known) if known else "--route PREFIX enrols its first connector")
        )
    others = found[network.name]
    first = others[0]
    return _new_tunnel(
        reading, network, name, Kind.CONNECTOR, peer, site=site, preference=others[-1].preference + 1,
        routes=first.routes, default_route=first.default_route,
        user=first.user, groups=first.groups, tags=first.tags,
    )  # fmt: skip


def _new_tunnel(
    reading: Reading, vnet: VnetConfig, name: str, kind: Kind, peer: Peer, **more: Any
) -> TunnelConfig:
    config = reading.config
    if name in config.tunnels:
        where = f"its entry in {reading.path}"
        if name in reading.own:
            folder = reading.path.parent / TUNNELS_FOLDER
            files = (folder / f"{name}.yaml", folder / f"{name}.psk")
            where = " and ".join(str(file) for file in files if file.exists())
        raise Refused(
            f"there is a tunnel {name!r} already\n"
            f"    fix: choose another name; to enrol it anew, delete {where} first"
        )
    return TunnelConfig(
        name=name,
        vnet=vnet.name,
        kind=kind,
        addresses=_free_addresses(config, vnet),
        **peer.credentials(),
        **more,
    )


def _enrol(reading: Reading, tunnel: TunnelConfig, peer: Peer, deliver: Deliver) -> Enrolled:
    config = reading.config
    if problems := reading.judge(tunnel):
        raise ConfigError(problems)
    text = peer.text(config, tunnel)
    deliver(text)
    folder = reading.path.parent / TUNNELS_FOLDER
    file = folder / f"{tunnel.name}.yaml"
    write_all_new(_files(folder, file, tunnel))
    usage = peer.usage(config, tunnel)
    known = (*advice(config, tunnel), unreachable(peer.dials(config)))
    return Enrolled(tunnel, file, config.state, text, peer.secret, usage, tuple(filter(None, known)))


def _files(folder: Path, file: Path, tunnel: TunnelConfig) -> dict[Path, str]:
    """The tunnel's file, and before it the preshared key that it names: a reload in between sees neither."""
    files = {}
    lines = [f"kind: {tunnel.kind}", f"vnet: {tunnel.vnet}"]
    if tunnel.tunnel is not TunnelKind.WIREGUARD:
        lines.append(f"tunnel: {tunnel.tunnel}")
    for key, credential in (
        ("public_key", base64_text(tunnel.public_key)),
        ("token_sha256", tunnel.token_sha256.hex()),
        ("client_key", base64_text(tunnel.client_key)),
    ):
        if credential:
            lines.append(f"{key}: {quoted(credential)}")
    if tunnel.preshared_key is not None:
        secret = folder / f"{tunnel.name}.psk"
        files[secret] = base64_text(tunnel.preshared_key) + "\n"
        lines.append(f"preshared_key_file: {secret.name}")
    lines.append(f"addresses: {flow(map(address_text, tunnel.addresses))}")
    if tunnel.routes:
        lines.append(f"routes: {flow(map(str, tunnel.routes))}")
    if tunnel.default_route:
        lines.append("default_route: true")
    for key, value in (
        ("site", tunnel.site),
        ("preference", tunnel.preference),
        ("user", tunnel.user),
        ("groups", list(tunnel.groups)),
        ("tags", list(tunnel.tags)),
    ):
        if value:
            lines.append(f"{key}: {scalar(value)}")
    files[file] = "\n".join(lines) + "\n"
    return files


def _free_addresses(config: EdgeConfig, vnet: VnetConfig) -> tuple[bytes, ...]:
    found = []
    for pool, address in zip(vnet.pools, free_addresses(vnet, config.tunnels.values()), strict=True):
        if address is None:
            raise Refused(
                f"the pool {pool} of vnet {vnet.name} is full\n    fix: delete tunnels, or widen the pool"
            )
        found.append(address)
    return tuple(found)


def _vnet(config: EdgeConfig, name: str) -> VnetConfig:
    if not name and len(config.vnets) == 1:
        return next(iter(config.vnets.values()))
    if not name:
        raise Refused(f"which virtual network?\n    fix: --vnet, one of {', '.join(sorted(config.vnets))}")
    if name not in config.vnets:
        raise Refused(f"unknown vnet {name!r}\n    fix: {did_you_mean(name, config.vnets)}")
    return config.vnets[name]
