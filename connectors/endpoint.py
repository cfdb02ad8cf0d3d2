"""The far end of one tunnel: a WireGuard device with a single peer, the PoP, on a UDP port of its own.

One task drives everything behind the tunnel too: datagrams, timers and the hosts' own deadlines share its loop.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import trio

from connectors.proto import PacketSide
from edge.io.driver import Driver, Port
from edge.io.udp import Read, UdpPort
from edge.proto.ip import packet_length
from edge.proto.types import Address
from edge.proto.wireguard import Device, HandshakeCompleted, Identity, TimestampClock, Tunnel

DRAIN_TURNS = 1024  # when stopping: what the socket holds, but no endless flood


@dataclass(frozen=True, slots=True)
class EndpointStatistics:
    """What went through, in inner packets and bytes (padding included), and how the handshakes went."""

    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int
    handshakes: int
    last_handshake_seconds: float | None
    datagrams_dropped: int


class Endpoint:
    """Connects `side` to the PoP at `pop` whose public key is `pop_public`.

    `private_key` and `psk` are 32 bytes and never shown. `keepalive` in seconds keeps NAT mappings and the PoP's
    idea of our address fresh; it also makes the tunnel come up without waiting for traffic. `open_port` is called once
    per run with the address to bind; a lab puts a simulated path there.
    """

    def __init__(
        self,
        name: str,
        private_key: bytes,
        pop_public: bytes,
        pop: Address,
        side: PacketSide,
        *,
        psk: bytes | None = None,
        keepalive: float | None = 25.0,
        bind: Address | None = None,
        open_port: Callable[[Address], Port] = UdpPort.bind,
        rng: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.name = name
        self.side = side
        self.pop = pop
        self._private_key = private_key
        self._pop_public = pop_public
        self._psk = psk
        self._keepalive = keepalive
        self._bind = bind or (("::1", 0) if ":" in pop[0] else ("127.0.0.1", 0))
        self._open_port = open_port
        self._rng = rng
        self._driver: Driver | None = None
        self._device: Device | None = None
        self._up = trio.Event()
        self._last_handshake_seconds: float | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} up={self.up}>"

    @property
    def up(self) -> bool:
        """True once a handshake of this run has completed."""
        return self._up.is_set()

    @property
    def address(self) -> Address:
        """The outer address that this end sends from; only while it runs."""
        assert self._driver is not None, "not running"
        return self._driver.port.address

    async def wait_up(self) -> None:
        await self._up.wait()

    def wake(self) -> None:
        """Look at `side` again: somebody gave a host behind it something to do."""
        if self._driver is not None:
            self._driver.wake()

    def statistics(self) -> EndpointStatistics:
        device = self._device
        if device is None:
            return EndpointStatistics(0, 0, 0, 0, 0, None, 0)
        (tunnel,) = device.tunnels.values()
        return EndpointStatistics(
            packets_in=tunnel.packets_in,
            bytes_in=tunnel.bytes_in,
            packets_out=tunnel.packets_out,
            bytes_out=tunnel.bytes_out,
            handshakes=tunnel.handshakes,
            last_handshake_seconds=self._last_handshake_seconds,
            datagrams_dropped=device.drops.total(),
        )

    async def run(self, *, task_status: trio.TaskStatus[Endpoint] = trio.TASK_STATUS_IGNORED) -> None:
        """Run until cancelled; started once the port is bound. The tunnel comes up on its own.

        A stop is graceful: what has arrived is still delivered, and what the hosts have to say to it still leaves.
        """
        port = self._open_port(self._bind)
        if self._up.is_set():  # an earlier run's
            self._up = trio.Event()
        try:
            now = trio.current_time()
            device = Device(
                Identity.from_bytes(self._private_key),
                rng=self._rng,
                clock=TimestampClock(time.time() - now),
                now=now,
            )
            tunnel = device.add_peer(
                "pop",
                self._pop_public,
                psk=self._psk,
                endpoint=self.pop,
                persistent_keepalive=self._keepalive,
            )
            driver = Driver(port)
            self._device, self._driver = device, driver
            device.initiate(tunnel, now)
            port.send(device.poll_transmit())
            task_status.started(self)
            try:
                while True:
                    reads = await driver.wait(min(device.poll_timeout().at, self.side.poll_timeout()))
                    self._turn(device, tunnel, port, reads)
            except trio.Cancelled:
                for _ in range(DRAIN_TURNS):
                    reads = port.receive()
                    self._turn(device, tunnel, port, reads)
                    if not reads:
                        break
                raise
        finally:
            self._driver = None
            port.close()

    def _turn(self, device: Device, tunnel: Tunnel, port: Port, reads: list[Read]) -> None:
        """Both ways once: from the tunnel to the side, and from the side into the tunnel."""
        now = trio.current_time()
        side = self.side
        for _, packets in device.open(reads, now):
            for packet in packets:
                del packet[packet_length(packet) :]  # what the tunnel padded
            side.handle_packets(packets, now)
        device.handle_timeout(now)
        side.handle_timeout(now)
        out = side.poll_packets()
        if out:
            device.seal(tunnel, out, now)
        port.send(device.poll_transmit())
        for event in device.poll_events():
            if isinstance(event, HandshakeCompleted):
                self._last_handshake_seconds = event.seconds
                self._up.set()
