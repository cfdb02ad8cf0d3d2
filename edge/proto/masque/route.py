"""Where one end says that it forwards to: ROUTE_ADVERTISEMENT (RFC 9484 4.7.3), ranges of addresses per protocol."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from edge.proto.masque.address import ADDRESS_SIZES, Prefix, is_prefix
from edge.proto.masque.capsule import MAX_CONFIGURATION, BadCapsule, CapsuleType, encode_capsule

ANY_PROTOCOL: Final = 0

MAX_PREFIXES: Final = 4096
"""That one capsule may come to. A single odd range of IPv6 can be 254 of them."""


class AddressRange(NamedTuple):
    """Both ends included. Of `protocol` 0 are all; ICMP goes to any range, whatever its protocol."""

    start: bytes
    end: bytes
    protocol: int = ANY_PROTOCOL

    @property
    def version(self) -> int:
        return 4 if len(self.start) == 4 else 6


def encode_route_advertisement(ranges: Sequence[AddressRange]) -> bytes:
    """The capsule; ValueError for what a receiver would not accept. It replaces all earlier ones."""
    parts: list[bytes] = []
    for each in ranges:
        if len(each.start) not in ADDRESS_SIZES.values() or len(each.end) != len(each.start):
            raise ValueError(f"{each!r} is no range of addresses")
        parts += (bytes((each.version,)), each.start, each.end, bytes((each.protocol,)))
    fault = _fault(ranges)
    if fault:
        raise ValueError(fault)
    value = b"".join(parts)
    if len(value) > MAX_CONFIGURATION:
        raise ValueError(f"{len(ranges)} routes do not fit into one capsule")
    return encode_capsule(CapsuleType.ROUTE_ADVERTISEMENT, value)


def decode_route_advertisement(value: bytes) -> list[AddressRange]:
    """The value of a capsule, empty if all routes are withdrawn; BadCapsule if it is malformed or not in order."""
    ranges: list[AddressRange] = []
    at = 0
    while at < len(value):
        size = ADDRESS_SIZES.get(value[at])
        if size is None:
            raise BadCapsule("a range of neither IPv4 nor IPv6")
        end = at + 2 + 2 * size
        if end > len(value):
            raise BadCapsule("a range is cut short")
        ranges.append(
            AddressRange(value[at + 1 : at + 1 + size], value[at + 1 + size : end - 1], value[end - 1])
        )
        at = end
    fault = _fault(ranges)
    if fault:
        raise BadCapsule(fault)
    return ranges


def ranges_of(prefixes: Iterable[Prefix], protocol: int = ANY_PROTOCOL) -> list[AddressRange]:
    """The fewest ranges that hold these prefixes, in the order of the RFC; they may touch, overlap or be equal."""
    ranges: list[AddressRange] = []
    for address, length in sorted(set(prefixes), key=lambda prefix: (len(prefix[0]), prefix)):
        if not is_prefix((address, length)):
            raise ValueError(f"{(address, length)!r} is no prefix")
        size = len(address)
        first = int.from_bytes(address)
        last = first | ((1 << (size * 8 - length)) - 1)
        if ranges and len(ranges[-1].start) == size and first <= int.from_bytes(ranges[-1].end) + 1:
            last = max(last, int.from_bytes(ranges[-1].end))
            address = ranges.pop().start
        ranges.append(AddressRange(address, last.to_bytes(size, "big"), protocol))
    return ranges


def prefixes_of(ranges: Iterable[AddressRange], limit: int = MAX_PREFIXES) -> list[Prefix]:
    """The fewest prefixes that are exactly these ranges, in their order; BadCapsule if they are more than `limit`."""
    prefixes: list[Prefix] = []
    for start, end, _ in ranges:
        size = len(start)
        first, last = int.from_bytes(start), int.from_bytes(end)
        while first <= last:
            if len(prefixes) == limit:
                raise BadCapsule(f"more than {limit} prefixes")
            # The largest block that begins here and does not reach behind the end.
            aligned = (first & -first).bit_length() - 1 if first else size * 8
            host_bits = min(aligned, (last - first + 1).bit_length() - 1)
            prefixes.append((first.to_bytes(size, "big"), size * 8 - host_bits))
            first += 1 << host_bits
    return prefixes


def _fault(ranges: Sequence[AddressRange]) -> str:
    """What makes `ranges` break the rules of RFC 9484 4.7.3, or nothing."""
    for each in ranges:
        if each.start > each.end:
            return "a range ends before it starts"
    for before, behind in pairwise(ranges):
        if (before.version, before.protocol) > (behind.version, behind.protocol):
            return "ranges are not in the order of version and protocol"
        if (before.version, before.protocol) == (
            behind.version,
            behind.protocol,
        ) and before.end >= behind.start:
            return "ranges of one protocol overlap or are not in order"
    # A route for all protocols must not overlap one for a single protocol. To check it is optional; two routes for
    # one packet would leave it open which of them was withdrawn.
    for version in ADDRESS_SIZES:
        wide = [each for each in ranges if each.version == version and each.protocol == ANY_PROTOCOL]
        starts = [each.start for each in wide]
        for each in ranges:
            if wide and each.version == version and each.protocol != ANY_PROTOCOL:
                at = bisect_right(starts, each.end)
                if at and wide[at - 1].end >= each.start:
                    return "a range for one protocol overlaps one for all"
    return ""
