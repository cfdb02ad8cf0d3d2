"""Where the PoP is: the addresses behind the names in a profile."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import trio

from connectors.profile import Profile
from connectors.ways import MasqueTarget
from edge.document import HostPort
from edge.errors import FabricUnavailable, Refused
from edge.proto.types import Address

MOST_ADDRESSES = 16
"""Of one name and one IP version: each has rules of its own, and what a name server says is a stranger's."""


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
    """The first of ``candidates``."""
    return candidates(profile)[0]


def candidates(profile: Profile) -> tuple[Dialled, ...]:
    """Of each IP version in which all servers have an address, the one that the system prefers first.

    FabricUnavailable if a name has no address now, Refused if none of them will do.
    """
    found = tuple(_of_each_version(profile))
    if not found:
        raise Refused(
            f"{profile.name}: the two servers of `tunnel: {profile.tunnel}` have no address of one IP version\n"
            "    fix: write addresses of the same version"
        )
    return found


def others_first(found: Sequence[Dialled], present: Dialled) -> list[Dialled]:
    """In which order to try them when `present` does not answer: by one version of IP a PoP may be out of reach."""
    return sorted(found, key=lambda each: each.same_as(present))


def _of_each_version(profile: Profile) -> Iterator[Dialled]:
    masque = () if profile.masque is None else lookup(profile.masque.server)
    wireguard = () if profile.wireguard is None else lookup(profile.wireguard.server)
    for v6 in dict.fromkeys(":" in each[0] for each in (*masque, *wireguard)):
        of_masque, of_wireguard = _of_version(masque, v6=v6), _of_version(wireguard, v6=v6)
        if bool(masque) == bool(of_masque) and bool(wireguard) == bool(of_wireguard):
            yield Dialled(of_wireguard[0] if of_wireguard else None, of_masque)


async def candidates_aside(profile: Profile) -> tuple[Dialled, ...]:
    """As ``candidates``, which may block for long, in a thread.

    Who is cancelled does not wait: the thread ends once the system has given up, or with the process.
    """
    return await trio.to_thread.run_sync(candidates, profile, abandon_on_cancel=True)


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
    return tuple(address for address in addresses if (":" in address[0]) == v6)[:MOST_ADDRESSES]


def lookup(server: HostPort) -> tuple[Address, ...]:
    """As the system knows it, the preferred address first.

    FabricUnavailable if there is none that a server can have.
    """
    try:
        found = socket.getaddrinfo(*server, type=socket.SOCK_DGRAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise Refused(f"{server} cannot be the name of a server\n    fix: check `server:`") from error
    except OSError as error:
        raise FabricUnavailable(
            f"{server}: {error.strerror}\n    fix: check the name and the network:  getent ahosts {server[0]}"
        ) from error
    addresses = dict.fromkeys((str(entry[4][0]), int(entry[4][1])) for entry in found)
    servers = tuple(filter(_may_be_a_servers, addresses))
    if not servers:
        said = ", ".join(host for host, _ in list(addresses)[:MOST_ADDRESSES])
        raise FabricUnavailable(
            f"{server}: no server has {said}\n"
            f"    fix: check the name, and whether a filter of names is in use:  getent ahosts {server[0]}"
        )
    return servers


def _may_be_a_servers(address: Address) -> bool:
    """To the unspecified address a kernel sends what is for itself, and by the other form of an IPv4 address, which the
    rules for IPv6 know nothing of, our packets would get into the tunnel."""
    host = ip_address(address[0])
    mapped = isinstance(host, IPv6Address) and host.ipv4_mapped is not None
    return not host.is_unspecified and not host.is_multicast and not mapped


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
