"""What lies behind a tunnel of ours in these tests: it answers UDP, and remembers how it came."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

from edge.proto.ip import UDP, parse_untrusted
from edge.proto.types import NEVER


class Mirror:
    """Sends each UDP packet back to its source, each fragment by itself.

    Exchanging addresses and ports leaves every checksum as it was, so nothing has to be put together.
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []  # of packets, in order
        self.fragments = 0
        self.sources: Counter[str] = Counter()
        self._out: list[bytearray] = []

    def handle_packets(self, packets: list[bytearray], now: float) -> None:
        for packet in packets:
            header = parse_untrusted(packet)
            if header.protocol != UDP:
                continue
            self.sizes.append(len(packet))
            self.fragments += header.is_fragment
            self.sources[str(ip_address(header.source))] += 1
            back = bytearray(packet)
            at, size = (12, 4) if header.version == 4 else (8, 16)
            _exchange(back, at, size)
            if not header.fragment_offset:
                _exchange(back, header.header_length, 2)
            self._out.append(back)

    def poll_packets(self) -> list[bytearray]:
        out, self._out = self._out, []
        return out

    def handle_timeout(self, now: float) -> None:
        pass

    def poll_timeout(self) -> float:
        return NEVER


def _exchange(packet: bytearray, at: int, size: int) -> None:
    """The field of `size` bytes with the one behind it."""
    middle, end = at + size, at + 2 * size
    packet[at:end] = packet[middle:end] + packet[at:middle]
