"""A TUN device as a port: IP packets that the kernel routes to it come out, and what goes in, the kernel receives.

Each is a read or a write. The kernel could hand over 64 KiB of a flow at once and leave the checksums to us, but to cut
and sum in Python takes 4 us per packet of 1280 octets, and to read one that the kernel has cut less than 1 us; the same
holds for putting TCP segments together. There is no queue here: what the kernel does not take is a counted drop.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
from collections import Counter
from collections.abc import Sequence
from struct import Struct
from typing import Self

import trio

from edge.errors import FabricUnavailable, Refused
from edge.proto.types import DropReason

DEVICE = "/dev/net/tun"
MAX_NAME = 15  # octets: IFNAMSIZ less its NUL

# Linux numbers that no module names (include/uapi/linux/if_tun.h, sockios.h).
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI, _IFF_TUN_EXCL = 0x0001, 0x1000, 0x8000
_SIOCSIFMTU = 0x8922
_ifreq_flags = Struct("16sH22x")
_ifreq_number = Struct("16si20x")

PACKETS = 64  # of one ``receive``
READ_SIZE = 65536
QUIET = (errno.EAGAIN, errno.EINTR)


class DeviceGone(FabricUnavailable):
    """Somebody has deleted the interface."""


class Tun:
    """An open TUN device, and a context manager that closes it. It vanishes then, or when the process ends."""

    def __init__(self, device: int, name: str) -> None:
        self.name = name
        self.index = socket.if_nametoindex(name)
        self.drops: Counter[DropReason] = Counter()  # packets that neither side took
        self._device = device
        self._buffer = bytearray(READ_SIZE)
        self._view = memoryview(self._buffer)
        self._poll = select.poll()
        self._poll.register(device, select.POLLIN)

    @classmethod
    def open(cls, name: str, *, mtu: int) -> Self:
        """Make the interface `name` in the network namespace of the calling thread, with `mtu` octets; it is down.

        Refused if the name cannot be had, FabricUnavailable if this machine does not let us, each with the remedy.
        """
        check_name(name)
        try:
            device = os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise unavailable(error) from error
        try:
            flags = _IFF_TUN | _IFF_NO_PI | _IFF_TUN_EXCL
            try:
                fcntl.ioctl(device, _TUNSETIFF, _ifreq_flags.pack(name.encode(), flags))
            except OSError as error:
                raise _refusal(error, name) from error
            _set_mtu(name, mtu)
            return cls(device, name)
        except BaseException:
            os.close(device)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Once and for all; the interface vanishes with its addresses and routes."""
        if self._device >= 0:
            self._poll.unregister(self._device)
            os.close(self._device)
            self._device = -1

    def fileno(self) -> int:
        return self._device

    async def wait_readable(self) -> None:
        await trio.lowlevel.wait_readable(self._device)

    def poll(self, seconds: float) -> bool:
        """Whether there is something to read within `seconds` (whole milliseconds). Blocks the thread."""
        return bool(self._poll.poll(seconds * 1000))

    def receive(self) -> list[bytearray]:
        """Packets that the kernel has for us now, PACKETS at most; empty if there are none. Never waits.

        DeviceGone if there will never be any again.
        """
        packets: list[bytearray] = []
        device, buffer, view = self._device, [self._buffer], self._view
        while len(packets) < PACKETS:
            try:
                size = os.readv(device, buffer)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in QUIET:
                    break
                raise DeviceGone(f"{self.name}: the interface was deleted\n    fix: start again") from error
            packets.append(bytearray(view[:size]))
        return packets

    def send(self, packets: Sequence[bytearray]) -> None:
        """Give packets to the kernel, as if they had been received. Never waits: what it refuses is a counted drop."""
        device = self._device
        for packet in packets:
            try:
                os.write(device, packet)
            except OSError as error:
                full = error.errno in (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM)
                self.drops[DropReason.QUEUE_FULL if full else DropReason.OTHER] += 1


def check_name(name: str) -> None:
    """Refused if the kernel would not take `name` for an interface, or make another of it."""
    fix = f"a name of up to {MAX_NAME} letters and digits, such as poplab0"
    if len(name.encode()) > MAX_NAME:
        raise Refused(f"{name!r}: an interface has at most {MAX_NAME} characters in its name\n    fix: {fix}")
    if name in ("", ".", "..") or any(c in "/:%" or c.isspace() or not c.isprintable() for c in name):
        raise Refused(f"{name!r} cannot be the name of an interface\n    fix: {fix}")


def _set_mtu(name: str, mtu: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            fcntl.ioctl(sock, _SIOCSIFMTU, _ifreq_number.pack(name.encode(), mtu))
        except OSError as error:
            raise Refused(
                f"{name}: an MTU of {mtu} octets: {error.strerror}\n    fix: 1280 to 65535"
            ) from error


def unavailable(error: OSError) -> FabricUnavailable:
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        why, fix = (
            "there is none here",
            "`modprobe tun`; in a container, start it with `--device /dev/net/tun`",
        )
    elif error.errno in (errno.EACCES, errno.EPERM):
        why, fix = (
            "this process may not open it",
            "run as root; or, in a container, with `--device /dev/net/tun`",
        )
    else:
        why, fix = error.strerror or "failed", "see dmesg"
    return FabricUnavailable(f"{DEVICE}: {why}\n    fix: {fix}")


def _refusal(error: OSError, name: str) -> Refused | FabricUnavailable:
    if error.errno == errno.EPERM:
        return FabricUnavailable(
            f"{name}: making an interface needs the capability CAP_NET_ADMIN\n"
            "    fix: run as root, or by systemd with AmbientCapabilities=CAP_NET_ADMIN; in a container, with "
            "--cap-add NET_ADMIN"
        )
    if error.errno in (errno.EBUSY, errno.EEXIST):
        return Refused(
            f"{name}: there is an interface of that name already\n"
            f"    fix: another name, or see whose it is:  ip -details link show {name}"
        )
    return FabricUnavailable(f"{name}: the kernel makes no TUN device: {error.strerror}\n    fix: see dmesg")
