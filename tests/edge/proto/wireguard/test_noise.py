"""The handshake against an independent Noise library, published captures and hostile keys (W6)."""

import base64

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from noise.connection import Keypair, NoiseConnection

from edge.proto.types import BadPacket, DropReason
from edge.proto.wireguard.cookie import append_macs, check_mac1
from edge.proto.wireguard.noise import (
    Identity,
    RemoteStatic,
    consume_initiation,
    consume_response,
    create_initiation,
    create_response,
)

PRIME = 2**255 - 19
PSK = bytes(range(100, 132))
TIMESTAMP = bytes.fromhex("4000000065536f0a10000000")
ALICE = Identity.from_bytes(b"a" * 32)
BOB = Identity.from_bytes(b"b" * 32)
MACS = bytes(32)


def public_of(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def initiate(psk=None, sender_index=0x1111):
    return create_initiation(
        ALICE,
        RemoteStatic(BOB.public, psk, ALICE),
        ephemeral_private=b"e" * 32,
        timestamp=TIMESTAMP,
        sender_index=sender_index,
    )


def knows_alice(psk=None):
    return {ALICE.public: RemoteStatic(ALICE.public, psk, BOB)}.get


def respond(message, psk=None, ephemeral=b"f" * 32):
    initiation = consume_initiation(BOB, message + MACS, knows_alice(psk))
    return create_response(initiation, ephemeral_private=ephemeral, sender_index=0x2222)


def reason_of(call, *arguments):
    with pytest.raises(BadPacket) as caught:
        call(*arguments)
    return caught.value.reason


# -- against ourselves


@pytest.mark.parametrize("psk", [None, PSK], ids=["no psk", "psk"])
def test_both_sides_agree(psk):
    message, state = initiate(psk)
    assert len(message) == 116
    initiation = consume_initiation(BOB, message + MACS, knows_alice(psk))
    assert initiation.remote.public == ALICE.public
    assert initiation.timestamp == TIMESTAMP
    assert initiation.sender_index == 0x1111
    answer, responder_keys = create_response(initiation, ephemeral_private=b"f" * 32, sender_index=0x2222)
    assert len(answer) == 60
    keys = consume_response(ALICE, state, answer + MACS)
    assert (keys.send, keys.receive) == (responder_keys.receive, responder_keys.send)
    assert keys.send != keys.receive


def test_different_psks_do_not_agree():
    message, state = initiate(PSK)
    answer, _ = respond(message, None)
    assert reason_of(consume_response, ALICE, state, answer + MACS) is DropReason.HANDSHAKE_FAILED


# -- against an independent library


def oracle(static, psk, remote=None):
    noise = NoiseConnection.from_name(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
    noise.set_prologue(b"WireGuard v1 zx2c4 Jason@zx2c4.com")
    noise.set_psks(psk=psk or bytes(32))
    noise.set_keypair_from_private_bytes(Keypair.STATIC, static)
    if remote is not None:
        noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, remote)
        noise.set_as_initiator()
    else:
        noise.set_as_responder()
    noise.start_handshake()
    return noise


def assert_same_session(keys, noise):
    nonce = bytes(12)
    assert (
        noise.decrypt(ChaCha20Poly1305(keys.send).encrypt(nonce, b"to the oracle", b"")) == b"to the oracle"
    )
    assert (
        ChaCha20Poly1305(keys.receive).decrypt(nonce, noise.encrypt(b"from the oracle"), b"")
        == b"from the oracle"
    )


@pytest.mark.parametrize("psk", [None, PSK], ids=["no psk", "psk"])
def test_initiator_against_noiseprotocol(psk):
    noise = oracle(b"b" * 32, psk)
    message, state = initiate(psk)
    assert bytes(noise.read_message(message[8:])) == TIMESTAMP
    answer = b"\x02\0\0\0\x22\x22\0\0\x11\x11\0\0" + bytes(noise.write_message())
    assert_same_session(consume_response(ALICE, state, answer + MACS), noise)


@pytest.mark.parametrize("psk", [None, PSK], ids=["no psk", "psk"])
def test_responder_against_noiseprotocol(psk):
    noise = oracle(b"a" * 32, psk, remote=BOB.public)
    message = b"\x01\0\0\0\x11\x11\0\0" + bytes(noise.write_message(TIMESTAMP))
    answer, keys = respond(message, psk)
    assert answer[:12] == b"\x02\0\0\0\x22\x22\0\0\x11\x11\0\0"
    noise.read_message(answer[12:])
    assert_same_session(keys, noise)


# -- against published captures
# Bytes of wireguard-ping-tcp.pcap (frames 1-4) and wireguard-psk.pcap (frames 1-2) from Wireshark's test
# suite, with the private keys that its decryption tests publish.

CAPTURE_A = Identity.from_bytes(base64.b64decode("AKeZaHwBxjiKLFnkY2unvEdOTtg4AL+M9dQXfopFVFk="))
CAPTURE_B = Identity.from_bytes(base64.b64decode("cFIxTUyBs1Qil414hBwEgvasEax8CKJ5IS5ZougplWs="))

PING = {
    "ephemeral_a": base64.b64decode("sLGLJSOQfyz7JNJ5ZDzFf3Uz1rkiCMMjbWerNYcPFFU="),
    "ephemeral_b": base64.b64decode("QC4/FZKhFf0b/eXEcCecmZNt6V6PXmRa4EWG1PIYTU4="),
    "psk": None,
    "initiation": bytes.fromhex(
        "01000000d837d0305fcec7c8e5c8e2e3f7989eef60c228d82329d602b6b1e2bb9d068f89cf9d4d4532780f6d27264f7b"
        "98701fdc27a4ec00aeb6becdbef2332f1b4084cadb93823935c012ae255e7b25eff13940c321fa6bd66a2a87b061db14"
        "30173e937f569349de2856dc5f2616763eeeafc0533b01dd965e7ec76976e28f683d6712" + 16 * "00"
    ),
    "response": bytes.fromhex(
        "0200000006f47dabd837d030b18d5550bd4042a37a46823ac08db1ec66839bc0ca2d64bc15cd80232b66232faec24af8"
        "918de1060ff5c98e865d5f35f272214c5260110dc4c61e32cdd85421" + 16 * "00"
    ),
}
PRESHARED = {
    "ephemeral_a": base64.b64decode("iCv2VTi/BC/q0egU931KXrrQ4TSwXaezMgrhh7uCbXs="),
    "ephemeral_b": base64.b64decode("8G1N3LnEqYC7+NW/b6mqceVUIGBMAZSm+IpwG1U0j0w="),
    "psk": b"\xff" * 32,
    "initiation": bytes.fromhex(
        "01000000029c03c1f30ceb67148dd27c78d52d0196b6b78b71542986f563ac898879353f022f174770c5b3d433cfb49f"
        "d3311688284ce67ec72111e655129fc5f6bed2e0a44b8d28c222c6e1479a0833c7a1f6417b733c1ef049fab5e451aff5"
        "61ea428c2116f7d1023ccdac2b2a00ecbe0273c9f84b1c695032084b58e7d2ff9fcf19fd" + 16 * "00"
    ),
    "response": bytes.fromhex(
        "0200000001fae3dc029c03c1394ce1067faccdff74d71ddde6450ccedb94839008a7a2c0cdb0b4abe080565b96d16752"
        "c32e60baabfb5413fba24276beae31ece918c01700e5dfe66ca3c7b9" + 16 * "00"
    ),
}
PING_TRANSPORT_A = bytes.fromhex(
    "0400000006f47dab0000000000000000a4ebc12ee3f990da18033a0789c04e2700f6f5c271d42ac4b4d6262e666549b4"
    "45a7436e829bffb6ac65f05648bc0c391fe7c5884874376127164940188f03dba67af8388eaab76c593628bf9dc7be03"
    "346d912e916dad862545454701364f2d2486d7ced4c8642ce547ddb26ef6a46b"
)
PING_TRANSPORT_B = bytes.fromhex(
    "04000000d837d03000000000000000006f4f080e9f52691bbe948535f79c13ed68f09145d523eedb087265f968082f70"
    "735729263eda627c7683cdc0b80a3356d9536c9f0e2872797b5c81720ba0b8ea7233c6debf9f0fbee8f10ec18985b824"
    "bf350f8b8180d08a64e6be9810089ac3d1363ed5e129ca1e0425cf7e94965659"
)


def index_of(message):
    return int.from_bytes(message[4:8], "little")


@pytest.mark.parametrize("capture", [PING, PRESHARED], ids=["ping", "psk"])
def test_captured_handshake_byte_for_byte(capture):
    initiation, response = capture["initiation"], capture["response"]
    remote_a = RemoteStatic(CAPTURE_A.public, capture["psk"], CAPTURE_B)
    remote_b = RemoteStatic(CAPTURE_B.public, capture["psk"], CAPTURE_A)

    assert check_mac1(initiation, CAPTURE_B.mac1_key)
    consumed = consume_initiation(CAPTURE_B, initiation, {CAPTURE_A.public: remote_a}.get)
    body, state = create_initiation(
        CAPTURE_A,
        remote_b,
        ephemeral_private=capture["ephemeral_a"],
        timestamp=consumed.timestamp,
        sender_index=index_of(initiation),
    )
    assert append_macs(body, remote_b.mac1_key, None) == initiation

    body, keys_b = create_response(
        consumed, ephemeral_private=capture["ephemeral_b"], sender_index=index_of(response)
    )
    assert append_macs(body, remote_a.mac1_key, None) == response
    assert check_mac1(response, CAPTURE_A.mac1_key)

    keys_a = consume_response(CAPTURE_A, state, response)
    assert (keys_a.send, keys_a.receive) == (keys_b.receive, keys_b.send)


def test_captured_ping_decrypts():
    remote_a = RemoteStatic(CAPTURE_A.public, None, CAPTURE_B)
    consumed = consume_initiation(CAPTURE_B, PING["initiation"], {CAPTURE_A.public: remote_a}.get)
    assert consumed.timestamp[8:] == (356537872).to_bytes(4, "big")
    _, keys = create_response(
        consumed, ephemeral_private=PING["ephemeral_b"], sender_index=index_of(PING["response"])
    )
    request = ChaCha20Poly1305(keys.receive).decrypt(bytes(12), PING_TRANSPORT_A[16:], None)
    reply = ChaCha20Poly1305(keys.send).decrypt(bytes(12), PING_TRANSPORT_B[16:], None)
    assert (request[0], request[9], request[20]) == (0x45, 1, 8)  # IPv4, ICMP, echo request
    assert (reply[0], reply[9], reply[20]) == (0x45, 1, 0)
    assert request[12:16] == reply[16:20]


# -- what does not decrypt


@pytest.mark.parametrize("position", [8, 40, 87, 88, 115])
def test_changed_initiation(position):
    message = bytearray(initiate()[0])
    message[position] ^= 1
    assert (
        reason_of(consume_initiation, BOB, bytes(message) + MACS, knows_alice())
        is DropReason.HANDSHAKE_FAILED
    )


def test_initiation_for_another_responder():
    message = initiate()[0] + MACS
    assert reason_of(consume_initiation, ALICE, message, knows_alice()) is DropReason.HANDSHAKE_FAILED


def test_unknown_peer():
    message = initiate()[0] + MACS
    assert reason_of(consume_initiation, BOB, message, {}.get) is DropReason.UNKNOWN_PEER


def test_claimed_static_key_must_be_proven():
    """Everybody can encrypt Alice's public key to Bob; only Alice has the static-static secret."""
    mallory = Identity.from_bytes(b"m" * 32)
    message, _ = create_initiation(
        mallory,
        RemoteStatic(BOB.public, None, mallory),
        ephemeral_private=b"e" * 32,
        timestamp=TIMESTAMP,
        sender_index=1,
    )
    lookup = {mallory.public: RemoteStatic(ALICE.public, None, BOB)}.get
    assert reason_of(consume_initiation, BOB, message + MACS, lookup) is DropReason.HANDSHAKE_FAILED


@pytest.mark.parametrize("length", [0, 4, 147, 149])
def test_initiation_of_the_wrong_size(length):
    message = (initiate()[0] + MACS + b"\0")[:length]
    assert reason_of(consume_initiation, BOB, message, knows_alice()) is DropReason.MALFORMED


@pytest.mark.parametrize("position", [8, 12, 43, 44, 59])
def test_forged_response_does_not_kill_the_handshake(position):
    message, state = initiate()
    answer, responder_keys = respond(message)
    forged = bytearray(answer)
    forged[position] ^= 1
    assert reason_of(consume_response, ALICE, state, bytes(forged) + MACS) is DropReason.HANDSHAKE_FAILED
    low = answer[:12] + bytes(32) + answer[44:]
    assert reason_of(consume_response, ALICE, state, low + MACS) is DropReason.LOW_ORDER_POINT
    assert consume_response(ALICE, state, answer + MACS).send == responder_keys.receive


@pytest.mark.parametrize("length", [0, 4, 91, 93])
def test_response_of_the_wrong_size(length):
    message, state = initiate()
    answer = (respond(message)[0] + MACS + b"\0")[:length]
    assert reason_of(consume_response, ALICE, state, answer) is DropReason.MALFORMED


def test_response_to_an_older_initiation():
    message, _ = initiate(sender_index=0x1111)
    answer, _ = respond(message)
    _, newer = create_initiation(
        ALICE,
        RemoteStatic(BOB.public, None, ALICE),
        ephemeral_private=b"n" * 32,
        timestamp=TIMESTAMP,
        sender_index=0x1111,
    )
    assert reason_of(consume_response, ALICE, newer, answer + MACS) is DropReason.HANDSHAKE_FAILED


# -- keys of low order, and other encodings
# The u-coordinates whose X25519 result is zero for every private key: points of small order on the curve and
# its twist, their non-canonical forms, and each again with the ignored top bit set (as in Wycheproof).

ORDER_8 = [
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
]
LOW_ORDER = [0, 1, *ORDER_8, PRIME - 1, PRIME, PRIME + 1]
LOW_ORDER_KEYS = [u.to_bytes(32, "little") for u in LOW_ORDER]
LOW_ORDER_KEYS += [(u | 1 << 255).to_bytes(32, "little") for u in LOW_ORDER]


@pytest.mark.parametrize("ephemeral", LOW_ORDER_KEYS, ids=bytes.hex)
def test_low_order_ephemeral(ephemeral):
    message, state = initiate()
    answer, _ = respond(message)
    message = message[:8] + ephemeral + message[40:]
    answer = answer[:12] + ephemeral + answer[44:]
    assert reason_of(consume_initiation, BOB, message + MACS, knows_alice()) is DropReason.LOW_ORDER_POINT
    assert reason_of(consume_response, ALICE, state, answer + MACS) is DropReason.LOW_ORDER_POINT


@pytest.mark.parametrize("public", LOW_ORDER_KEYS, ids=bytes.hex)
def test_low_order_peer_key(public):
    with pytest.raises(ValueError, match=r"low order|canonical"):
        RemoteStatic(public, None, ALICE)


@pytest.mark.parametrize("u", [PRIME + 2, PRIME + 9, 2**255 - 1, 9 | 1 << 255])
def test_non_canonical_peer_key(u):
    with pytest.raises(ValueError, match="canonical"):
        RemoteStatic(u.to_bytes(32, "little"), None, ALICE)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_keys_of_the_wrong_size(length):
    with pytest.raises(ValueError, match="32 bytes"):
        RemoteStatic(bytes(length), None, ALICE)
    with pytest.raises(ValueError, match="32 bytes"):
        RemoteStatic(BOB.public, bytes(length), ALICE)
    with pytest.raises(ValueError, match="32 bytes"):
        Identity.from_bytes(bytes(length))


# -- secrets


def test_secrets_do_not_show():
    message, state = initiate(PSK)
    initiation = consume_initiation(BOB, message + MACS, knows_alice(PSK))
    _, keys = respond(message, PSK)
    shown = repr([ALICE, RemoteStatic(BOB.public, PSK, ALICE), state, initiation, keys])
    chain = [state.chaining_key, state.hash, initiation.chaining_key, initiation.hash]
    for secret in [b"a" * 32, b"e" * 32, PSK, keys.send, keys.receive, *chain]:
        for form in (secret.hex(), base64.b64encode(secret).decode(), repr(secret)[2:-1]):
            assert form not in shown


def test_repr_names_the_key_that_people_know():
    assert ALICE.public.hex() in repr(ALICE)
    assert BOB.public.hex() in repr(RemoteStatic(BOB.public, None, ALICE))


def test_wrong_keys_really_do_not_decrypt():
    """The oracle comparison means something only if a wrong key is noticed."""
    message, state = initiate()
    answer, _ = respond(message)
    keys = consume_response(ALICE, state, answer + MACS)
    sealed = ChaCha20Poly1305(keys.send).encrypt(bytes(12), b"", None)
    with pytest.raises(InvalidTag):
        ChaCha20Poly1305(keys.receive).decrypt(bytes(12), sealed, None)
