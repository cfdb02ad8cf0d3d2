"""Integers of QUIC (RFC 9000 section 16): up to 62 bits in 1, 2, 4 or 8 bytes; the first two bits tell how many."""

from __future__ import annotations

from typing import Final

MAX_VARINT: Final = (1 << 62) - 1


def encode_varint(value: int) -> bytes:
    """The shortest encoding of `value`; ValueError if it is not in 0..2^62-1."""
    if not 0 <= value <= MAX_VARINT:
        raise ValueError(f"{value} does not fit into a variable-length integer")
    if value < 1 << 6:
        return bytes((value,))
    if value < 1 << 14:
        return (value | 1 << 14).to_bytes(2, "big")
    if value < 1 << 30:
        return (value | 2 << 30).to_bytes(4, "big")
    return (value | 3 << 62).to_bytes(8, "big")


def decode_varint(data: bytes | bytearray, at: int = 0) -> tuple[int, int] | None:
    """The integer at `at` and where the next field begins, or None if `data` ends before it does.

    Longer encodings than needed are right (RFC 9000 section 16): a peer may reserve room for a length.
    """
    if at >= len(data):
        return None
    first = data[at]
    size = 1 << (first >> 6)
    if size == 1:
        return first, at + 1
    if at + size > len(data):
        return None
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size
