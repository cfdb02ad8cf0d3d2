"""Frames like ChaCha20-Poly1305 and does nothing else: for simulated worlds that are too large to encrypt.

Lengths, counters, replay windows, handshakes and rekeys stay as they are. It is handed to tunnels whose ends are both
in one process; a PoP that listens on a socket cannot be given it.
"""

from __future__ import annotations

TAG = bytes(16)


class NullAead:
    """The two calls of a ChaCha20Poly1305 that transport messages need."""

    __slots__ = ()

    def __init__(self, key: bytes) -> None:
        """Any key."""

    def encrypt(self, nonce: bytes, data: bytes | bytearray, associated: None) -> bytes:
        return bytes(data) + TAG

    def decrypt_into(self, nonce: bytes, data: memoryview, associated: None, into: bytearray) -> int:
        into[:] = data[:-16]
        return len(into)
