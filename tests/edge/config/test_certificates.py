"""PEM files: what is no certificate, no key, not a pair, or not of today."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from edge.config import load
from edge.config.certificates import is_ecdsa_key, leaf, spki
from edge.enrol.authority import certificate_pem, issue, key_pem, new_authority, new_key
from edge.errors import ConfigError, Problem

NOW = datetime.now(UTC)
AUTHORITY_KEY = new_key()
AUTHORITY = new_authority("lab", AUTHORITY_KEY, NOW)
KEY = new_key()
EDGE = """\
version: 1
name: lab
listen: {wireguard: "127.0.0.1:51820", masque: "127.0.0.1:4433"}
private_key_file: pop.key
vnets: {acme: {pool: 100.96.0.0/24}}
masque:
  certificate_file: masque.crt
  key_file: masque.key
"""
Pair = Callable[..., Path]


def certificate(key: object = KEY, now: datetime = NOW) -> str:
    return certificate_pem(issue(AUTHORITY, AUTHORITY_KEY, key, "lab", ["lab"], now))  # type: ignore[arg-type]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Writes a PoP with these two files."""

    def write(shown: str = certificate(), key: str = key_pem(KEY), mode: int = 0o600) -> Path:
        for name, text in (
            ("pop.key", "B" * 42 + "A=\n"),
            ("masque.crt", shown),
            ("masque.key", key),
            ("edge.yaml", EDGE),
        ):
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o600)
        (tmp_path / "masque.key").chmod(mode)
        return tmp_path / "edge.yaml"

    return write


def problem(path: Path) -> Problem:
    with pytest.raises(ConfigError) as caught:
        load(path)
    (found,) = caught.value.problems
    assert found.fix
    return found


def test_a_pair_is_read(pair: Pair) -> None:
    masque = load(pair()).masque
    assert masque is not None and masque.listen == ("127.0.0.1", 4433)
    assert masque.private_key.decode() == key_pem(KEY)
    shown = leaf(masque.certificate)
    assert shown is not None and certificate_pem(shown) == masque.certificate.decode()
    assert key_pem(KEY).split()[3] not in repr(masque)


def test_a_chain_is_read_with_the_leaf_first(pair: Pair) -> None:
    masque = load(pair(certificate() + certificate_pem(AUTHORITY))).masque
    assert masque is not None and masque.certificate.count(b"BEGIN CERTIFICATE") == 2
    shown = leaf(masque.certificate)
    assert shown is not None and spki(shown.public_key()) == spki(KEY.public_key())
    wrong = problem(pair(certificate_pem(AUTHORITY) + certificate()))
    assert "a later one is" in wrong.message and "leaf first" in wrong.fix


@pytest.mark.parametrize(
    ("shown", "message", "fix"),
    [
        ("", "not a certificate in PEM", "openssl x509"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a certificate in PEM", "DER"),
        (key_pem(KEY), "holds a private key, no certificate", "`key_file`"),
        (certificate(new_key()), "belongs to another key", "made together"),
        (certificate(now=NOW - timedelta(days=500)), "ended on ", " renew` makes one"),
        (certificate(now=NOW + timedelta(days=2)), "begins on ", "clock"),
    ],
)  # fmt: skip
def test_what_is_no_certificate_to_show(pair: Pair, shown: str, message: str, fix: str) -> None:
    found = problem(pair(shown))
    assert message in found.message and fix in found.fix
    assert (found.line, found.column) == (7, 21)
    assert key_pem(KEY).split()[3] not in str(found)


ENCRYPTED = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")).decode()


@pytest.mark.parametrize(
    ("key", "message", "fix"),
    [
        ("", "not a private key in PEM", "openssl pkey"),
        (certificate(), "holds a certificate, no private key", "`certificate_file`"),
        (ENCRYPTED, "encrypted", "openssl pkey"),
        (key_pem(X25519PrivateKey.generate()), "a kind of key", "ECDSA P-256, as `poplab edge init-masque`"),  # type: ignore[arg-type]
    ],
)  # fmt: skip
def test_what_is_no_key_to_sign_with(pair: Pair, key: str, message: str, fix: str) -> None:
    found = problem(pair(key=key))
    assert message in found.message and fix in found.fix
    assert (found.line, found.column) == (8, 13)


def test_a_key_that_others_may_use_is_refused_as_any(pair: Pair) -> None:
    found = problem(pair(mode=0o640))
    assert "0640" in found.message and found.fix.startswith("chmod 600 ")


def test_files_that_are_not_there_are_both_named(pair: Pair, tmp_path: Path) -> None:
    path = pair()
    (tmp_path / "masque.crt").unlink()
    (tmp_path / "masque.key").unlink()
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [found.line for found in caught.value.problems] == [7, 8]
    assert all("`poplab edge init-masque` " in found.fix for found in caught.value.problems)


def test_a_fifo_in_the_place_of_a_certificate_does_not_hang(pair: Pair, tmp_path: Path) -> None:
    path = pair()
    (tmp_path / "masque.crt").unlink()
    os.mkfifo(tmp_path / "masque.crt")
    assert "not a regular file" in problem(path).message


def test_a_key_in_the_place_of_its_files_name_is_not_repeated(pair: Pair) -> None:
    path = pair()
    secret = key_pem(KEY).splitlines()[1]
    path.write_text(EDGE.replace("masque.key", secret))
    found = problem(path)
    assert "not the name of a file" in found.message and secret not in str(found)


def test_an_ecdsa_key_of_a_client_has_one_form() -> None:
    assert is_ecdsa_key(spki(generate_private_key(SECP256R1()).public_key()))
    point = KEY.public_key().public_numbers()
    compressed = bytes([2 + point.y % 2]) + point.x.to_bytes(32)
    header = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200")
    for other in (
        b"", b"x", spki(KEY.public_key()) + b"\0", header + compressed, spki(Ed25519PrivateKey.generate().public_key()),
    ):  # fmt: skip
        assert not is_ecdsa_key(other)
