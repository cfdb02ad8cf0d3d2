"""The public key of a certificate, straight from its DER (RFC 5280 section 4.1).

Devices make certificates that libraries refuse: serial number 0, no subject. All that we want of them is the key.
"""

from __future__ import annotations

from edge.proto.types import BadPacket, DropReason

SEQUENCE, INTEGER, VERSION = 0x30, 0x02, 0xA0


def public_key_untrusted(certificate: bytes) -> bytes:
    """SubjectPublicKeyInfo (DER) of an X.509 certificate (DER). BadPacket if it is none."""
    start, end = _enter(certificate, 0, len(certificate), SEQUENCE)
    if end != len(certificate):
        raise BadPacket(DropReason.MALFORMED, "bytes after the certificate")
    at, end = _enter(certificate, start, end, SEQUENCE)  # TBSCertificate
    if at < end and certificate[at] == VERSION:
        _, at = _enter(certificate, at, end, VERSION)
    _, at = _enter(certificate, at, end, INTEGER)  # the serial number may be anything
    for _ in ("signature", "issuer", "validity", "subject"):
        _, at = _enter(certificate, at, end, SEQUENCE)
    _, after = _enter(certificate, at, end, SEQUENCE)
    return certificate[at:after]


def _enter(data: bytes, at: int, limit: int, tag: int) -> tuple[int, int]:
    """Start and end of the value at `at`, which lies before `limit`."""
    if at + 2 > limit or data[at] != tag:
        raise BadPacket(DropReason.MALFORMED, "not a certificate")
    length = data[at + 1]
    at += 2
    if length & 0x80:
        octets = length & 0x7F
        if not 1 <= octets <= 3 or at + octets > limit:
            raise BadPacket(DropReason.MALFORMED, "not a certificate")
        length = int.from_bytes(data[at : at + octets])
        at += octets
    if at + length > limit:
        raise BadPacket(DropReason.MALFORMED, "a certificate that is cut short")
    return at, at + length
