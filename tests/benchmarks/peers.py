"""Peers of the bench, derived from a number: hub and load agree on them without a file between them."""

from __future__ import annotations

import base64
import hashlib
import ipaddress

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.interop.hubs import Attachment

POOL = ipaddress.IPv4Network("100.96.0.0/16")


def private_key(number: int) -> bytes:
    return hashlib.sha256(b"poplab bench peer %d" % number).digest()


def address(number: int) -> str:
    return str(POOL[number + 2])


def attachments(count: int) -> list[Attachment]:
    return [Attachment(f"p{number}", _public(number), (f"{address(number)}/32",)) for number in range(count)]


def _public(number: int) -> str:
    key = X25519PrivateKey.from_private_bytes(private_key(number)).public_key()
    return base64.b64encode(key.public_bytes_raw()).decode()
