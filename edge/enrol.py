"""Give a PoP its key, and its peers theirs: the files of a PoP, and a wg-quick file for the other end.

A peer's private key is made here, goes into the wg-quick text and is kept nowhere.
"""

from __future__ import annotations

import fcntl
import os
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from edge.config import (
    CONFIG_NAME,
    DEFAULT_POOL,
    NAME_RULE,
    TUNNELS_FOLDER,
    EdgeConfig,
    Kind,
    Reading,
    TunnelConfig,
    VnetConfig,
    advice,
    free_addresses,
    is_name,
    not_there,
    public_key,
    sites,
)
from edge.document import HostPort, Prefix, address_text, did_you_mean
from edge.errors import ConfigError, Refused

KEY_NAME = "pop.key"

TEMPLATE = """\
# The configuration of one poplab PoP. Check it with `poplab edge check --config {config}`.
version: 1
name: {name}

listen:
  wireguard: "{listen}"
  metrics: "127.0.0.1:9180"      # Prometheus; null turns it off

# endpoint: "pop.example.net:51820"   # what peers dial, where that is not the address above

private_key_file: {key}         # beside this file, mode 0600
state: state.db                   # peers' last addresses and timestamps: survives a restart

vnets:                            # virtual networks: nothing ever crosses from one to another
  {vnet}:
    pool: {pool}          # addresses of clients; the first one is the PoP's own
    mtu: 1420
    default: block                # what no rule decides
    policy:                       # first match wins
      - {{id: everyone, action: allow}}

# Each tunnel has a file of its own in {tunnels}/, written by
#   poplab edge add-client NAME
#   poplab edge add-connector NAME --route 10.0.50.0/24
"""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a new peer needs; `wg_quick` holds its private key and is shown once. `advice` is for who enrolled it."""

    tunnel: TunnelConfig
    file: Path
    state: Path | None  # of the PoP; who holds it, is the process to tell
    wg_quick: str = field(repr=False)
    advice: tuple[str, ...] = ()


Deliver: TypeAlias = Callable[[str], None]
"""Takes the wg-quick text before anything is enrolled: a key that nobody got must open nothing."""


def _keep(_: str) -> None:
    """The caller takes the text from `Enrolled`."""


def init(folder: Path, *, name: str = "", listen: str = "127.0.0.1:51820", vnet: str = "lab") -> Path:
    """Make a PoP's folder (0700), key (0600) and edge.yaml; Refused if there is one already."""
    name = name or folder.resolve().name
    for what, word in (("name", name), ("virtual network", vnet)):
        if not is_name(word):
            raise Refused(f"{word!r} is not a {what}\n    fix: use {NAME_RULE}")
    address = _host_port(listen)
    if not address.is_address:
        raise Refused(
            f"{address[0]!r} is not an IP address\n    fix: listen on one such as 127.0.0.1 or 0.0.0.0"
        )
    config, key = folder / CONFIG_NAME, folder / KEY_NAME
    for path in (config, key):
        if path.exists():
            raise Refused(f"{path} exists\n    fix: choose another folder; nothing is overwritten")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        (folder / TUNNELS_FOLDER).mkdir(mode=0o700, exist_ok=True)
        _write_new(key, _text(_private_key()) + "\n")
        pool = Prefix.of(DEFAULT_POOL.address, 24)
        _write_new(
            config,
            TEMPLATE.format(
                name=name,
                listen=address,
                key=KEY_NAME,
                vnet=vnet,
                pool=pool,
                config=config,
                tunnels=TUNNELS_FOLDER,
            ),
        )
    except OSError as error:
        raise Refused(f"{error.filename}: {error.strerror}") from error
    return config


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
    endpoint: str = "",
    deliver: Deliver = _keep,
) -> Enrolled:
    """Enrol one device: the next free address, a file in tunnels.d, and a wg-quick text."""
    with _alone(config_path):
        reading = Reading(config_path)
        network = _vnet(reading.config, vnet)
        tunnel = _new_tunnel(
            reading,
            network,
            name,
            Kind.CLIENT,
            psk,
            user=user or name,
            groups=tuple(groups),
            tags=tuple(tags),
        )
        extra: dict[str, object] = {"user": user or name, "groups": list(groups), "tags": list(tags)}
        return _enrol(reading, network, tunnel, extra, keepalive, endpoint, deliver)


