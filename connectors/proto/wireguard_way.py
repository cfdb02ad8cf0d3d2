"""WireGuard as one way to the PoP among others."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.proto.choice import NO_ANSWER, STAGGER, Health
from connectors.proto.way import Reads
from edge.proto.ip import packet_length
from edge.proto.masque.route import AddressRange
from edge.proto.types import NEVER, Address, StreamEvent, StreamOutput
from edge.proto.wireguard import Device, HandshakeCompleted, Tunnel
from edge.proto.wireguard.timers import REKEY_TIMEOUT


class WireGuardWay:
    """`device` has the single peer `tunnel`."""

    word = "wireguard"

    def __init__(self, device: Device, tunnel: Tunnel) -> None:
        self.device = device
        self.tunnel = tunnel
        self.last_handshake_seconds: float | None = None
        self._running = False
        self._begun = 0.0
        self._failure = ""  # of the latest attempt that is over
        self._due = -NEVER

    @property
    def handshakes(self) -> int:
        return self.tunnel.handshakes

    @property
    def datagrams_dropped(self) -> int:
        return self.device.drops.total()

    @property
    def advertised(self) -> Sequence[AddressRange]:
        """The protocol has no word for it."""
        return ()

    def begin(self, now: float) -> None:
        self._running = True
        self._begun = now
        self.device.initiate(self.tunnel, now)

    def end(self, now: float) -> None:
        """WireGuard has no goodbye; the PoP sends through whichever way speaks."""
        self._failure = NO_ANSWER if self.health(now) is Health.TRYING else ""
        self._running = False

    def failure(self, now: float) -> str:
        how = self.health(now)
        if how is Health.QUIET or (how is Health.TRYING and now >= self._begun + STAGGER):
            return NO_ANSWER
        return "" if how is Health.UP else self._failure

    def health(self, now: float) -> Health:
        if not self._running:
            return Health.IDLE
        if not self.tunnel.is_up(now) or self.tunnel.last_handshake < self._begun - REKEY_TIMEOUT:
            return (
                Health.TRYING
            )  # also with keys of before: whether the path still carries, only an answer tells
        # Its own timer asks for a new handshake after 15 s without an answer; until then nobody knows better.
        return Health.QUIET if self.tunnel.attempts > 1 and self.tunnel.pending is not None else Health.UP

    def moved(self, now: float) -> None:
        """Else the PoP sends to the old one until we speak."""
        if self._running:
            self.device.announce(self.tunnel, now)

    def turn(self, reads: Reads, streams: Sequence[StreamEvent], now: float) -> list[bytearray]:
        device, packets = self.device, []
        mine = [read for read in reads if read[2] == self.tunnel.endpoint]
        for _, opened in device.open(mine, now) if mine else ():
            for packet in opened:
                del packet[packet_length(packet) :]  # what the tunnel padded
            packets += opened
        if self._running and (mine or self._due <= now):
            device.handle_timeout(now)
        for event in device.poll_events():
            if isinstance(event, HandshakeCompleted):
                self.last_handshake_seconds = event.seconds
        return packets

    def seal(self, packets: list[bytearray], now: float) -> None:
        self.device.seal(self.tunnel, packets, now)

    def poll_transmit(self) -> list[tuple[Address, list[bytes]]]:
        return self.device.poll_transmit()

    def poll_dials(self) -> list[tuple[int, Address]]:
        return []

    def poll_streams(self) -> list[StreamOutput]:
        return []

    def poll_timeout(self) -> float:
        self._due = self.device.next_timeout() if self._running else NEVER
        return self._due
