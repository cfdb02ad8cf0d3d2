"""Certificates and keys as files hold them (PEM), made ready for TLS."""

from __future__ import annotations

import re
import ssl
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from edge.io.quic.spki import public_key_untrusted
from edge.proto.types import BadPacket


class Certificate:
    """A certificate to be shown, as DER: all that TLS wants of it. Nothing of it is judged."""

    def __init__(self, der: bytes) -> None:
        self._der = der

    def public_bytes(self, _encoding: Encoding) -> bytes:
        return self._der


def load_identity(certificates: bytes, private_key: bytes) -> tuple[list[Certificate], Any]:
    """A chain, the leaf first, and the private key of that. ValueError if they do not belong together."""
    blocks = re.findall(f"{ssl.PEM_HEADER}.*?{ssl.PEM_FOOTER}", certificates.decode("ascii"), re.DOTALL)
    ders = [ssl.PEM_cert_to_DER_cert(block) for block in blocks]
    if not ders:
        raise ValueError("no certificate in the PEM")
    try:
        key: Any = load_pem_private_key(private_key, password=None)
        own = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        if public_key_untrusted(ders[0]) != own:
            raise ValueError("the private key is not that of the certificate")
    except (UnsupportedAlgorithm, TypeError, BadPacket) as error:
        raise ValueError(f"certificate or private key cannot be used: {error}") from error
    return [Certificate(der) for der in ders], key
