"""Network namespaces of this process: each belongs to a thread, and ends with it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
import subprocess
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

import trio

from edge.proto.types import DropReason

T = TypeVar("T")

_NEW_NET = 0x40000000  # CLONE_NEWNET
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000


class Tun:
    """The least that a device needs."""

    def __init__(self, name: str) -> None:
        self.drops: Counter[DropReason] = Counter()
        self._device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(self._device, _TUNSETIFF, request)

    def fileno(self) -> int:
        return self._device

    def receive(self) -> list[bytearray]:
        packets = []
        try:
            while len(packets) < 64:
                packets.append(bytearray(os.read(self._device, 65536)))
        except BlockingIOError:
            pass
        return packets

    def send(self, packets: Sequence[bytearray]) -> None:
        for packet in packets:
            try:
                os.write(self._device, packet)
            except OSError:
                self.drops[DropReason.OTHER] += 1

    def close(self) -> None:
        os.close(self._device)


class Space:
    """A namespace; what is called through it happens there."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        try:
            self.call(_enter)
        except BaseException:
            self.close()
            raise
        self.ip("link", "set", "lo", "up")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._thread.shutdown()

    def call(self, what: Callable[..., T], *arguments: object) -> T:
        return self._thread.submit(what, *arguments).result()

    async def run(self, what: Callable[..., T], *arguments: object) -> T:
        """The same, while the other tasks go on."""
        return await trio.to_thread.run_sync(self.call, what, *arguments)

    def ip(self, *argv: str) -> str:
        return self.call(_run, "ip", *argv)

    def uplink(self, address: str) -> Tun:
        """Everything goes through it."""
        device = self.call(Tun, "uplink0")
        self.ip("address", "add", f"{address}/32", "dev", "uplink0")
        self.ip("link", "set", "uplink0", "up")
        self.ip("route", "add", "default", "dev", "uplink0")
        return device


def missing() -> str:
    """Why there can be no namespaces here, or the empty string."""
    try:
        Space().close()
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except FileNotFoundError as error:
        return f"not installed: {error.filename}"
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            return "needs root, or to be run by `unshare --user --map-root-user --net`"
        return str(error)
    return ""


def _enter() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_NET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert not done.returncode, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout
