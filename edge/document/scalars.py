"""Values that a document writes as text: durations, prefixes, addresses, keys."""

from __future__ import annotations

import base64
import binascii
import re
import socket
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self, cast


class Duration(float):
    """Seconds, written with a unit: ``20ms``, ``2s``, ``1.5m``, ``1h``; a bare ``0`` needs none."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "type": "string",
        "pattern": r"^([0-9]+(\.[0-9]+)?(us|ms|s|m|h)|0)$",
    }
    _UNITS: ClassVar[Mapping[str, float]] = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}

    @classmethod
    def parse(cls, value: object) -> Self:
        if value == 0 and not isinstance(value, bool):
            return cls(0.0)
        if not isinstance(value, str) or not (
            match := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|m|h)", value)
        ):
            raise ValueError(
                f"{value!r} is not a duration; write a number and a unit, such as 20ms, 2s or 1m"
            )
        return cls(float(match[1]) * cls._UNITS[match[2]])


class Prefix(tuple[bytes, int]):
    """An IP network as (address, length), host bits zero. A bare address is one of full length."""

    __slots__ = ()
    SCHEMA: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": r"^[0-9a-fA-F:.]+(/[0-9]{1,3})?$"}

    @classmethod
    def of(cls, address: bytes, length: int | None = None) -> Self:
        return cls((address, len(address) * 8 if length is None else length))

    @classmethod
    def parse(cls, value: object) -> Self:
        if not isinstance(value, str):
            raise ValueError(f'{value!r} is not a prefix; write one such as 10.0.50.0/24 or "fd00:96::/64"')
        text, slash, tail = value.partition("/")
        address = address_bytes(text)
        if address is None or (slash and not (tail.isascii() and tail.isdigit() and len(tail) <= 3)):
            raise ValueError(f'{value!r} is not a prefix; write one such as 10.0.50.0/24 or "fd00:96::/64"')
        bits = len(address) * 8
        length = int(tail) if slash else bits
        if length > bits:
            raise ValueError(f"{value!r}: the longest prefix of this family is /{bits}")
        prefix = cls((address, length))
        if prefix.network != address:
            raise ValueError(f"{value!r} has host bits set; did you mean {cls((prefix.network, length))}?")
        return prefix

    @property
    def address(self) -> bytes:
        return self[0]

    @property
    def length(self) -> int:
        return self[1]

    @property
    def version(self) -> int:
        return 4 if len(self.address) == 4 else 6

    @property
    def network(self) -> bytes:
        """The address with its host bits cleared."""
        spare = len(self.address) * 8 - self.length
        if not spare:
            return self.address
        return ((int.from_bytes(self.address) >> spare) << spare).to_bytes(len(self.address))

    def contains(self, other: Prefix) -> bool:
        """Whether `other` lies inside, or is the same."""
        if len(other.address) != len(self.address) or other.length < self.length:
            return False
        spare = len(self.address) * 8 - self.length
        return int.from_bytes(self.address) >> spare == int.from_bytes(other.address) >> spare

    def covers(self, address: bytes) -> bool:
        return self.contains(Prefix.of(address))

    @property
    def last(self) -> bytes:
        """The greatest address inside: the broadcast address in IPv4."""
        spare = len(self.address) * 8 - self.length
        return (int.from_bytes(self.address) | ((1 << spare) - 1)).to_bytes(len(self.address))

    def overlaps(self, other: Prefix) -> bool:
        return self.contains(other) or other.contains(self)

    def __str__(self) -> str:
        return f"{address_text(self.address)}/{self.length}"

    def __repr__(self) -> str:
        return f"Prefix({str(self)!r})"


class IPAddress(bytes):
    """An IPv4 or IPv6 address, as its 4 or 16 bytes."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": r"^[0-9a-fA-F:.]+$"}

    @classmethod
    def parse(cls, value: object) -> Self:
        address = address_bytes(value) if isinstance(value, str) else None
        if address is None:
            raise ValueError(f'{value!r} is not an IP address; write one such as 10.0.50.7 or "fd00:96::7"')
        return cls(address)

    def __str__(self) -> str:
        return address_text(self)

    def __repr__(self) -> str:
        return f"IPAddress({address_text(self)!r})"


class HostPort(tuple[str, int]):
    """``host:port``; the host of an IPv6 address in brackets."""

    __slots__ = ()
    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "type": "string",
        "pattern": r"^(\[[0-9a-fA-F:.]+\]|[^:\[\]\s]+):[0-9]{1,5}$",
    }

    @classmethod
    def parse(cls, value: object) -> Self:
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]\s]+)):([0-9]{1,5})", str(value))
        if not match or int(match[3]) > 65535:
            raise ValueError(f'{value!r} is not host:port; write it like 127.0.0.1:51820 or "[::1]:51820"')
        return cls((match[1] or match[2], int(match[3])))

    @property
    def address(self) -> tuple[str, int]:
        """As sockets take it."""
        return self[0], self[1]

    @property
    def is_address(self) -> bool:
        """Whether the host is an IP address, not a name."""
        return address_bytes(self[0]) is not None

    def __str__(self) -> str:
        return f"[{self[0]}]:{self[1]}" if ":" in self[0] else f"{self[0]}:{self[1]}"


class Words(tuple[str, ...]):
    """One word or a list of them."""

    __slots__ = ()
    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]
    }

    @classmethod
    def parse(cls, value: object) -> Self:
        words: list[Any] = value if isinstance(value, list) else [value]
        if not words:
            raise ValueError("an empty list; leave the key out, or name something")
        for word in words:
            if word is None:
                raise ValueError("no value; write a word, or leave the key out")
            if not isinstance(word, str):
                raise ValueError(
                    f'{word!r} is not text; write a word, quoted if need be ("{word}"), or a list of them'
                )
        return cls(words)


class Prefixes(tuple[Prefix, ...]):
    """One prefix or a list of them."""

    __slots__ = ()
    SCHEMA: ClassVar[Mapping[str, Any]] = {
        "anyOf": [Prefix.SCHEMA, {"type": "array", "items": Prefix.SCHEMA, "minItems": 1}]
    }

    @classmethod
    def parse(cls, value: object) -> Self:
        if value == []:
            raise ValueError("an empty list; leave the key out, or name something")
        return cls(Prefix.parse(item) for item in (value if isinstance(value, list) else [value]))


class PublicKey(bytes):
    """A Curve25519 public key in base64, as `wg pubkey` prints it."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": r"^[A-Za-z0-9+/]{43}=$"}

    @classmethod
    def parse(cls, value: object) -> Self:
        key = key_bytes(value) if isinstance(value, str) else None
        if key is None:  # the value is not repeated: it may be a private key in the wrong place
            raise ValueError("not a WireGuard key; write the 44 base64 characters that `wg pubkey` prints")
        return cls(key)


class Sha256(bytes):
    """A SHA-256 digest in hex."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": r"^[0-9a-fA-F]{64}$"}

    @classmethod
    def parse(cls, value: object) -> Self:
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            # The value is not repeated: it may be the secret itself.
            raise ValueError(
                "not a SHA-256 in hex; write its 64 digits, as `printf %s TOKEN | sha256sum` prints them"
            )
        return cls.fromhex(value)


class KeyInfo(bytes):
    """A public key as certificates hold it, SubjectPublicKeyInfo (RFC 5280 section 4.1), DER in base64."""

    SCHEMA: ClassVar[Mapping[str, Any]] = {"type": "string", "pattern": r"^[A-Za-z0-9+/]+={0,2}$"}

    @classmethod
    def parse(cls, value: object) -> Self:
        try:
            if not isinstance(value, str):
                raise ValueError
            key = base64.b64decode(value, validate=True)
        except ValueError:  # not repeated: it may be a private key in the wrong place
            key = b""
        if not key:
            raise ValueError(
                "not a public key in base64; write what "
                "`openssl pkey -in KEY -pubout -outform DER | base64 -w0` prints"
            )
        return cls(key)


class Scalar(Protocol):
    """What a type needs to stand in a document: `parse` raises ValueError in words for people."""

    SCHEMA: ClassVar[Mapping[str, Any]]

    @classmethod
    def parse(cls, value: object) -> Self: ...


def decode_scalar(kind: type, value: object) -> object:
    """What msgspec asks for a type that it does not know."""
    return cast("type[Scalar]", kind).parse(value)


def scalar_schema(kind: type) -> dict[str, Any]:
    """The same for JSON Schema."""
    return dict(cast("type[Scalar]", kind).SCHEMA)


def address_bytes(text: str) -> bytes | None:
    """The 4 or 16 bytes of an address in its usual notation; None if it is not one."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)
    except (OSError, ValueError):
        return None


def address_text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def key_bytes(text: str) -> bytes | None:
    """The 32 bytes of a key in canonical base64; None if it is not one."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == 32 and base64.b64encode(key).decode() == text else None
