"""What lies behind a tunnel: one host, or a site's router with a LAN of hosts. The port that both implement."""

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
