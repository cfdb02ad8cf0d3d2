"""Certificates for tests: a CA, a server of it, and self-signed clients."""

from __future__ import annotations

import datetime
from base64 import encodebytes
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

SERVER_NAME = "pop.example"


@dataclass(frozen=True)
class Identity:
    """`certificate` and `private_key` are PEM, `public_key` is the SubjectPublicKeyInfo in DER."""

    certificate: bytes
    private_key: bytes
    public_key: bytes


def _identity(key: ec.EllipticCurvePrivateKey, certificate: bytes) -> Identity:
    return Identity(
        certificate,
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    )


def _builder(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, serial: int
) -> x509.CertificateBuilder:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)] if text else [])

    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(2090, 1, 1))
    )


@cache
def authority() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """A CA: its key, and its certificate in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("CA", "CA", key, 1).add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
    return key, builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


@cache
def server() -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)])
    builder = _builder(SERVER_NAME, "CA", key, 2).add_extension(names, False)
    return _identity(key, builder.sign(authority()[0], SHA256()).public_bytes(Encoding.PEM))


def client(*, serial: int = 7) -> Identity:
    """Self-signed, without a subject, as the clients of the WARP dialect make them; with `serial` 0 they do too."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _builder("", "", key, serial or 1).sign(key, SHA256())
    if serial:
        return _identity(key, certificate.public_bytes(Encoding.PEM))
    # No library makes one: so put 0 in place of 1, and sign again.
    body = certificate.tbs_certificate_bytes.replace(b"\x02\x01\x01", b"\x02\x01\x00", 1)
    signature = b"\0" + key.sign(body, ec.ECDSA(SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    whole = body + algorithm + b"\x03" + _length(signature)
    return _identity(key, _pem(b"\x30" + _length(whole)))


def _length(content: bytes) -> bytes:
    """Of DER, and what it is the length of."""
    size = len(content)
    if size < 128:
        return bytes([size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([0x80 | len(octets)]) + octets + content


def _pem(der: bytes) -> bytes:
    return b"-----BEGIN CERTIFICATE-----\n" + encodebytes(der) + b"-----END CERTIFICATE-----\n"
