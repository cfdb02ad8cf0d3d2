"""Who is at the other end: servers by authority or by key, clients by the key of their certificate."""

import ssl

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from quic_pair import (
    NAME,
    SERVER,
    Pair,
    client_settings,
    identity,
    key_pem,
    make_certificate,
    spki,
)
from rogue import Rogue

from edge.io.quic import ClientSettings, QuicClient, QuicServer, ServerSettings
from edge.io.quic.identity import load_identity
from edge.io.quic.spki import public_key_untrusted
from edge.proto.masque.carrier import CarrierClosed, CarrierReady
from edge.proto.types import BadPacket

BAD_CERTIFICATE = 0x100 + 42
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
SPKI_ALGORITHM = bytes.fromhex("301306072a8648ce3d0201")


@pytest.fixture(scope="module")
def authority():
    key = ec.generate_private_key(ec.SECP256R1())
    return make_certificate(key, "test authority", ca=True), key


@pytest.fixture(scope="module")
def signed(authority):
    key = ec.generate_private_key(ec.SECP256R1())
    return make_certificate(key, authority=authority), key_pem(key), spki(key)


def outcome(pair):
    pair.run(1)
    if ready := pair.client.seen(CarrierReady):
        assert len(ready) == 1
        return "ready"
    [closed] = pair.client.seen(CarrierClosed)
    return closed.code


@pytest.mark.parametrize(
    ("authority_is", "name", "key_is", "expected"),
    [
        ("right", NAME, None, "ready"),
        ("right", NAME, "right", "ready"),
        ("right", "other.example", None, BAD_CERTIFICATE),
        ("wrong", NAME, None, BAD_CERTIFICATE),
        ("wrong", NAME, "right", BAD_CERTIFICATE),
        ("right", NAME, "wrong", BAD_CERTIFICATE),
        (None, "other.example", "right", "ready"),
        (None, NAME, "wrong", BAD_CERTIFICATE),
        (None, NAME, None, BAD_CERTIFICATE),  # the authorities of the system know nothing of it
    ],
)
def test_servers_are_checked(authority, signed, authority_is, name, key_is, expected):
    certificate, key, public = signed
    other = identity()
    settings = ClientSettings(
        name,
        authority={"right": authority[0], "wrong": other[0], None: None}[authority_is],
        server_key={"right": public, "wrong": other[2], None: None}[key_is],
    )
    pair = Pair(server=ServerSettings(certificate, key), client=settings)
    assert outcome(pair) == expected


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["p256", "p384", "ed25519", "rsa"],
)
def test_a_client_is_known_by_its_key(key):
    certificate = make_certificate(key, "a client")
    pair = Pair(client=client_settings(certificate=certificate, private_key=key_pem(key)))
    pair.connect()
    pair.run(1)
    [ready] = pair.server.seen(CarrierReady)
    assert ready.carrier.peer_key == spki(key)
    pair.client.endpoint.carrier.close(0x100)
    pair.run(1)
    assert ready.carrier.peer_key == spki(key)  # for whoever asks late


def test_a_client_without_certificate_has_no_key():
    pair = Pair()
    _, far, _ = pair.tunnel()
    assert far.peer_key is None


def with_serial_zero(certificate, key):
    """DER of the certificate signed anew with serial number 0, as some clients make it."""
    der = der_of(certificate)
    outer = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
    head = outer + 2 + (der[outer + 1] & 0x7F if der[outer + 1] & 0x80 else 0)
    before = b"\xa0\x03\x02\x01\x02" + b"\x02\x01\x01"  # version 3, serial number 1
    rest = der[head + len(before) : der.index(SPKI_ALGORITHM) - 2] + spki(key)
    assert der[head:].startswith(before)
    tbs = wrapped(b"\x30", before[:-1] + b"\0" + rest)
    signature = b"\0" + key.sign(tbs, ec.ECDSA(hashes.SHA256()))
    return wrapped(b"\x30", tbs + ECDSA_SHA256 + wrapped(b"\x03", signature))


def wrapped(tag, value):
    size = len(value)
    octets = b"" if size < 128 else size.to_bytes(1 if size < 256 else 2)
    return tag + (bytes([0x80 | len(octets)]) + octets if octets else bytes([size])) + value


def der_of(pem):
    return ssl.PEM_cert_to_DER_cert(pem.decode())


def test_serial_number_zero_and_no_subject_is_no_obstacle():
    key = ec.generate_private_key(ec.SECP256R1())
    der = with_serial_zero(make_certificate(key, "", serial=1), key)
    pem = ssl.DER_cert_to_PEM_cert(der).encode()
    pair = Pair(client=client_settings(certificate=pem, private_key=key_pem(key)))
    pair.connect()
    pair.run(1)
    [ready] = pair.server.seen(CarrierReady)
    assert ready.carrier.peer_key == spki(key)


def test_a_certificate_without_its_key_proves_nothing():
    """The other's certificate, our own key: CertificateVerify does not fit."""
    mine, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    pair = Pair()
    chain, _ = load_identity(make_certificate(other, "victim"), key_pem(other))
    rogue = Rogue(pair.server.endpoint, pair.now, connect=False)
    rogue.quic.tls.certificate, rogue.quic.tls.certificate_private_key = chain[0], mine
    rogue.exchange(5)
    assert rogue.closed == (0x100 + 51, True)  # decrypt_error
    assert pair.server.endpoint.counters.handshakes_done == 0


def test_certificate_and_key_have_to_belong_together():
    certificate, key = identity()[0], key_pem(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(ValueError, match="not that of the certificate"):
        QuicServer(ServerSettings(certificate, key), now=0.0, rng=bytes)
    with pytest.raises(ValueError, match="no certificate"):
        QuicServer(ServerSettings(b"", key), now=0.0, rng=bytes)
    with pytest.raises(ValueError):
        QuicClient(client_settings(certificate=certificate, private_key=b"junk"), SERVER, now=0.0)
    with pytest.raises(ValueError):
        QuicClient(client_settings(authority=b"junk"), SERVER, now=0.0)


def test_no_answer_ends_the_attempt():
    pair = Pair(client=client_settings(handshake_timeout=3.0))
    pair.lose = lambda datagram, source: True
    pair.run(4)
    [closed] = pair.client.seen(CarrierClosed)
    assert (closed.code, closed.by_peer) == (None, False)
    assert pair.client.endpoint.next_timeout() == float("inf")


def test_a_lossy_path_is_no_obstacle():
    for seed in range(10):
        pair = Pair(loss=0.2, seed=seed)
        pair.connect()


@pytest.mark.parametrize("size", [0, 1, 100, 300])
def test_every_cut_of_a_certificate_is_refused(size):
    der = der_of(identity()[0])
    assert public_key_untrusted(der) == identity()[2]
    with pytest.raises(BadPacket):
        public_key_untrusted(der[:size])
    with pytest.raises(BadPacket):
        public_key_untrusted(der + b"\0")


def test_damaged_certificates_are_refused_or_read_but_never_worse():
    der = der_of(identity()[0])
    for position in range(len(der)):
        for bit in (1, 0x80):
            damaged = der[:position] + bytes([der[position] ^ bit]) + der[position + 1 :]
            try:
                public_key_untrusted(damaged)
            except BadPacket:
                continue
