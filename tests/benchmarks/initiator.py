"""The initiator's half of WireGuard, written for the bench alone: an opinion of its own about the bytes.

It shares no line with the code under test. Whitepaper section 5.4 gives the names.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
NONCE_0 = bytes(12)
INITIATION, RESPONSE, COOKIE, TRANSPORT = 1, 2, 3, 4
#: Bytes that a transport message adds: header, counter, tag.
OVERHEAD = 32


def _hash(*parts: bytes) -> bytes:
    return hashlib.blake2s(b"".join(parts)).digest()


def _hkdf(count: int, chain: bytes, material: bytes) -> list[bytes]:
    secret = hmac.digest(chain, material, "blake2s")
    out: list[bytes] = []
    for number in range(1, count + 1):
        out.append(hmac.digest(secret, (out[-1] if out else b"") + bytes([number]), "blake2s"))
    return out


class Initiator:
    """One peer that calls the hub, and the session that comes of it."""

    def __init__(self, private: bytes, hub_public: bytes, preshared: bytes = bytes(32)) -> None:
        self._static = X25519PrivateKey.from_private_bytes(private)
        self._public = self._static.public_key().public_bytes_raw()
        self._hub_public = hub_public
        self._hub = X25519PublicKey.from_public_bytes(hub_public)
        self._preshared = preshared
        self._mac1_key = _hash(b"mac1----", hub_public)
        self._static_static = self._static.exchange(self._hub)

    @classmethod
    def from_base64(cls, private: str, hub_public: str) -> Initiator:
        return cls(base64.b64decode(private), base64.b64decode(hub_public))

    def initiation(self, wall_clock: float) -> bytes:
        """A first message that no hub has seen; `wall_clock` has to grow from one to the next."""
        self._ephemeral = X25519PrivateKey.generate()
        public = self._ephemeral.public_key().public_bytes_raw()
        self.index = os.urandom(4)
        chain = _hash(CONSTRUCTION)
        digest = _hash(_hash(chain, IDENTIFIER), self._hub_public)
        (chain,) = _hkdf(1, chain, public)
        digest = _hash(digest, public)
        chain, key = _hkdf(2, chain, self._ephemeral.exchange(self._hub))
        static = ChaCha20Poly1305(key).encrypt(NONCE_0, self._public, digest)
        digest = _hash(digest, static)
        chain, key = _hkdf(2, chain, self._static_static)
        seconds = int(wall_clock)
        tai64n = struct.pack(">QI", 0x400000000000000A + seconds, int((wall_clock - seconds) * 1e9))
        stamp = ChaCha20Poly1305(key).encrypt(NONCE_0, tai64n, digest)
        self._chain, self._digest = chain, _hash(digest, stamp)
        message = struct.pack("<I4s", INITIATION, self.index) + public + static + stamp
        return message + hashlib.blake2s(message, key=self._mac1_key, digest_size=16).digest() + bytes(16)

    def finish(self, response: bytes) -> None:
        """Take the answer; raises InvalidTag if it is not for the last initiation."""
        self._receiver, public = response[4:8], response[12:44]
        remote = X25519PublicKey.from_public_bytes(public)
        (chain,) = _hkdf(1, self._chain, public)
        (chain,) = _hkdf(1, chain, self._ephemeral.exchange(remote))
        (chain,) = _hkdf(1, chain, self._static.exchange(remote))
        chain, tau, key = _hkdf(3, chain, self._preshared)
        digest = _hash(_hash(self._digest, public), tau)
        ChaCha20Poly1305(key).decrypt(NONCE_0, response[44:60], digest)
        sending, receiving = _hkdf(2, chain, b"")
        self._seal, self._open = ChaCha20Poly1305(sending).encrypt, ChaCha20Poly1305(receiving).decrypt
        self._counter = 0

    def seal(self, packet: bytes) -> bytes:
        counter = struct.pack("<Q", self._counter)
        self._counter += 1
        padded = packet + bytes(-len(packet) % 16)
        return b"\4\0\0\0" + self._receiver + counter + self._seal(b"\0\0\0\0" + counter, padded, None)

    def open(self, datagram: bytes) -> bytes:
        return self._open(b"\0\0\0\0" + datagram[8:16], datagram[16:], None)
