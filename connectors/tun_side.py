"""The side behind a tunnel as a device of this machine's kernel: what is routed there goes into the tunnel."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from connectors.proto.border import Border
from edge.proto.types import NEVER

INBOX = 512  # packets read ahead while nobody takes them


class PacketDevice(Protocol):
    """A Tun, or what stands for one."""

    def fileno(self) -> int: ...

    def receive(self) -> list[bytearray]: ...

    def send(self, packets: list[bytearray]) -> None: ...


class TunSide:
    """A ``PacketSide`` whose device is opened by `open_device` for each run of its endpoint, and closed after it.

    `open_device` may also set the interface up, and on the way out take back what it changed. `zombie`: the tunnel
    stays alive and forwards nothing, but for what is of or for the addresses of this machine, `own`, each packed.
    """

    def __init__(
        self,
        open_device: Callable[[], AbstractContextManager[PacketDevice]],
        border: Border,
        *,
        own: Iterable[bytes] = (),
    ) -> None:
        self.border = border
        self._own = frozenset(own)
        self.zombie = False
        self.packets_in = 0  # into the tunnel
        self.packets_out = 0
        self.lost = 0  # to a zombie, or for want of a device
        self.on_zombie: Callable[[bytearray], None] | None = None
        """Told what a zombie does not let pass, while somebody looks on."""
        self._open_device = open_device
        self._device: PacketDevice | None = None
        self._inbox: list[bytearray] = []

    @contextmanager
    def attached(self) -> Iterator[PacketDevice]:
        """With the device, for one run."""
        with self._open_device() as device:
            self._device = device
            try:
                yield device
            finally:
                self._device = None
                self._inbox = []

    def gather(self) -> bool:
        """Read what the kernel has, a bounded number of packets; whether there is something for the tunnel."""
        device = self._device
        if device is not None and len(self._inbox) < INBOX:
            packets = device.receive()
            if packets:
                self._inbox += self.border.outward(packets)
        return bool(self._inbox)

    def handle_packets(self, packets: list[bytearray], now: float) -> None:
        if self._device is None:
            self.lost += len(packets)
            return
        if self.zombie:
            packets = self._spared(packets, slice(16, 20), slice(24, 40))
        packets = self.border.inward(packets)
        self.packets_out += len(packets)
        self._device.send(packets)

    def poll_packets(self) -> list[bytearray]:
        packets = self._inbox
        if not packets:
            return packets
        self._inbox = []
        if self.zombie:
            packets = self._spared(packets, slice(12, 16), slice(8, 24))
        self.packets_in += len(packets)
        return packets

    def _spared(self, packets: list[bytearray], place4: slice, place6: slice) -> list[bytearray]:
        """What a zombie lets pass; the places are those of the address that counts, in IPv4 and IPv6."""
        spared = []
        for packet in packets:
            if packet and bytes(packet[place4 if packet[0] >> 4 == 4 else place6]) in self._own:
                spared.append(packet)
                continue
            self.lost += 1
            if self.on_zombie is not None:
                self.on_zombie(packet)
        return spared

    def handle_timeout(self, now: float) -> None:
        """Nothing is ever due: the kernel keeps its own timers."""

    def poll_timeout(self) -> float:
        return NEVER
