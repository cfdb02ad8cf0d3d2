"""Segments of a simulated TCP: options, sequence numbers without a wrap, and what a connection wants sent."""

from __future__ import annotations

from typing import NamedTuple

from edge.proto.types import BadPacket, DropReason

MSS_OPTION = 2
DEFAULT_MSS = {4: 536, 6: 1220}
"""What a peer that announces nothing can take (RFC 9293 3.7.1)."""

SMALLEST_MSS = 64
"""A peer that announces less would make us send headers only."""


class Options(NamedTuple):
    """Options that we understand."""

    mss: int | None = None


class Outgoing(NamedTuple):
    """A segment to send. Numbers are absolute; the wire has their lower 32 bits."""

    sequence: int
    acknowledgment: int
    flags: int
    window: int
    options: bytes = b""
    payload: bytes | bytearray = b""


def options_untrusted(data: bytes | memoryview) -> Options:
    """The options of a SYN; unknown ones are skipped, BadPacket if their lengths lie (RFC 9293 3.1)."""
    mss = None
    at, end = 0, len(data)
    while at < end and data[at]:  # 0 ends the list
        if data[at] == 1:  # padding
            at += 1
            continue
        if at + 1 >= end or data[at + 1] < 2 or at + data[at + 1] > end:
            raise BadPacket(DropReason.BAD_HEADER, "TCP option length")
        length = data[at + 1]
        if data[at] == MSS_OPTION:
            if length != 4:
                raise BadPacket(DropReason.BAD_HEADER, "TCP MSS option")
            mss = data[at + 2] << 8 | data[at + 3]
        at += length
    return Options(mss)


def mss_option(mss: int) -> bytes:
    """The option for a SYN, padded."""
    return bytes((MSS_OPTION, 4)) + mss.to_bytes(2, "big")


def unwrap(number: int, near: int) -> int:
    """The absolute number closest to `near` that has these 32 bits on the wire: then plain integers compare."""
    return near + ((number - near + 0x80000000) & 0xFFFFFFFF) - 0x80000000
