"""Addresses that one end gives the other: ADDRESS_ASSIGN and ADDRESS_REQUEST (RFC 9484 4.7.1 and 4.7.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, TypeAlias

from edge.proto.masque.capsule import BadCapsule, CapsuleType, encode_capsule
from edge.proto.masque.varint import decode_varint, encode_varint

Prefix: TypeAlias = tuple[bytes, int]
"""Address and length, host bits zero."""

MAX_ADDRESSES: Final = 256
"""In one capsule, and requests of one stream in all."""

ADDRESS_SIZES: Final = {4: 4, 6: 16}  # by IP version


class AssignedAddress(NamedTuple):
    """A prefix that the receiver may send from."""

    prefix: Prefix
    request_id: int = 0  # of the request that it answers; 0: nobody asked

    @property
    def is_refusal(self) -> bool:
        """Nothing was assigned to that request: 0.0.0.0/32 or ::/128."""
        address, length = self.prefix
        return not any(address) and length == len(address) * 8

    @classmethod
    def refusal(cls, request: RequestedAddress) -> AssignedAddress:
        size = len(request.prefix[0])
        return cls((bytes(size), size * 8), request.request_id)


class RequestedAddress(NamedTuple):
    """A wish for a prefix; the address is zero if any will do."""

    prefix: Prefix
    request_id: int

    @property
    def is_any(self) -> bool:
        return not any(self.prefix[0])


class RequestIds:
    """The request ids that the peer has used on one stream: each of them once (RFC 9484 4.7.2), and not without end."""

    def __init__(self, limit: int = MAX_ADDRESSES) -> None:
        self._limit = limit
        self._used: set[int] = set()

    def use(self, requests: Sequence[RequestedAddress]) -> None:
        """BadCapsule if an id was used before, or if there are too many requests by now."""
        for request in requests:
            if request.request_id in self._used:
                raise BadCapsule("a request id is used again")
            if len(self._used) >= self._limit:
                raise BadCapsule(f"more than {self._limit} requests for addresses")
            self._used.add(request.request_id)


def is_prefix(prefix: Prefix) -> bool:
    """An address of 4 or 16 bytes, a length within it, and host bits that are zero."""
    address, length = prefix
    bits = len(address) * 8
    if bits not in (32, 128) or not 0 <= length <= bits:
        return False
    return int.from_bytes(address) & ((1 << (bits - length)) - 1) == 0


def encode_address_assign(addresses: Iterable[AssignedAddress]) -> bytes:
    """The capsule; ValueError for what a receiver would not accept. It replaces all earlier ones."""
    return encode_capsule(CapsuleType.ADDRESS_ASSIGN, _encode(addresses))


def encode_address_request(requests: Sequence[RequestedAddress]) -> bytes:
    """The capsule; ValueError for what a receiver would not accept."""
    ids = [request.request_id for request in requests]
    if not ids or 0 in ids or len(set(ids)) < len(ids):
        raise ValueError("a request has at least one entry, each with an id of its own that is not 0")
    return encode_capsule(CapsuleType.ADDRESS_REQUEST, _encode(requests))


def decode_address_assign(value: bytes) -> list[AssignedAddress]:
    """The value of a capsule, empty if all addresses are withdrawn; BadCapsule if it is malformed."""
    return [AssignedAddress(prefix, request_id) for request_id, prefix in _decode(value)]


def decode_address_request(value: bytes) -> list[RequestedAddress]:
    """The value of a capsule; BadCapsule if it is malformed. Ids of earlier capsules are known to RequestIds."""
    entries = _decode(value)
    if not entries:
        raise BadCapsule("a request for no address")
    ids = {request_id for request_id, _ in entries}
    if 0 in ids:
        raise BadCapsule("request id 0")
    if len(ids) < len(entries):
        raise BadCapsule("a request id is used again")
    return [RequestedAddress(prefix, request_id) for request_id, prefix in entries]


def _encode(entries: Iterable[AssignedAddress | RequestedAddress]) -> bytes:
    parts: list[bytes] = []
    for prefix, request_id in entries:
        if not is_prefix(prefix):
            raise ValueError(f"{prefix!r} is no prefix")
        address, length = prefix
        parts += (encode_varint(request_id), b"\4" if len(address) == 4 else b"\6", address, bytes((length,)))
    if len(parts) > 4 * MAX_ADDRESSES:
        raise ValueError(f"more than {MAX_ADDRESSES} addresses")
    return b"".join(parts)


def _decode(value: bytes) -> list[tuple[int, Prefix]]:
    """Both capsules have the same entries: request id, version, address, prefix length."""
    entries: list[tuple[int, Prefix]] = []
    at = 0
    while at < len(value):
        if len(entries) == MAX_ADDRESSES:
            raise BadCapsule(f"more than {MAX_ADDRESSES} addresses")
        request_id = decode_varint(value, at)
        if request_id is None or request_id[1] == len(value):
            raise BadCapsule("an address is cut short")
        at = request_id[1]
        size = ADDRESS_SIZES.get(value[at])
        if size is None:
            raise BadCapsule("an address of neither IPv4 nor IPv6")
        at += 1
        if at + size >= len(value):
            raise BadCapsule("an address is cut short")
        prefix = (value[at : at + size], value[at + size])
        if not is_prefix(prefix):
            raise BadCapsule("a prefix that is too long, or has host bits set")
        entries.append((request_id[0], prefix))
        at += size + 1
    return entries
