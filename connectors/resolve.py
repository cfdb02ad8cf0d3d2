"""Where the PoP is: the addresses behind the names in a profile."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import trio

from connectors.profile import Profile
from connectors.ways import MasqueTarget
from edge.document import HostPort
from edge.errors import FabricUnavailable, Refused
from edge.proto.types import Address


@dataclass(frozen=True, slots=True)
class Dialled:
    """All of one IP version: an endpoint has one socket."""

    wireguard: Address | None
    masque: tuple[Address, ...]

    @property
    def addresses(self) -> tuple[Address, ...]:
        return (*self.masque, *(() if self.wireguard is None else (self.wireguard,)))

    @property
    def words(self) -> str:
        return " ".join(str(HostPort(address)) for address in self.addresses)

    def same_as(self, other: Dialled) -> bool:
        """Whatever the order in which the PoPs of MASQUE are tried."""
        return self.wireguard == other.wireguard and set(self.masque) == set(other.masque)

    @property
    def any_address(self) -> str:
        """What to bind."""
        return "::" if ":" in self.addresses[0][0] else "0.0.0.0"


def resolve(profile: Profile) -> Dialled:
    """FabricUnavailable if a name has no address now, Refused if none of them will do."""
    masque = () if profile.masque is None else lookup(profile.masque.server)
    wireguard = () if profile.wireguard is None else lookup(profile.wireguard.server)
    for each in (*masque, *wireguard):  # in the order that the system prefers
        v6 = ":" in each[0]
        of_masque, of_wireguard = _of_version(masque, v6=v6), _of_version(wireguard, v6=v6)
        if bool(masque) == bool(of_masque) and bool(wireguard) == bool(of_wireguard):
            return Dialled(of_wireguard[0] if of_wireguard else None, of_masque)
    raise Refused(
        f"{profile.name}: the two servers of `tunnel: {profile.tunnel}` have no address of one IP version\n"
        "    fix: write addresses of the same version"
    )


async def resolve_aside(profile: Profile) -> Dialled:
    """As ``resolve``, which may block for long, in a thread.

    Who is cancelled does not wait: the thread ends once the system has given up, or with the process.
    """
    return await trio.to_thread.run_sync(resolve, profile, abandon_on_cancel=True)


def has_names(profile: Profile) -> bool:
    """Whether there is something to look up: an address stays what it is."""
    servers = (profile.masque, profile.wireguard)
    return any(server is not None and not _is_address(server.server[0]) for server in servers)


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _of_version(addresses: tuple[Address, ...], *, v6: bool) -> tuple[Address, ...]:
    return tuple(address for address in addresses if (":" in address[0]) == v6)


def lookup(server: HostPort) -> tuple[Address, ...]:
    """As the system knows it, the preferred address first."""
    try:
        found = socket.getaddrinfo(*server, type=socket.SOCK_DGRAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise Refused(f"{server} cannot be the name of a server\n    fix: check `server:`") from error
    except OSError as error:
        raise FabricUnavailable(
            f"{server}: {error.strerror}\n    fix: check the name and the network:  getent ahosts {server[0]}"
        ) from error
    return tuple(dict.fromkeys((str(entry[4][0]), int(entry[4][1])) for entry in found))


def masque_target(profile: Profile, dialled: Dialled) -> MasqueTarget | None:
    """Refused if the system knows no authorities and the profile has none."""
    server = profile.masque
    if server is None:
        return None
    return MasqueTarget(
        dialled.masque[0],
        server.server_name,
        ca=server.authority or _system_authorities(),
        token=server.token,
        path=server.path,
        http2=server.http2,
        others=dialled.masque[1:],
    )


def _system_authorities() -> bytes:
    file = ssl.get_default_verify_paths().cafile
    try:
        return Path(file or "").read_bytes()
    except OSError as error:
        raise Refused(
            "this machine has no list of certificate authorities\n"
            "    fix: `certificate_authority: |` with the PoP's ca.crt, or install ca-certificates"
        ) from error
