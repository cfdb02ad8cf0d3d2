"""How much of the machine a world takes, and what to do where it has not enough."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

from edge.config import Kind
from edge.errors import FabricUnavailable
from scenarios.world import World

# Open files.
_OURSELVES = 64  # of the PoP, the runner and its reports, with some to spare
_MACHINE = 2  # its namespace, and a socket to configure it
_HOST = 2  # in and out of its card
_TUNNEL = 8  # two TUN devices and the sockets of its ways
_PROGRAM = 8  # its three pipes, twice while it starts, and what its log needs


def needed(world: World) -> int:
    """Open files, about."""
    sites = {end.premises.inside.name for end in world.ends if end.kind is Kind.CONNECTOR}
    machines = 1 + sum(len(world.plans[site].machines) + 1 for site in sites)
    machines += sum(end.kind is Kind.CLIENT for end in world.ends)
    cast = world.script.cast
    programs = sum(len(cast.actors[name].apps.programs or ()) + 1 for name in cast.real)
    return (
        _OURSELVES
        + _MACHINE * machines
        + _HOST * len(world.members)
        + _TUNNEL * len(world.ends)
        + _PROGRAM * programs
    )


def make_room(world: World) -> int:
    """Let this process open as many files as it needs; how many it might before. FabricUnavailable if it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed(world) + len(os.listdir("/proc/self/fd"))
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise FabricUnavailable(_too_many_files(wanted, hard))
    if soft != resource.RLIM_INFINITY and wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return soft


def _too_many_files(wanted: int, limit: int) -> str:
    return (
        f"this world needs about {wanted:,} open files, and the limit is {limit:,}\n"
        f"    fix: ulimit -n {wanted}  in the shell, as root if it is refused; or fewer hosts"
    )


@contextmanager
def explained(world: World) -> Iterator[None]:
    """What the machine has no room for, or forbids, in words: FabricUnavailable instead of OSError."""
    try:
        yield
    except OSError as error:
        raise FabricUnavailable(_words(error, world)) from error


def _words(error: OSError, world: World) -> str:
    what = f"the machines of this world cannot be made: {error.strerror or error}"
    if error.errno == errno.EMFILE:
        return _too_many_files(2 * needed(world), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    if error.errno == errno.ENOSPC:
        limits = " ".join(f"user.max_{kind}_namespaces=15000" for kind in ("net", "pid", "mnt"))
        return f"{what}\n    fix: sudo sysctl -w {limits}"
    if error.errno == errno.EROFS:
        return (
            f"{what}: {error.filename or '/proc/sys'} cannot be written here, as in many containers\n"
            "    fix: start the container with --privileged, or with --security-opt systempaths=unconfined"
        )
    return f"{what}\n    fix: poplab doctor  says what this machine lacks"
