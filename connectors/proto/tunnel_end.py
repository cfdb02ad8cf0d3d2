"""The far end of one tunnel, without IO: a WireGuard device with a single peer, the PoP, and the side behind it.

Call order: ``turn`` when datagrams came or something is due, then ``poll_transmit``, then sleep until ``poll_timeout``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from connectors.proto.side import PacketSide
from edge.proto.ip import packet_length
from edge.proto.types import Address
from edge.proto.wireguard import Aead, Device, HandshakeCompleted, Identity, TimestampClock


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

    def __add__(self, later: EndpointStatistics) -> EndpointStatistics:
        seconds = later.last_handshake_seconds
        return EndpointStatistics(
            self.packets_in + later.packets_in,
            self.bytes_in + later.bytes_in,
            self.packets_out + later.packets_out,
            self.bytes_out + later.bytes_out,
            self.handshakes + later.handshakes,
            self.last_handshake_seconds if seconds is None else seconds,
            self.datagrams_dropped + later.datagrams_dropped,
        )


class TunnelEnd:
    """Connects `side` to the PoP at `pop` whose public key is `pop_public`; begins to at once.

    `private_key` and `psk` are 32 bytes and never shown. `now` is monotonic seconds and `epoch` what to add for Unix
    time. `keepalive` in seconds keeps NAT mappings and the PoP's idea of our address fresh; it also makes the tunnel
    come up again without waiting for traffic. `aead` as in ``Device``.
    """

    def __init__(
        self,
        private_key: bytes,
        pop_public: bytes,
        pop: Address,
        side: PacketSide,
        *,
        now: float,
        epoch: float,
        rng: Callable[[int], bytes],
        psk: bytes | None = None,
        keepalive: float | None = None,
        aead: Aead = ChaCha20Poly1305,
    ) -> None:
        self.side = side
        identity = Identity.from_bytes(private_key)
        self.device = Device(identity, rng=rng, clock=TimestampClock(epoch), now=now, aead=aead)
        self.tunnel = self.device.add_peer(
            "pop", pop_public, psk=psk, endpoint=pop, persistent_keepalive=keepalive
        )
        self.last_handshake_seconds: float | None = None
        self._due = now
        self.device.initiate(self.tunnel, now)

    @property
    def has_been_up(self) -> bool:
        """True once a handshake has completed."""
        return self.last_handshake_seconds is not None

    @property
    def way(self) -> str:
        """wireguard, once it has been up."""
        return "wireguard" if self.has_been_up else ""

    def answers(self, now: float) -> bool:
        """Whether the PoP has answered the last that it must answer: an initiation. Silence alone is no sign."""
        return self.has_been_up and self.tunnel.last_initiation_out <= self.tunnel.last_handshake

    def turn(self, reads: Sequence[tuple[memoryview, int, Address]], now: float) -> None:
        """Both ways once: from the tunnel to the side, and from the side into the tunnel."""
        device, side = self.device, self.side
        if reads:
            for _, packets in device.open(reads, now):
                for packet in packets:
                    del packet[packet_length(packet) :]  # what the tunnel padded
                side.handle_packets(packets, now)
        if self._due <= now or reads:
            device.handle_timeout(now)
        side.handle_timeout(now)
        out = side.poll_packets()
        if out:
            device.seal(self.tunnel, out, now)
        for event in device.poll_events():
            if isinstance(event, HandshakeCompleted):
                self.last_handshake_seconds = event.seconds

    def rekey(self, now: float) -> None:
        """Start a handshake, at most one per REKEY_TIMEOUT, whatever the age of the present keys."""
        self.device.initiate(self.tunnel, now)

    def moved(self, now: float) -> None:
        """Our own address has changed: tell the PoP, which otherwise sends to the old one until we speak."""
        self.device.announce(self.tunnel, now)

    def poll_transmit(self) -> list[tuple[Address, list[bytes]]]:
        """Datagrams for the PoP."""
        return self.device.poll_transmit()

    def poll_timeout(self) -> float:
        """When ``turn`` is wanted next though nothing came."""
        self._due = self.device.next_timeout()
        return min(self._due, self.side.poll_timeout())

    def statistics(self) -> EndpointStatistics:
        tunnel = self.tunnel
        return EndpointStatistics(
            packets_in=tunnel.packets_in,
            bytes_in=tunnel.bytes_in,
            packets_out=tunnel.packets_out,
            bytes_out=tunnel.bytes_out,
            handshakes=tunnel.handshakes,
            last_handshake_seconds=self.last_handshake_seconds,
            datagrams_dropped=self.device.drops.total(),
        )
