"""What may pass between a tunnel and the kernel behind it: only what belongs there (BCP 38), both ways.

The kernel is the router: it decrements the TTL, fragments and answers; here nothing is written into a packet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network

from edge.proto.types import DropReason

KNOWN = 4096  # addresses of which is remembered whether they belong here


class Border:
    """`prefixes` are all that lies behind the tunnel: a site's, and the addresses of this end itself."""

    def __init__(self, prefixes: Iterable[IPv4Network | IPv6Network]) -> None:
        self.drops: Counter[DropReason] = Counter()
        self.on_drop: Callable[[DropReason, bytearray], None] | None = None
        """Told what dies here, while somebody looks on."""
        # (address length, prefix as integer without its host bits, number of host bits)
        self._prefixes = [
            (
                net.max_prefixlen // 8,
                int(net.network_address) >> (net.max_prefixlen - net.prefixlen),
                net.max_prefixlen - net.prefixlen,
            )
            for net in prefixes
        ]
        self._known: dict[bytes, bool] = {}

    @property
    def remembered(self) -> int:
        """Addresses that were looked at, KNOWN at most."""
        return len(self._known)

    def holds(self, address: bytes) -> bool:
        """Whether `address`, 4 or 16 bytes, is behind the tunnel."""
        known = self._known.get(address)
        if known is None:
            value = int.from_bytes(address, "big")
            known = any(
                len(address) == size and value >> bits == prefix for size, prefix, bits in self._prefixes
            )
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[address] = known
        return known

    def outward(self, packets: list[bytearray]) -> list[bytearray]:
        """Those that may enter the tunnel: whose source lies behind it. The kernel's own talk to its neighbours, such
        as router solicitations, ends here as well."""
        return self._filter(packets, 12, 8, DropReason.SPOOFED_SOURCE)

    def inward(self, packets: list[bytearray]) -> list[bytearray]:
        """Those that may leave it: whose destination lies behind it."""
        return self._filter(packets, 16, 24, DropReason.NO_ROUTE)

    def _filter(self, packets: list[bytearray], at4: int, at6: int, reason: DropReason) -> list[bytearray]:
        known, holds = self._known, self.holds
        passed = []
        for packet in packets:
            version = packet[0] >> 4 if len(packet) >= 20 else 0
            if version == 4:
                address = bytes(packet[at4 : at4 + 4])
            elif version == 6 and len(packet) >= 40:
                address = bytes(packet[at6 : at6 + 16])
            else:
                self._drop(DropReason.BAD_VERSION if version else DropReason.BAD_LENGTH, packet)
                continue
            if known.get(address) or holds(address):
                passed.append(packet)
            else:
                self._drop(reason, packet)
        return passed

    def _drop(self, reason: DropReason, packet: bytearray) -> None:
        self.drops[reason] += 1
        if self.on_drop is not None:
            self.on_drop(reason, packet)
