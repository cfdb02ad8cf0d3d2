"""What lies behind a tunnel: one host, or a site's router with a LAN of hosts. The port that both implement, and
who may look on there."""

from __future__ import annotations

from typing import Protocol


class PacketSide(Protocol):
    """Whole IP packets in and out, no padding. Sans-IO: driven by whoever owns the tunnel."""

    def handle_packets(self, packets: list[bytearray], now: float) -> None:
        """Packets that came out of the tunnel."""

    def poll_packets(self) -> list[bytearray]:
        """Packets that shall go into the tunnel, in order; each is given once."""

    def handle_timeout(self, now: float) -> None:
        """Do what is due. Calling early is harmless."""

    def poll_timeout(self) -> float:
        """When ``handle_timeout`` is wanted next, or NEVER."""


class Watch(Protocol):
    """Looks on at the tunnel of a connector. `reason` is why a packet went no further; empty if it did."""

    def came(self, packet: bytes, reason: str, now: float) -> None:
        """Out of the tunnel, as it was there."""

    def went(self, packet: bytes, reason: str, now: float) -> None:
        """Into the tunnel; with a `reason`, it would have."""

    def missed(self, packets: int) -> None:
        """So many have passed unseen."""
