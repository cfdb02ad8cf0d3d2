"""XChaCha20-Poly1305, the AEAD of cookie replies: a 24-byte nonce is long enough to be drawn at random.

The first 16 nonce bytes make a subkey (HChaCha20), the rest is the nonce of ordinary ChaCha20-Poly1305.
OpenSSL has no HChaCha20, but a ChaCha20 block is the same permutation with its input added at the end: taking
the input off again gives the subkey at the speed of C (draft-irtf-cfrg-xchacha section 2.2).
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

_words = Struct("<4I")
_CONSTANTS: Final = _words.unpack(b"expand 32-byte k")
_BLOCK: Final = bytes(64)


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """The subkey for a 32-byte key and the first 16 bytes of a nonce."""
    block = Cipher(ChaCha20(key, nonce), mode=None).encryptor().update(_BLOCK)
    head = _subtract(_words.unpack_from(block, 0), _CONSTANTS)
    return head + _subtract(_words.unpack_from(block, 48), _words.unpack(nonce))


def encrypt(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
    """Ciphertext and tag under a 24-byte nonce."""
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).encrypt(bytes(4) + nonce[16:], data, associated)


def decrypt(key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
    """The plaintext; InvalidTag if anything was changed."""
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])).decrypt(bytes(4) + nonce[16:], data, associated)


def _subtract(words: tuple[int, ...], others: tuple[int, ...]) -> bytes:
    return _words.pack(*((a - b) & 0xFFFFFFFF for a, b in zip(words, others, strict=True)))
