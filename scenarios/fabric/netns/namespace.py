"""Network namespaces held by file descriptor: the kernel removes one, with all that is in it, when nobody holds it.

Nothing has a name in the file system, so nothing is left behind by a process that is killed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.errors import FabricUnavailable
from scenarios.fabric.netns.syscalls import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER, setns, unshare

_OWN = "/proc/thread-self/ns/net"


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
        with self.inside():
            path = Path("/proc/sys/net", key)
            if path.exists():
                path.write_text(str(value))

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
    if os.geteuid() == 0 and _may(CLONE_NEWNET):
        return
    if os.geteuid() == 0:
        raise FabricUnavailable(
            "root may not make network namespaces here, as in a container without CAP_SYS_ADMIN\n"
            "    fix: give the container that capability, or run as an ordinary user;  poplab doctor  says more"
        )
    if len(os.listdir("/proc/self/task")) > 1:
        raise FabricUnavailable(
            "a process with several threads cannot enter a user namespace\n    fix: run as root, or by `poplab run`"
        )
    uid, gid = os.geteuid(), os.getegid()
    try:
        unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        raise FabricUnavailable(
            f"an ordinary user may not make a user namespace here ({error.strerror})\n"
            f"    fix: {_remedy()}, or run as root;  poplab doctor  says more"
        ) from error
    if not _may(CLONE_NEWNET):  # AppArmor lets the namespace be made, and then nothing be done in it
        raise FabricUnavailable(
            f"nothing may be done in a user namespace here\n    fix: {_remedy()}, or run as root"
        )


def _may(kind: int) -> bool:
    """Whether a child of this process can make a namespace."""
    pid = os.fork()
    if pid == 0:
        try:
            unshare(kind)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def _remedy() -> str:
    for path, value in (
        ("kernel/apparmor_restrict_unprivileged_userns", "0"),
        ("kernel/unprivileged_userns_clone", "1"),
        ("user/max_user_namespaces", "10000"),
    ):
        file = Path("/proc/sys", path)
        if file.exists() and (file.read_text().strip() == "0") == (value != "0"):
            return f"sudo sysctl -w {path.replace('/', '.')}={value}"
    return "allow user namespaces"


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
