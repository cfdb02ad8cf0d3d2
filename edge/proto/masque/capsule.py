"""Capsules (RFC 9297 section 3.2): type, length, value, one behind the other in the body of a CONNECT stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from edge.proto.masque.varint import decode_varint, encode_varint


class CapsuleType(IntEnum):
    """What a session reads. All others are skipped, those for DNS (DNS_ASSIGN, PREF64) included."""

    DATAGRAM = 0x00  # RFC 9297
    ADDRESS_ASSIGN = 0x01  # RFC 9484
    ADDRESS_REQUEST = 0x02
    ROUTE_ADVERTISEMENT = 0x03


MAX_DATAGRAM: Final = 8 + 40 + 65_535
"""A context id, the fixed header of IPv6 and the longest payload that it can name."""

MAX_CONFIGURATION: Final = 65_536
"""Bytes of addresses or routes in one capsule: 1,927 routes of IPv6, three times as many of IPv4."""

LIMITS: Final[Mapping[int, int]] = MappingProxyType(
    {
        CapsuleType.DATAGRAM: MAX_DATAGRAM,
        CapsuleType.ADDRESS_ASSIGN: MAX_CONFIGURATION,
        CapsuleType.ADDRESS_REQUEST: MAX_CONFIGURATION,
        CapsuleType.ROUTE_ADVERTISEMENT: MAX_CONFIGURATION,
    }
)

_MAX_HEADER: Final = 16


class BadCapsule(Exception):
    """All that parsers of capsules and of their values raise. The stream is to be aborted (RFC 9297 3.3)."""


class Capsule(NamedTuple):
    type: int
    value: bytes


class Capsules(NamedTuple):
    """What some bytes completed. Read the others first, they set up the tunnel; datagrams may be reordered anyway."""

    datagrams: list[bytes]
    others: list[Capsule]


def encode_capsule(type: int, value: bytes) -> bytes:  # noqa: A002 - its name in RFC 9297
    return encode_varint(type) + encode_varint(len(value)) + value


def encode_datagrams(payloads: Iterable[bytes]) -> bytes:
    """DATAGRAM capsules, one per payload: what a carrier over a byte stream sends."""
    parts: list[bytes] = []
    for payload in payloads:
        size = len(payload)
        # Written out, as it is done for every packet: a zero for the type, and a length of two bytes mostly.
        if 64 <= size < 16_384:
            parts.append(bytes((0, 0x40 | size >> 8, size & 0xFF)))
        else:
            parts.append(b"\0" + encode_varint(size))
        parts.append(payload)
    return b"".join(parts)


class CapsuleParser:
    """One direction of one stream: bytes in at any boundary, complete capsules out.

    Holds at most one capsule of a known type, and of it only what has come; of others nothing. Its work is linear in
    the bytes, however they are cut: about 0.4 us per datagram of 1,200 bytes if many come at once, half of it the copy.
    After BadCapsule it takes no more.
    """

    def __init__(self, limits: Mapping[int, int] = LIMITS) -> None:
        """`limits`: longest value of each known type."""
        self.skipped = 0
        """Capsules of unknown types."""
        self._limits = limits
        self._pending = bytearray()  # the beginning of a capsule, or of its value once `_type` is known
        self._type = 0
        self._missing = 0  # bytes of the pending value
        self._to_skip = 0  # bytes of an unknown value
        self._bad = ""

    @property
    def held(self) -> int:
        """Bytes kept of a capsule that is not complete."""
        return len(self._pending)

    def feed(self, data: bytes) -> Capsules:
        """The capsules that `data` completes, or BadCapsule."""
        if self._bad:
            raise BadCapsule(self._bad)
        result = Capsules([], [])
        at = self._resume(data, result) if self._pending or self._missing or self._to_skip else 0
        end = len(data)
        append = result.datagrams.append
        while at < end:
            # Nearly every packet: a DATAGRAM with a length of two bytes that is here as a whole.
            if not data[at] and at + 3 <= end and data[at + 1] >> 6 == 1:
                value_end = at + 3 + ((data[at + 1] & 0x3F) << 8 | data[at + 2])
                if value_end <= end:
                    append(data[at + 3 : value_end])
                    at = value_end
                    continue
            header = _decode_header(data, at)
            if header is None:
                self._pending += data[at:]
                break
            at = self._take(*header, data, result)
        return result

    def finish(self) -> None:
        """The peer has ended its direction; BadCapsule if that truncates a capsule (RFC 9297 3.3)."""
        if self._bad or self._pending or self._missing or self._to_skip:
            raise BadCapsule(self._bad or "the stream ends inside a capsule")

    def _resume(self, data: bytes, result: Capsules) -> int:
        """Complete what earlier bytes began, as far as `data` goes; returns where the next capsule begins."""
        if self._to_skip:
            step = min(self._to_skip, len(data))
            self._to_skip -= step
            return step
        if not self._missing:
            before = len(self._pending)
            self._pending += data[: _MAX_HEADER - before]
            header = _decode_header(self._pending, 0)
            if header is None:
                return len(data)
            self._pending.clear()
            kind, size, begin = header
            return self._take(kind, size, begin - before, data, result)
        part = data[: self._missing]
        self._pending += part
        self._missing -= len(part)
        if not self._missing:
            self._emit(self._type, bytes(self._pending), result)
            self._pending.clear()
        return len(part)

    def _take(self, kind: int, size: int, begin: int, data: bytes, result: Capsules) -> int:
        """A capsule whose value begins at `begin` in `data`; returns where the next one begins, or the end."""
        limit = self._limits.get(kind)
        here = len(data) - begin
        if limit is None:
            self.skipped += 1
            self._to_skip = max(0, size - here)
            return begin + min(size, here)
        if size > limit:
            # RFC 9297 3.5 would also let us skip a DATAGRAM. No peer sends such a length; framing has been lost.
            self._bad = f"a capsule of type {kind} claims {size} bytes, the limit is {limit}"
            raise BadCapsule(self._bad)
        if size <= here:
            self._emit(kind, data[begin : begin + size], result)
            return begin + size
        self._type = kind
        self._pending += data[begin:]
        self._missing = size - here
        return len(data)

    def _emit(self, kind: int, value: bytes, result: Capsules) -> None:
        if kind == CapsuleType.DATAGRAM:
            result.datagrams.append(value)
        else:
            result.others.append(Capsule(kind, value))


def _decode_header(data: bytes | bytearray, at: int) -> tuple[int, int, int] | None:
    """Type, length and where the value begins, or None if `data` ends before that."""
    kind = decode_varint(data, at)
    if kind is None:
        return None
    size = decode_varint(data, kind[1])
    return None if size is None else (kind[0], *size)
