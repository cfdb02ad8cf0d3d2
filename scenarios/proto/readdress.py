"""Other addresses and ports in an IPv4 packet, and what else boxes and noise on the way change, in place.

Checksums follow by what changed (RFC 1624), never from the data: what was right stays right, what was wrong stays
wrong, and the first fragment of a datagram needs no other to be changed.
"""

from __future__ import annotations

from enum import Enum

from edge.proto.ip import ICMP, TCP, UDP, Header, is_error

_CHECKSUM = {ICMP: 2, TCP: 16, UDP: 6}  # where in its header
_IDENTIFIER = 4  # of a ping
_SYN = 0x02
_END, _NOTHING, _MSS = 0, 1, 2  # kinds of TCP options


class Side(Enum):
    """Which address and port; the values say where they are in the headers."""

    SOURCE = (12, 0)
    DESTINATION = (16, 2)


def readdress(packet: bytearray, header: Header, side: Side, address: bytes, port: int) -> None:
    """Give an IPv4 packet another address, and another port, or identifier if it is a ping.

    A later fragment has neither; an ICMP error has no port of its own, see ``readdress_quoted``.
    """
    change = _address(packet, 0, side, address)
    if header.fragment_offset or is_error(header):
        return
    _upper(packet, header.header_length, len(packet), header.protocol, side, change, port)


def readdress_quoted(
    packet: bytearray, header: Header, quoted: Header, side: Side, address: bytes, port: int
) -> None:
    """The same for the packet that an ICMP error quotes, which may be cut after eight bytes of its transport header."""
    body = slice(header.header_length + 4, header.total_length)
    before = _number(packet[body])
    start = header.header_length + 8
    change = _address(packet, start, side, address)
    _upper(packet, start + quoted.header_length, header.total_length, quoted.protocol, side, change, port)
    _adjust(packet, header.header_length + _CHECKSUM[ICMP], _number(packet[body]) - before)


def clamp_mss(packet: bytearray, header: Header, mtu: int) -> None:
    """Let a SYN ask for no larger segments than fit into `mtu` bytes, as access routers do (RFC 4459 3.4)."""
    if header.protocol != TCP or not header.tcp_flags & _SYN or header.fragment_offset:
        return
    start = header.header_length
    at, end = start + 20, min(start + (packet[start + 12] >> 4 << 2), header.total_length)
    most = max(mtu - (40 if header.version == 4 else 60), 1)
    while at < end and packet[at] != _END:
        if packet[at] == _NOTHING:
            at += 1
            continue
        if at + 1 >= end or packet[at + 1] < 2 or at + packet[at + 1] > end:
            return
        if packet[at] == _MSS and packet[at + 1] == 4:
            asked = packet[at + 2] << 8 | packet[at + 3]
            if asked > most:
                packet[at + 2 : at + 4] = most.to_bytes(2, "big")
                change = most - asked
                _adjust(packet, start + _CHECKSUM[TCP], change << 8 if (at - start) & 1 else change)
            return
        at += packet[at + 1]


def flip_payload(packet: bytearray, header: Header, bit: int) -> bool:
    """Flip a bit of a UDP payload behind the back of the checksum; False, and nothing done, if that cannot be.

    `bit` counts modulo the length of the payload. A later fragment does not have the checksum that must follow.
    """
    if header.protocol != UDP or header.fragment_offset:
        return False
    at = header.header_length
    size = min(packet[at + 4] << 8 | packet[at + 5], header.total_length - at) - 8
    if size <= 0:
        return True  # there is nothing that could be damaged
    index = bit % (size * 8)
    place = 8 + (index >> 3)
    before = packet[at + place]
    packet[at + place] ^= 1 << (index & 7)
    change = packet[at + place] - before
    _adjust_udp(packet, at + _CHECKSUM[UDP], change if place & 1 else change << 8)
    return True


def _address(packet: bytearray, start: int, side: Side, address: bytes) -> int:
    """Put it into the IP header at `start`; returns by how much the sum of words changed."""
    at = start + side.value[0]
    change = _number(address) - _number(packet[at : at + 4])
    packet[at : at + 4] = address
    _adjust(packet, start + 10, change)
    return change


def _upper(
    packet: bytearray, at: int, end: int, protocol: int, side: Side, addresses: int, port: int
) -> None:
    """The transport header at `at` of what ends at `end`, whose addresses changed by so much."""
    place = at + (_IDENTIFIER if protocol == ICMP else side.value[1])
    change = port - (packet[place] << 8 | packet[place + 1])
    packet[place : place + 2] = port.to_bytes(2, "big")
    checksum = at + _CHECKSUM[protocol]
    if checksum + 2 > end:
        return  # of a quote that was cut
    if protocol == ICMP:
        _adjust(packet, checksum, change)  # it has no pseudo-header
    elif protocol == UDP:
        _adjust_udp(packet, checksum, change + addresses)
    else:
        _adjust(packet, checksum, change + addresses)


def _number(data: bytes | bytearray) -> int:
    """Congruent to the sum of its words modulo 0xffff, see ``edge.proto.ip.checksum``."""
    number = int.from_bytes(data, "big")
    return number << 8 if len(data) & 1 else number


def _adjust(packet: bytearray, at: int, change: int) -> None:
    """The checksum at `at` after the sum of what it covers changed: equation 3 of RFC 1624."""
    value = 0xFFFF - ((0xFFFF - (packet[at] << 8 | packet[at + 1]) + change) % 0xFFFF or 0xFFFF)
    packet[at] = value >> 8
    packet[at + 1] = value & 0xFF


def _adjust_udp(packet: bytearray, at: int, change: int) -> None:
    """In UDP 0 says that there is no checksum, and a sum of 0 has its other form (RFC 768)."""
    if not (packet[at] or packet[at + 1]):
        return
    _adjust(packet, at, change)
    if not (packet[at] or packet[at + 1]):
        packet[at] = packet[at + 1] = 0xFF
