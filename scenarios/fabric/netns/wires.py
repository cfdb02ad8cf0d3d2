"""Moves packets between TUN devices and the Internet in the middle: one task, whatever their number."""

from __future__ import annotations

from collections import Counter

import trio

from edge.io.driver import Driver
from edge.proto.types import DropReason
from scenarios.fabric.netns.devices import Device, Devices
from scenarios.proto.internet import POP, Internet


class Wires:
    """The uplinks of a world. Its clock is trio's, and `internet` may be changed between two turns: then ``wake`` it.

    Devices come and go while it runs. With the end of ``run`` all are closed, and their interfaces vanish.
    """

    def __init__(self, internet: Internet) -> None:
        self.internet = internet
        self._devices = Devices()
        self._driver = Driver(self._devices)
        self._closed = False

    @property
    def drops(self) -> Counter[DropReason]:
        """Packets that no kernel took: the interface is down or gone, or there was no memory."""
        return self._devices.total_drops()

    @property
    def gone(self) -> list[str]:
        """Devices whose interface somebody has deleted."""
        return self._devices.gone

    def plug(self, name: str, device: Device) -> None:
        """The uplink of the far end `name`, or of POP; takes it over. ValueError if there is one."""
        self._devices.add(name, device)
        self.wake()

    def unplug(self, name: str) -> None:
        """Close it, if it is there; what is on its way to it is lost."""
        self._devices.remove(name)

    def wake(self) -> None:
        """Somebody has done something to the Internet or the devices."""
        self._driver.wake()

    def close(self) -> None:
        """For one that does not run; harmless when repeated."""
        if not self._closed:
            self._closed = True
            self._devices.close()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled."""
        internet, devices = self.internet, self._devices
        task_status.started()
        try:
            while True:
                devices.deadline = due = internet.poll_timeout()
                for name, packets in await self._driver.wait(due):
                    if name == POP:
                        internet.from_pop(packets, trio.current_time())
                    else:
                        internet.from_end(name, packets, trio.current_time())
                for name, packets in internet.poll(trio.current_time()):
                    devices.send(name, packets)
        finally:
            self.close()
