"""Cut an IPv4 packet as a router does (RFC 791 3.2)."""

from __future__ import annotations

from edge.proto.ip.checksum import checksum

MINIMUM_MTU_IPV4 = 68
"""Every IPv4 link carries this much (RFC 791 3.2): the longest header and 8 bytes."""


def fragment_ipv4(packet: bytearray, mtu: int) -> list[bytearray]:
    """The fragments of a packet that parsed and may be fragmented, each at most `mtu` bytes long.

    A packet that fits comes back as it is. A fragment that is cut further keeps its place in the datagram.
    """
    total = packet[2] << 8 | packet[3]
    if total <= mtu:
        return [packet]
    if mtu < MINIMUM_MTU_IPV4:
        raise ValueError(f"no IPv4 link has an MTU of {mtu}")
    if packet[6] & 0x40:
        raise ValueError("the packet must not be fragmented")
    header_length = (packet[0] & 0xF) << 2
    first_header = packet[:header_length]
    later_header = _copied_header(first_header)
    word = packet[6] << 8 | packet[7]
    offset = word & 0x1FFF
    last_is_last = not word & 0x2000
    fragments: list[bytearray] = []
    at = header_length
    while at < total:
        header = later_header if fragments else first_header
        room = (mtu - len(header)) & ~7
        if total - at <= mtu - len(header):
            room = total - at
        end = at + room
        more = 0 if end == total and last_is_last else 0x2000
        fragment = bytearray(header)
        fragment[2:4] = (len(header) + room).to_bytes(2, "big")
        fragment[6:8] = (word & 0xC000 | more | offset).to_bytes(2, "big")
        fragment[10:12] = b"\0\0"
        fragment[10:12] = checksum(fragment).to_bytes(2, "big")
        fragment += packet[at:end]
        fragments.append(fragment)
        offset += room >> 3
        at = end
    return fragments


def _copied_header(header: bytearray) -> bytearray:
    """The header of later fragments: only options with the copied flag go along."""
    options = bytearray()
    at = 20
    while at < len(header) and header[at]:
        length = 1 if header[at] == 1 else header[at + 1]
        if header[at] & 0x80:
            options += header[at : at + length]
        at += length
    options += bytes(-len(options) % 4)
    copied = header[:20] + options
    copied[0] = 0x40 | len(copied) >> 2
    return copied