def add_connector(
    config_path: Path,
    name: str,
    *,
    routes: Sequence[str] = (),
    replica_of: str = "",
    vnet: str = "",
    psk: bool = True,
    keepalive: int = 25,
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
    with _alone(config_path):
        reading = Reading(config_path)
        if replica_of:
            return _add_replica(reading, name, replica_of, vnet, psk, keepalive, endpoint, deliver)
        network = _vnet(reading.config, vnet)
        try:
            prefixes = tuple(Prefix.parse(route) for route in routes)
        except ValueError as error:
            raise Refused(str(error)) from error
        default_route = any(prefix.length == 0 for prefix in prefixes)
        tunnel = _new_tunnel(reading, network, name, Kind.CONNECTOR, psk, prefixes, default_route, site=name)
        return _enrol(reading, network, tunnel, {"site": name}, keepalive, endpoint, deliver)


def _add_replica(
    reading: Reading,
    name: str,
    site: str,
    vnet: str,
    psk: bool,
    keepalive: int,
    endpoint: str,
    deliver: Deliver,
) -> Enrolled:
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
    preference = others[-1].preference + 1
    new = _new_tunnel(
        reading, network, name, Kind.CONNECTOR, psk, first.routes, first.default_route, site=site,
        user=first.user, groups=first.groups, tags=first.tags, preference=preference,
    )  # fmt: skip
    extra: dict[str, object] = {
        "site": site,
        "preference": preference,
        "user": first.user,
        "groups": list(first.groups),
        "tags": list(first.tags),
    }
    return _enrol(reading, network, new, extra, keepalive, endpoint, deliver)


@dataclass(frozen=True, slots=True)
class _New:
    """A tunnel in the making, with the one thing that the PoP does not keep."""

    tunnel: TunnelConfig
    private_key: bytes = field(repr=False)


def _new_tunnel(
    reading: Reading,
    vnet: VnetConfig,
    name: str,
    kind: Kind,
    psk: bool,
    routes: tuple[Prefix, ...] = (),
    default_route: bool = False,
    *,
    site: str = "",
    user: str = "",
    groups: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
    preference: int = 0,
) -> _New:
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
    private_key = _private_key()
    tunnel = TunnelConfig(
        name=name,
        vnet=vnet.name,
        kind=kind,
        public_key=public_key(private_key),
        preshared_key=os.urandom(32) if psk else None,
        addresses=_free_addresses(config, vnet),
        routes=routes,
        site=site,
        user=user,
        groups=groups,
        tags=tags,
        default_route=default_route,
        preference=preference,
    )
    return _New(tunnel, private_key)


def _enrol(
    reading: Reading,
    vnet: VnetConfig,
    new: _New,
    extra: dict[str, object],
    keepalive: int,
    endpoint: str,
    deliver: Deliver,
) -> Enrolled:
    config, tunnel = reading.config, new.tunnel
    if problems := reading.judge(tunnel):
        raise ConfigError(problems)
    if not 0 <= keepalive <= 65535:
        raise Refused(f"a keepalive of {keepalive} seconds is not between 0 (none) and 65535")
    text = wg_quick(
        config, tunnel, new.private_key, endpoint=_endpoint(config, endpoint), keepalive=keepalive
    )
    deliver(text)
    file = _write_tunnel(reading.path.parent / TUNNELS_FOLDER, vnet, tunnel, extra)
    return Enrolled(tunnel, file, config.state, text, tuple(advice(config, tunnel)))


def wg_quick(
    config: EdgeConfig, tunnel: TunnelConfig, private_key: bytes, *, endpoint: str, keepalive: int
) -> str:
    """The other end's configuration, for `wg-quick` and every WireGuard app."""
    vnet = config.vnets[tunnel.vnet]
    others = [t for t in config.tunnels.values() if t.vnet == vnet.name and t.name != tunnel.name]
    routes = {route for other in others for route in other.routes}  # replicas have the same
    reachable = [*vnet.pools, *sorted(routes - set(tunnel.routes))]
    lines = [
        "[Interface]",
        f"# {tunnel.name} at {config.name}, virtual network {vnet.name}",
        f"PrivateKey = {_text(private_key)}",
        f"Address = {', '.join(str(Prefix.of(address)) for address in tunnel.addresses)}",
        f"MTU = {vnet.mtu}",
        "",
        "[Peer]",
        f"PublicKey = {_text(public_key(config.private_key))}",
    ]
    if tunnel.preshared_key is not None:
        lines.append(f"PresharedKey = {_text(tunnel.preshared_key)}")
    lines += [f"Endpoint = {endpoint}", f"AllowedIPs = {', '.join(map(str, reachable))}"]
    if keepalive:
        lines.append(f"PersistentKeepalive = {keepalive}")
    return "\n".join(lines) + "\n"


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


def _endpoint(config: EdgeConfig, given: str) -> str:
    if given:
        return str(_host_port(given))
    if config.endpoint:
        return config.endpoint
    host, port = config.listen
    if host in ("0.0.0.0", "::"):
        raise Refused(
            f"the PoP listens on {host}, which no peer can dial\n"
            "    fix: --endpoint HOST:PORT, or `endpoint:` in its configuration"
        )
    if not port:
        raise Refused(
            "the PoP listens on any free port, which is another after each start\n"
            "    fix: a port in `listen.wireguard`, or --endpoint HOST:PORT"
        )
    return str(HostPort(config.listen))


def _write_tunnel(folder: Path, vnet: VnetConfig, tunnel: TunnelConfig, extra: dict[str, object]) -> Path:
    """The tunnel's file, and before it the preshared key that it names: a reload in between sees neither."""
    file, secret = folder / f"{tunnel.name}.yaml", folder / f"{tunnel.name}.psk"
    lines = [f"kind: {tunnel.kind}", f"vnet: {vnet.name}", f"public_key: {_text(tunnel.public_key)}"]
    if tunnel.preshared_key is not None:
        lines.append(f"preshared_key_file: {secret.name}")
    lines.append(f"addresses: {_flow(map(address_text, tunnel.addresses))}")
    if tunnel.routes:
        lines.append(f"routes: {_flow(map(str, tunnel.routes))}")
    if tunnel.default_route:
        lines.append("default_route: true")
    for key, value in extra.items():
        if value:
            lines.append(f"{key}: {_scalar(value)}")
    written: list[Path] = []
    try:
        if tunnel.preshared_key is not None:
            _write_new(secret, _text(tunnel.preshared_key) + "\n")
            written.append(secret)
        _write_new(file, "\n".join(lines) + "\n")
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        where = error.filename2 or error.filename
        fix = "delete it, if no tunnel uses it" if isinstance(error, FileExistsError) else "check the folder"
        raise Refused(f"{where}: {error.strerror}\n    fix: {fix}") from error
    return file


@contextmanager
def _alone(config_path: Path) -> Iterator[None]:
    """One enrolment at a time: two must not find the same address free. The lock ends with the process."""
    if absent := not_there(config_path):
        raise ConfigError([absent])
    folder = config_path.parent / TUNNELS_FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(
            f"{folder}: {error.strerror}\n    fix: run as the user that owns {config_path.parent}"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_new(path: Path, text: str) -> None:
    """A whole file under `path`, mode 0600, or none; never over an existing one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with os.fdopen(
            os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w"
        ) as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(part, path)
    finally:
        part.unlink(missing_ok=True)


def _host_port(text: str) -> HostPort:
    try:
        return HostPort.parse(text)
    except ValueError as error:
        raise Refused(str(error)) from error


def _flow(values: Iterable[object]) -> str:
    return "[" + ", ".join(_quoted(str(value)) for value in values) + "]"


def _scalar(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    return _flow(value) if isinstance(value, list) else _quoted(str(value))


def _quoted(text: str) -> str:
    """A YAML double-quoted scalar."""
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08X}" for c in text)
    return f'"{escaped}"'


def _private_key() -> bytes:
    """A clamped Curve25519 scalar (RFC 7748 section 5), as `wg genkey` makes them."""
    key = bytearray(os.urandom(32))
    key[0] &= 248
    key[31] = key[31] & 127 | 64
    return bytes(key)


def _text(key: bytes) -> str:
    return b64encode(key).decode()
