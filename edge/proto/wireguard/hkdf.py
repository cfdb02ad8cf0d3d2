"""HKDF over HMAC-BLAKE2s with one, two or three outputs, the KDF of the handshake (whitepaper 5.4, RFC 5869).

HMAC is written out over ``hashlib.blake2s``: at these sizes ``hmac.digest`` costs two to three times as much,
because it looks its algorithm up on each call. The extracted key is scheduled once and its two states are
copied per output.
"""

from __future__ import annotations

from hashlib import blake2s

_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))  # RFC 2104: the key XOR ipad, as a translation table
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_NUMBERS = (b"", b"\x01", b"\x02", b"\x03")  # RFC 5869 2.3: outputs are numbered from one


def hmac_blake2s(key: bytes, data: bytes) -> bytes:
    """HMAC (RFC 2104) for keys of up to one block, which is all that the handshake has."""
    inner = blake2s(key.translate(_INNER).ljust(_BLOCK, b"\x36") + data).digest()
    return blake2s(key.translate(_OUTER).ljust(_BLOCK, b"\x5c") + inner).digest()


def kdf1(chaining_key: bytes, material: bytes) -> bytes:
    """One output: the next chaining key."""
    return hmac_blake2s(hmac_blake2s(chaining_key, material), b"\x01")


def kdf2(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """Two outputs: the next chaining key and a cipher key, or a pair of transport keys."""
    first, second = _expand(hmac_blake2s(chaining_key, material), 2)
    return first, second


def kdf3(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes, bytes]:
    """Three outputs: the next chaining key, what is mixed into the hash, and a cipher key."""
    first, second, third = _expand(hmac_blake2s(chaining_key, material), 3)
    return first, second, third


def _expand(extracted: bytes, count: int) -> list[bytes]:
    keyed_inner = blake2s(extracted.translate(_INNER).ljust(_BLOCK, b"\x36"))
    keyed_outer = blake2s(extracted.translate(_OUTER).ljust(_BLOCK, b"\x5c"))
    outputs = []
    previous = b""
    for number in range(1, count + 1):
        inner, outer = keyed_inner.copy(), keyed_outer.copy()
        inner.update(previous + _NUMBERS[number])
        outer.update(inner.digest())
        previous = outer.digest()
        outputs.append(previous)
    return outputs
