"""Namespaces to try things in: they are gone when the process that entered them ends."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x00020000, 0x10000000, 0x20000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 1 << 18
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
NOBODY = 65534


class Step(OSError):
    """An OSError that says which step it was."""

    def __init__(self, step: str, code: int) -> None:
        super().__init__(code, os.strerror(code))
        self.step = step


def _call(step: str, name: str, *arguments: object) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) != 0:
        raise Step(step, ctypes.get_errno())


def unshare(flag: int, word: str) -> None:
    _call(f"unshare({word})", "unshare", ctypes.c_int(flag))


def die_with_parent() -> None:
    if sys.platform == "linux":
        _call("prctl", "prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def become_ordinary() -> None:
    """Root gives up root for good."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    _call("prctl", "prctl", PR_SET_DUMPABLE, 1, 0, 0, 0)  # else /proc/self is still root's


def enter_user() -> None:
    """A user namespace in which this user is root."""
    user, group = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER, "CLONE_NEWUSER")
    # user_namespaces(7): without a privilege outside, groups have to be given up before the map is written
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        try:
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
        except OSError as error:
            raise Step(f"write to /proc/self/{name}", error.errno or 0) from error


def enter_network() -> None:
    unshare(CLONE_NEWNET, "CLONE_NEWNET")


def enter_mount() -> None:
    """And a file system of its own in it. Nothing is mounted unless the rest of the machine cannot see it."""
    unshare(CLONE_NEWNS, "CLONE_NEWNS")
    _call("mount(MS_PRIVATE)", "mount", b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None)
    _call("mount(tmpfs)", "mount", b"tmpfs", b"/tmp", b"tmpfs", ctypes.c_ulong(0), None)


def enter_pid() -> None:
    """The namespace is that of the next child: whether it is the first there, it can see."""
    unshare(CLONE_NEWPID, "CLONE_NEWPID")
    first = forked(lambda: os._exit(0 if os.getpid() == 1 else 1))
    if first:
        raise Step("fork", 0)


def forked(body: Callable[[], object]) -> int:
    """Exit code of a child that ran `body`; it dies with this process."""
    with child(body) as process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@contextmanager
def child(body: Callable[[], object]) -> Iterator[int]:
    process = os.fork()
    if process == 0:
        code = 1
        try:
            die_with_parent()
            body()
            code = 0
        finally:
            os._exit(code)
    yield process
