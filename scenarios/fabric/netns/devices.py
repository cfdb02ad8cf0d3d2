"""The TUN devices whose other ends this process holds, as one source for a driver.

An open device keeps its network namespace alive: what should vanish has to be closed here first.
"""

from __future__ import annotations

import select
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import trio

from edge.errors import FabricUnavailable
from edge.proto.types import NEVER, DropReason
from scenarios.fabric.netns.alarm import Alarm


class Device(Protocol):
    """A TUN device without offloads; its file descriptor does not block."""

    @property
    def drops(self) -> Counter[DropReason]:
        """Packets that the kernel did not take."""

    def fileno(self) -> int: ...

    def receive(self) -> list[bytearray]:
        """What the kernel has for us now, a few dozen packets at most. OSError or FabricUnavailable once it is gone."""

    def send(self, packets: Sequence[bytearray]) -> None:
        """Give them to the kernel. Never waits or raises: what it refuses is a counted drop."""

    def close(self) -> None: ...


class Devices:
    """Waits on all of them at once: an epoll set of its own is what trio waits for. Takes the devices over."""

    def __init__(self) -> None:
        self.drops: Counter[DropReason] = Counter()
        """Packets for devices that are not there (any more), and those that a device now gone did not take."""
        self.gone: list[str] = []
        """Names of those whose interface somebody has deleted."""
        self._by_name: dict[str, Device] = {}
        self._by_number: dict[int, str] = {}
        self.deadline = NEVER
        """When whoever waits wants to be woken, in trio's time, and closer to it than trio comes."""
        self._alarm = Alarm()
        self._epoll = select.epoll()
        self._epoll.register(self._alarm, select.EPOLLIN | select.EPOLLET)

    def add(self, name: str, device: Device) -> None:
        """ValueError if there is one of this name; then, too, it is closed."""
        if name in self._by_name:
            device.close()
            raise ValueError(f"{name} is plugged in already")
        self._epoll.register(device, select.EPOLLIN)
        self._by_name[name] = device
        self._by_number[device.fileno()] = name

    def remove(self, name: str) -> None:
        """Close it, if it is there; the interface vanishes."""
        device = self._by_name.pop(name, None)
        if device is None:
            return
        del self._by_number[device.fileno()]
        self._epoll.unregister(device)
        self.drops += device.drops
        device.close()

    def total_drops(self) -> Counter[DropReason]:
        """Packets that no kernel took."""
        return sum((device.drops for device in self._by_name.values()), self.drops)

    def close(self) -> None:
        for name in list(self._by_name):
            self.remove(name)
        self._epoll.close()
        self._alarm.close()

    def send(self, name: str, packets: Sequence[bytearray]) -> None:
        device = self._by_name.get(name)
        if device is None:
            self.drops[DropReason.TUNNEL_DOWN] += len(packets)
        else:
            device.send(packets)

    # -- what a driver calls

    def receive(self) -> list[tuple[str, list[bytearray]]]:
        arrivals = []
        for number, _ in self._epoll.poll(0):
            name = self._by_number.get(number)
            if name is None:
                continue  # the alarm
            try:
                packets = self._by_name[name].receive()
            except (OSError, FabricUnavailable):
                self.gone.append(name)
                self.remove(name)
                continue
            if packets:
                arrivals.append((name, packets))
        return arrivals

    async def wait_readable(self) -> None:
        if self.deadline < NEVER:
            self._alarm.set(self.deadline - trio.current_time())
        await trio.lowlevel.wait_readable(self._epoll)

    def poll(self, seconds: float) -> bool:
        return bool(self._epoll.poll(seconds, 1))
