"""The upper-layer header: ports, ICMP type and code, TCP flags."""

from __future__ import annotations

from typing import NamedTuple

from edge.proto.types import BadPacket, DropReason

ICMP = 1
TCP = 6
UDP = 17
ICMPV6 = 58

HEADER_MINIMUM = {ICMP: 8, TCP: 20, UDP: 8, 33: 12, ICMPV6: 8, 132: 12, 136: 8}
"""Fixed header size of the protocols that we look into; 33, 132 and 136 are DCCP, SCTP and UDP-Lite."""


class Upper(NamedTuple):
    """What policy wants from the upper-layer header."""

    source_port: int
    destination_port: int
    icmp_type: int
    icmp_code: int
    tcp_flags: int


NOTHING = Upper(0, 0, -1, -1, 0)
"""For protocols without ports and for later fragments."""


def upper_untrusted(
    packet: bytes | bytearray | memoryview, at: int, end: int, version: int, protocol: int, fragment: bool
) -> Upper:
    """Read the header at `at` of a packet (or of a first `fragment`) that ends at `end`."""
    minimum = HEADER_MINIMUM.get(protocol)
    if minimum is None:
        return NOTHING
    if protocol == (ICMPV6 if version == 4 else ICMP):
        return NOTHING  # the other family's ICMP has no meaning here; policy sees its number
    size = end - at
    if size < minimum:
        # RFC 1858 3.2 and RFC 7112: nothing is decided on a first fragment that hides its ports or flags.
        raise BadPacket(DropReason.FRAGMENT_TINY if fragment else DropReason.BAD_LENGTH, "upper-layer header")
    if protocol == UDP:
        length = packet[at + 4] << 8 | packet[at + 5]
        if length < 8 or (length > size and not fragment):
            raise BadPacket(DropReason.BAD_LENGTH, "UDP length")
    elif protocol == TCP:
        data = packet[at + 12] >> 4 << 2
        if data < 20:
            raise BadPacket(DropReason.BAD_HEADER, "TCP data offset")
        if data > size:
            raise BadPacket(DropReason.FRAGMENT_TINY if fragment else DropReason.BAD_LENGTH, "TCP options")
        return Upper(
            packet[at] << 8 | packet[at + 1], packet[at + 2] << 8 | packet[at + 3], -1, -1, packet[at + 13]
        )
    elif protocol in (ICMP, ICMPV6):
        return Upper(0, 0, packet[at], packet[at + 1], 0)
    return Upper(packet[at] << 8 | packet[at + 1], packet[at + 2] << 8 | packet[at + 3], -1, -1, 0)
