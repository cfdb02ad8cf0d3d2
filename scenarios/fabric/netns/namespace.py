"""Network namespaces held by file descriptor: the kernel removes one, with all that is in it, when nobody holds it.

Nothing has a name in the file system, so nothing is left behind by a process that is killed.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import pack

from edge.errors import FabricUnavailable
from scenarios import doctor
from scenarios.fabric.netns.syscalls import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER, setns, unshare

NETNS = "netns"
"""What the doctor calls this fabric."""

_OWN = "/proc/thread-self/ns/net"
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1


class Namespace:
    """One network namespace. `name` is for people."""

    def __init__(self, name: str) -> None:
        """Make it; the calling thread stays where it is. OSError."""
        self.name = name
        home = _open(_OWN)
        try:
            unshare(CLONE_NEWNET)
            try:
                self._fd = _open(_OWN)
            finally:
                setns(home, CLONE_NEWNET)
        finally:
            os.close(home)

    def __repr__(self) -> str:
        return f"<Namespace {self.name}>"

    @property
    def fd(self) -> int:
        return self._fd

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is in it. What is opened stays there. No other task of the thread may run meanwhile."""
        home = _open(_OWN)
        try:
            setns(self._fd, CLONE_NEWNET)
            try:
                yield
            finally:
                setns(home, CLONE_NEWNET)
        finally:
            os.close(home)

    def sysctl(self, key: str, value: int) -> None:
        """Set a key below ``net``, written with slashes; one that this kernel does not have is left out."""
        self.sysctls({key: value})

    def sysctls(self, values: Mapping[str, int]) -> None:
        """The same for several. OSError."""
        with self.inside():
            for key, value in values.items():
                with suppress(FileNotFoundError):
                    setting = os.open(f"/proc/sys/net/{key}", os.O_WRONLY | os.O_CLOEXEC)
                    try:
                        os.write(setting, str(value).encode())
                    finally:
                        os.close(setting)

    def close(self) -> None:
        """Let go of it. What else holds it, as sockets and processes do, keeps it alive."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def become_privileged() -> None:
    """Make sure that this process may make namespaces: as root it may, else in a user namespace of its own.

    That one is for the rest of its life, and comes with an empty network: the machine's own is out of reach from then
    on. FabricUnavailable with the reason and the remedy if the system does not let us.
    """
    if os.geteuid() == 0 and _succeeds(_come_and_go):
        return
    if len(os.listdir("/proc/self/task")) > 1:
        raise FabricUnavailable(
            "a process with several threads cannot enter a user namespace\n    fix: run as root, or by `poplab run`"
        )
    # Root of a user namespace that is in a network of somebody else's may leave that one, but never come back.
    for enter in (*((_enter_network,) if os.geteuid() == 0 else ()), _enter_user):
        if _succeeds(enter, _come_and_go):
            try:
                enter()
            except OSError as error:
                # The attempt has used up a limit, and the kernel takes its time to count back.
                what = f"no namespaces can be made here: {error.strerror}"
                raise FabricUnavailable(f"{what}\n    fix: try again;  poplab doctor  says more") from error
            return
    raise FabricUnavailable(_why_not())


def _come_and_go() -> None:
    """All that a machine needs. OSError."""
    home = _open(_OWN)
    unshare(CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, pack("16sh22x", b"lo", _IFF_UP))
    setns(home, CLONE_NEWNET)
    os.close(home)


def _enter_network() -> None:
    unshare(CLONE_NEWNET | CLONE_NEWNS)


def _enter_user() -> None:
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
    Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def _succeeds(*attempts: Callable[[], object]) -> bool:
    """Whether a child of this process can do all of it."""
    pid = os.fork()
    if pid == 0:
        try:
            for attempt in attempts:
                attempt()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def _why_not() -> str:
    found = doctor.missing(NETNS)
    if not found:  # it tries in ways of its own
        return "no network namespace can be made here\n    fix: run as root;  poplab doctor  says more"
    return f"{found[0].lack}: {found[0].detail}\n    fix: {found[0].fix};  poplab doctor  says more"


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
