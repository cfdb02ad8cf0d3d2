"""Certificates and their keys, in PEM: what a server shows, read and judged."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtensionOID

from edge.config.keys import BadFile, BadKeyFile, read_private

LIMIT = 2**20  # bytes of a PEM file
PRIVATE = b"PRIVATE KEY-----"
MAKER = "`poplab edge init-masque`"

CertificateKey = EllipticCurvePrivateKey | RSAPrivateKey | Ed25519PrivateKey
"""What a TLS 1.3 server can sign with."""


class BadCertificateFile(BadFile):
    """What is wrong with a file that holds a certificate."""


def read_certificates(path: Path, maker: str = MAKER) -> tuple[bytes, list[x509.Certificate]]:
    """The PEM text of `path`, and the certificates in it, the leaf first; BadCertificateFile if there are none.

    `maker` is what makes such a file.
    """
    try:
        if not path.is_file():
            path.stat()  # says what is wrong, if it is not there
            raise BadCertificateFile(f"certificate file {path}: not a regular file", "name a file in PEM")
        with path.open("rb") as stream:
            text = stream.read(LIMIT)
    except OSError as error:
        raise BadCertificateFile(
            f"certificate file {path}: {error.strerror}", f"{maker} makes one; check the path"
        ) from error
    except ValueError as error:  # a NUL
        raise BadCertificateFile(
            "not the name of a file", "name the file that holds the certificate"
        ) from error
    try:
        return text, x509.load_pem_x509_certificates(text)
    except ValueError as error:
        if PRIVATE in text:
            raise BadCertificateFile(
                f"certificate file {path}: holds a private key, no certificate",
                "name the certificate here, the key in `key_file`",
            ) from error
        raise BadCertificateFile(
            f"certificate file {path}: not a certificate in PEM",
            "from DER: `openssl x509 -inform DER -in OLD -out NEW`",
        ) from error


def read_private_key(path: Path, maker: str = MAKER) -> tuple[bytes, CertificateKey]:
    """The PEM text of `path`, and the key in it; BadKeyFile if others may use it, or it holds none for TLS."""
    text = read_private(path, maker=maker, limit=LIMIT)
    try:
        key = load_pem_private_key(text, None)
    except TypeError as error:
        raise BadKeyFile(
            f"key file {path}: encrypted, and nobody types a password when a PoP starts",
            "`openssl pkey -in OLD -out NEW`, and keep it at mode 0600",
        ) from error
    except ValueError as error:
        if b"BEGIN CERTIFICATE" in text:
            raise BadKeyFile(
                f"key file {path}: holds a certificate, no private key",
                "name the key here, the certificate in `certificate_file`",
            ) from error
        raise BadKeyFile(
            f"key file {path}: not a private key in PEM",
            "from DER: `openssl pkey -inform DER -in OLD -out NEW`",
        ) from error
    if not isinstance(key, CertificateKey):
        raise BadKeyFile(f"key file {path}: a kind of key that TLS does not take", f"ECDSA P-256, as {MAKER}")
    return text, key


def check_validity(leaf: x509.Certificate, now: datetime, renewal: str) -> None:
    """BadCertificateFile if clients would not take `leaf` at `now`; `renewal` is what gets a new one."""
    if now > leaf.not_valid_after_utc:
        raise BadCertificateFile(f"the certificate ended on {leaf.not_valid_after_utc:%Y-%m-%d}", renewal)
    if now < leaf.not_valid_before_utc:
        raise BadCertificateFile(
            f"the certificate begins on {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC",
            f"is the clock of this machine right? If so, {renewal}",
        )


def check_match(certificates: Iterable[x509.Certificate], key: CertificateKey) -> None:
    """BadCertificateFile if the first of `certificates` is not that of `key`."""
    own = spki(key.public_key())
    first, *others = [spki(certificate.public_key()) for certificate in certificates]
    if own == first:
        return
    if own in others:
        raise BadCertificateFile(
            "the first certificate in the file is not that of the key, a later one is",
            "the leaf first, then who issued it",
        )
    raise BadCertificateFile(
        "the certificate belongs to another key", "name the two files that were made together"
    )


def spki(key: object) -> bytes:
    """SubjectPublicKeyInfo of a public key, DER."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined,no-any-return]


def leaf(pem: bytes) -> x509.Certificate | None:
    """The certificate that comes first; None if there is none."""
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        return None


def is_ecdsa(certificate: x509.Certificate) -> bool:
    return isinstance(certificate.public_key(), EllipticCurvePublicKey)


def is_ecdsa_key(key: bytes) -> bool:
    """Whether `key` is an elliptic curve's SubjectPublicKeyInfo in the one form that certificates hold."""
    try:
        found = load_der_public_key(key)
    except Exception:  # ValueError, UnsupportedAlgorithm, and what a later version may think of
        return False
    return isinstance(found, EllipticCurvePublicKey) and spki(found) == key


def certificate_names(certificate: x509.Certificate) -> tuple[list[str], list[str]]:
    """(DNS names, IP addresses) that `certificate` is for."""
    try:
        found = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    except (x509.ExtensionNotFound, ValueError):
        return [], []
    assert isinstance(found, x509.SubjectAlternativeName)
    addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    return found.get_values_for_type(x509.DNSName), addresses
