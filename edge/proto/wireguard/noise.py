"""The WireGuard handshake: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s with WireGuard's prologue (whitepaper 5.4).

Four functions in the paper's words: an initiator creates an initiation and consumes the response, a responder
consumes the initiation and creates the response. They hold no state of their own. What comes in is a whole
message, macs included but not looked at (``cookie.py`` has judged them); what goes out still lacks its macs.

Not here: whether a timestamp is new, indices, timers (``handshakes.py``, ``device.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2s
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from edge.proto.types import BadPacket, DropReason
from edge.proto.wireguard.hkdf import kdf1, kdf2, kdf3
from edge.proto.wireguard.messages import KEY_SIZE, InitiationMessage, ResponseMessage

CONSTRUCTION: Final = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER: Final = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
LABEL_MAC1: Final = b"mac1----"
LABEL_COOKIE: Final = b"cookie--"

_FIELD_PRIME: Final = 2**255 - 19
_NO_PSK: Final = bytes(KEY_SIZE)
_NONCE: Final = bytes(12)  # each handshake key encrypts once
_INITIAL_CHAINING_KEY: Final = blake2s(CONSTRUCTION).digest()
_INITIAL_HASH: Final = blake2s(_INITIAL_CHAINING_KEY + IDENTIFIER).digest()


class Identity:
    """Our static key pair and what follows from it. The private key never shows."""

    __slots__ = ("_initial_hash", "_private", "cookie_key", "mac1_key", "public")

    def __init__(self, private: X25519PrivateKey) -> None:
        self._private = private
        self.public: Final = private.public_key().public_bytes_raw()
        self.mac1_key: Final = mac1_key(self.public)
        self.cookie_key: Final = cookie_key(self.public)
        self._initial_hash = blake2s(_INITIAL_HASH + self.public).digest()

    @classmethod
    def from_bytes(cls, private: bytes) -> Identity:
        """ValueError unless `private` has 32 bytes."""
        if len(private) != KEY_SIZE:
            raise ValueError("a private key has 32 bytes")
        return cls(X25519PrivateKey.from_private_bytes(private))

    def __repr__(self) -> str:
        return f"<Identity public={self.public.hex()}>"


class RemoteStatic:
    """A peer's static public key, seen from one identity, with all that does not change between handshakes.

    The static-static secret is the costly part: computed once here, each handshake is one X25519 cheaper.
    """

    __slots__ = ("_initial_hash", "_key", "_psk", "_static_static", "cookie_key", "mac1_key", "public")

    def __init__(self, public: bytes, psk: bytes | None, identity: Identity) -> None:
        """ValueError for a public key that no peer can have, or a preshared key of the wrong size."""
        if len(public) != KEY_SIZE:
            raise ValueError("a public key has 32 bytes")
        if psk is not None and len(psk) != KEY_SIZE:
            raise ValueError("a preshared key has 32 bytes")
        # X25519 would accept other encodings of a point, but keys are hashed as bytes: such a peer could
        # never complete a handshake, and one peer could be configured twice.
        if int.from_bytes(public, "little") >= _FIELD_PRIME:
            raise ValueError("a public key must be in its canonical encoding")
        self._key = X25519PublicKey.from_public_bytes(public)
        try:
            self._static_static = identity._private.exchange(self._key)
        except ValueError:
            raise ValueError("a public key of low order protects nothing") from None
        self._psk = psk if psk is not None else _NO_PSK
        self._initial_hash = blake2s(_INITIAL_HASH + public).digest()
        self.public: Final = public
        self.mac1_key: Final = mac1_key(public)
        self.cookie_key: Final = cookie_key(public)

    def __repr__(self) -> str:
        return f"<RemoteStatic public={self.public.hex()} psk={'yes' if self._psk != _NO_PSK else 'no'}>"


@dataclass(frozen=True, slots=True, repr=False)
class SessionKeys:
    """Transport keys of one session, from our point of view."""

    send: bytes
    receive: bytes


@dataclass(frozen=True, slots=True, repr=False)
class InitiatorState:
    """What an initiator remembers until the response comes."""

    remote: RemoteStatic
    sender_index: int
    ephemeral: X25519PrivateKey
    chaining_key: bytes
    hash: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Initiation:
    """An initiation that decrypted: who sent it, and what the response continues from.

    The timestamp is authenticated but may be old: compare it with the greatest one seen before answering.
    """

    remote: RemoteStatic
    timestamp: bytes
    sender_index: int
    ephemeral: X25519PublicKey
    chaining_key: bytes
    hash: bytes


def mac1_key(public: bytes) -> bytes:
    """Key of mac1 for messages to the owner of `public`."""
    return blake2s(LABEL_MAC1 + public).digest()


def cookie_key(public: bytes) -> bytes:
    """Key under which the owner of `public` sends its cookies."""
    return blake2s(LABEL_COOKIE + public).digest()


def create_initiation(
    identity: Identity, remote: RemoteStatic, *, ephemeral_private: bytes, timestamp: bytes, sender_index: int
) -> tuple[bytes, InitiatorState]:
    """The first message, without macs, and what to keep until it is answered."""
    private = X25519PrivateKey.from_private_bytes(ephemeral_private)
    ephemeral = private.public_key().public_bytes_raw()
    chaining_key = kdf1(_INITIAL_CHAINING_KEY, ephemeral)
    digest = blake2s(remote._initial_hash + ephemeral).digest()

    chaining_key, key = kdf2(chaining_key, private.exchange(remote._key))
    static = ChaCha20Poly1305(key).encrypt(_NONCE, identity.public, digest)
    digest = blake2s(digest + static).digest()

    chaining_key, key = kdf2(chaining_key, remote._static_static)
    encrypted_timestamp = ChaCha20Poly1305(key).encrypt(_NONCE, timestamp, digest)
    digest = blake2s(digest + encrypted_timestamp).digest()

    message = InitiationMessage(sender_index, ephemeral, static, encrypted_timestamp).encode()
    return message, InitiatorState(remote, sender_index, private, chaining_key, digest)


def consume_initiation(
    identity: Identity, message: bytes, lookup: Callable[[bytes], RemoteStatic | None]
) -> Initiation:
    """Decrypt a first message. BadPacket: MALFORMED, LOW_ORDER_POINT, HANDSHAKE_FAILED or UNKNOWN_PEER.

    `lookup` finds a peer by the public key that the sender claims; the claim is proven only on return.
    """
    sender_index, ephemeral, static, timestamp = InitiationMessage.decode_untrusted(message)
    peer_ephemeral = X25519PublicKey.from_public_bytes(ephemeral)
    chaining_key = kdf1(_INITIAL_CHAINING_KEY, ephemeral)
    digest = blake2s(identity._initial_hash + ephemeral).digest()

    chaining_key, key = kdf2(chaining_key, _exchange_untrusted(identity._private, peer_ephemeral))
    public = _decrypt_untrusted(key, static, digest)
    digest = blake2s(digest + static).digest()
    remote = lookup(public)
    if remote is None:
        raise BadPacket(DropReason.UNKNOWN_PEER)

    chaining_key, key = kdf2(chaining_key, remote._static_static)
    plain_timestamp = _decrypt_untrusted(key, timestamp, digest)
    digest = blake2s(digest + timestamp).digest()
    return Initiation(remote, plain_timestamp, sender_index, peer_ephemeral, chaining_key, digest)


def create_response(
    initiation: Initiation, *, ephemeral_private: bytes, sender_index: int
) -> tuple[bytes, SessionKeys]:
    """The second message, without macs, and the keys: not to be sent with before the peer has used them."""
    remote = initiation.remote
    private = X25519PrivateKey.from_private_bytes(ephemeral_private)
    ephemeral = private.public_key().public_bytes_raw()
    chaining_key = kdf1(initiation.chaining_key, ephemeral)
    digest = blake2s(initiation.hash + ephemeral).digest()

    chaining_key = kdf1(chaining_key, _exchange_untrusted(private, initiation.ephemeral))
    chaining_key = kdf1(chaining_key, private.exchange(remote._key))
    chaining_key, mixed, key = kdf3(chaining_key, remote._psk)
    digest = blake2s(digest + mixed).digest()
    empty = ChaCha20Poly1305(key).encrypt(_NONCE, b"", digest)

    receive, send = kdf2(chaining_key, b"")
    message = ResponseMessage(sender_index, initiation.sender_index, ephemeral, empty).encode()
    return message, SessionKeys(send, receive)


def consume_response(identity: Identity, state: InitiatorState, message: bytes) -> SessionKeys:
    """Check the second message. BadPacket: MALFORMED, LOW_ORDER_POINT or HANDSHAKE_FAILED.

    `state` is only read: after a forged response the genuine one still finds it intact.
    """
    _, receiver_index, ephemeral, empty = ResponseMessage.decode_untrusted(message)
    if receiver_index != state.sender_index:
        raise BadPacket(DropReason.HANDSHAKE_FAILED, "answers another initiation")
    chaining_key = kdf1(state.chaining_key, ephemeral)
    digest = blake2s(state.hash + ephemeral).digest()

    peer_ephemeral = X25519PublicKey.from_public_bytes(ephemeral)
    chaining_key = kdf1(chaining_key, _exchange_untrusted(state.ephemeral, peer_ephemeral))
    chaining_key = kdf1(chaining_key, _exchange_untrusted(identity._private, peer_ephemeral))
    chaining_key, mixed, key = kdf3(chaining_key, state.remote._psk)
    digest = blake2s(digest + mixed).digest()
    _decrypt_untrusted(key, empty, digest)

    send, receive = kdf2(chaining_key, b"")
    return SessionKeys(send, receive)


def _exchange_untrusted(private: X25519PrivateKey, public: X25519PublicKey) -> bytes:
    """X25519 that refuses a public key of low order (RFC 7748 section 6.1: the all-zero check)."""
    try:
        return private.exchange(public)
    except ValueError:
        raise BadPacket(DropReason.LOW_ORDER_POINT) from None


def _decrypt_untrusted(key: bytes, data: bytes, associated: bytes) -> bytes:
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, data, associated)
    except InvalidTag:
        raise BadPacket(DropReason.HANDSHAKE_FAILED) from None
