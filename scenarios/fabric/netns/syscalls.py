"""System calls of Linux that Python 3.11 has no names for, through libc."""

from __future__ import annotations

import ctypes
import os
import signal

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def unshare(flags: int) -> None:
    """unshare(2), of the calling thread. OSError."""
    _checked(_libc.unshare(flags))


def setns(fd: int, kind: int) -> None:
    """setns(2), of the calling thread. OSError."""
    _checked(_libc.setns(fd, kind))


def die_with_parent() -> None:
    """The kernel kills this process when the thread that forked it ends (prctl(2) PR_SET_PDEATHSIG)."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))


def mount(source: str, target: str, kind: str, flags: int = 0) -> None:
    """mount(2). OSError."""
    _checked(_libc.mount(source.encode(), target.encode(), kind.encode(), flags, None))
