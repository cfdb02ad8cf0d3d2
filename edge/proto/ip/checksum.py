"""The Internet checksum (RFC 1071), its update (RFC 1624) and the one place that changes a TTL."""

from __future__ import annotations


def _sum(data: bytes | bytearray | memoryview) -> int:
    """One's complement sum of 16-bit words, in 0..0xffff; an odd last byte is padded with zero."""
    # 2**16 is 1 modulo 0xffff, so the big-endian number is congruent to the sum of its words: one division in
    # C replaces a loop in Python.
    number = int.from_bytes(data, "big")
    if len(data) & 1:
        number <<= 8
    return (number % 0xFFFF or 0xFFFF) if number else 0


def checksum(data: bytes | bytearray | memoryview) -> int:
    """RFC 1071 checksum of `data`, ready to be stored. Over data that holds a right checksum it is 0."""
    return 0xFFFF - _sum(data)


def transport_checksum(
    source: bytes, destination: bytes, protocol: int, segment: bytes | bytearray | memoryview
) -> int:
    """Checksum of a TCP, UDP or ICMPv6 segment with its pseudo-header (RFC 9293 3.1, RFC 8200 8.1).

    The family follows from the length of the addresses. Over a segment that holds a right checksum it is 0.
    """
    pseudo = _sum(source) + _sum(destination) + protocol + (len(segment) & 0xFFFF) + (len(segment) >> 16)
    return 0xFFFF - _fold(pseudo + _sum(segment))


def update_checksum(old: int, old_word: int, new_word: int) -> int:
    """The checksum after one 16-bit word changed: RFC 1624 equation 3, HC' = ~(~HC + ~m + m')."""
    return 0xFFFF - _fold((0xFFFF - old) + (0xFFFF - old_word) + new_word)


def decrement_ttl(packet: bytearray) -> None:
    """Take one off the TTL or hop limit, in place. The caller has checked that it is greater than 1."""
    if packet[0] >> 4 == 6:
        packet[7] -= 1
        return
    packet[8] -= 1
    # The word that holds the TTL shrinks by 0x0100. Equation 3 then comes to HC + 0x0100 modulo 0xffff, which
    # touches the high byte only unless it carries.
    high = packet[10] + 1
    if high < 0xFF:
        packet[10] = high
        return
    value = ((high << 8) + packet[11]) % 0xFFFF
    packet[10] = value >> 8
    packet[11] = value & 0xFF


def _fold(total: int) -> int:
    """Add the carries back in until 16 bits are left."""
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total
