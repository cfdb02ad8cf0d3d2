"""What the small authority issues is what clients verify."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from aioquic.tls import AlertBadCertificate, AlertCertificateExpired, verify_certificate
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey

from edge.config import certificate_names
from edge.enrol.authority import LIFE, certificate_pem, is_dns_name, issue, new_authority, new_key

NOW = datetime.now(UTC)
AUTHORITY_KEY, KEY = new_key(), new_key()
AUTHORITY = new_authority("lab-1", AUTHORITY_KEY, NOW)
HOSTS = ("lab-1", "pop.example.net", "192.0.2.1", "2001:db8::1", "lab-1")


def issued(now: datetime = NOW) -> x509.Certificate:
    return issue(AUTHORITY, AUTHORITY_KEY, KEY, "lab-1", HOSTS, now)


@pytest.mark.parametrize("host", HOSTS)
def test_a_client_that_trusts_the_authority_takes_the_certificate_for_each_host(host: str) -> None:
    verify_certificate(issued(), server_name=host, cadata=certificate_pem(AUTHORITY).encode())


def test_it_takes_no_other_host_and_no_other_authority() -> None:
    trusted = certificate_pem(AUTHORITY).encode()
    with pytest.raises(AlertBadCertificate):
        verify_certificate(issued(), server_name="lab-2", cadata=trusted)
    other = new_authority("lab-1", new_key(), NOW)
    with pytest.raises(AlertBadCertificate):
        verify_certificate(issued(), server_name="lab-1", cadata=certificate_pem(other).encode())
    with pytest.raises(AlertCertificateExpired):
        verify_certificate(issued(NOW - LIFE - timedelta(days=1)), server_name="lab-1", cadata=trusted)


def test_a_client_with_a_slow_clock_takes_it_too() -> None:
    assert issued().not_valid_before_utc < NOW - timedelta(minutes=59)


def test_what_clients_of_the_dialect_pin_is_a_p256_key() -> None:
    key = issued().public_key()
    assert isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    assert AUTHORITY.public_key() != key


def test_an_authority_issues_nothing_that_outlives_it_and_no_other_authority() -> None:
    late = AUTHORITY.not_valid_after_utc - timedelta(days=1)
    assert issued(late).not_valid_after_utc == AUTHORITY.not_valid_after_utc
    assert AUTHORITY.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    assert not issued().extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_names_and_addresses_are_told_apart() -> None:
    assert certificate_names(issued()) == (["lab-1", "pop.example.net"], ["192.0.2.1", "2001:db8::1"])
    with pytest.raises(ValueError, match="'a b' is neither a host name nor an IP address"):
        issue(AUTHORITY, AUTHORITY_KEY, KEY, "lab-1", ["a b"], NOW)


@pytest.mark.parametrize("name", ["lab", "lab_1", "a.b-c.d", "*.example.net", "x" * 63])
def test_host_names(name: str) -> None:
    assert is_dns_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "a..b", "a.", "a b", "*", "a.*.b", "x" * 64, "é", "a\n"])
def test_what_is_no_host_name(name: str) -> None:
    assert not is_dns_name(name)
