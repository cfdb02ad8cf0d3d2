"""What stands for a TUN device where /dev/net/tun may not be opened: a veth pair whose other end we hold by a socket.

The interface does no ARP, so its kernel sends whatever is routed to it, as into a TUN device; packets go back by its
own link-layer address. Without offloads, what is seen there is what a wire would carry.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from errno import EAGAIN, ENOBUFS

from connectors.tun import PACKETS, READ_SIZE
from edge.proto.types import DropReason

SO_RCVBUFFORCE, SO_SNDBUFFORCE = 33, 32
BUFFER = 8 << 20
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD


class VethWire:
    """The surface of a ``Tun``. `held` is a packet socket bound to our end, `address` the link-layer one of theirs.

    `remove` takes the pair away.
    """

    def __init__(
        self, name: str, index: int, held: socket.socket, address: bytes, remove: Callable[[], None]
    ) -> None:
        self.name = name
        self.index = index
        self.drops: Counter[DropReason] = Counter()
        self._held = held
        self._address = address
        self._remove = remove
        self._interface = held.getsockname()[0]
        held.setblocking(False)
        for option in (SO_RCVBUFFORCE, SO_SNDBUFFORCE):
            with suppress(OSError):
                held.setsockopt(socket.SOL_SOCKET, option, BUFFER)

    def __enter__(self) -> VethWire:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def fileno(self) -> int:
        return self._held.fileno()

    def close(self) -> None:
        """Once and for all; the interface vanishes with its addresses and routes."""
        if self._held.fileno() >= 0:
            self._held.close()
            self._remove()

    def receive(self) -> list[bytearray]:
        """As ``Tun.receive``."""
        packets: list[bytearray] = []
        for _ in range(PACKETS):
            try:
                data, (_, protocol, *_) = self._held.recvfrom(READ_SIZE)
            except BlockingIOError:
                break
            if protocol in (ETH_P_IP, ETH_P_IPV6):
                packets.append(bytearray(data))
        return packets

    def send(self, packets: Sequence[bytearray]) -> None:
        """As ``Tun.send``."""
        for packet in packets:
            protocol = ETH_P_IP if packet[0] >> 4 == 4 else ETH_P_IPV6
            try:
                self._held.sendto(packet, (self._interface, protocol, 0, 0, self._address))
            except OSError as error:
                full = error.errno in (EAGAIN, ENOBUFS)
                self.drops[DropReason.QUEUE_FULL if full else DropReason.OTHER] += 1
