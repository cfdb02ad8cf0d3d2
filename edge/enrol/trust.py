"""Who has issued the certificate that a PoP shows: the authority beside it, or somebody else."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509

from edge.config import BadFile, read_certificates, read_private_key
from edge.enrol.authority import authority_name
from edge.errors import Refused

AUTHORITY_CERTIFICATE = "ca.crt"
AUTHORITY_KEY = "ca.key"


def authority_of(folder: Path, name: str, certificate: x509.Certificate) -> str:
    """The PEM of the authority in `folder` that has issued `certificate`; empty if it was somebody else.

    Refused if it was the authority of this PoP, called `name`, but its certificate is gone: without it a client would
    believe whom its system believes.
    """
    file = folder / AUTHORITY_CERTIFICATE
    try:
        text, (authority, *_) = read_certificates(file)
        if is_issued_by(certificate, authority):
            return text.decode()
        why = "not the one that has issued the certificate of the PoP"
    except BadFile:
        why = "not a certificate" if file.exists() else "No such file"
    if is_ours(folder, name, certificate):
        raise lost(file, why)
    return ""


def is_ours(folder: Path, name: str, certificate: x509.Certificate) -> bool:
    """Whether the authority of this PoP has issued `certificate`, told without its own certificate.

    Its key tells for sure; if that is kept elsewhere, the issuer's name must do.
    """
    try:
        _, key = read_private_key(folder / AUTHORITY_KEY)
    except BadFile:
        return certificate.issuer == authority_name(name)
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return found.key_identifier == identifier.key_identifier


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # InvalidSignature, ValueError, TypeError: each says no
        return False
    return True


def lost(file: Path, why: str) -> Refused:
    """What to say if the authority's certificate, which clients trust, is not where it belongs."""
    return Refused(
        f"{file}: {why}: clients of the standard trust it, and know the PoP by nothing else\n"
        "    fix: put it back, from a copy or from `certificate_authority` in the file of any client"
    )
