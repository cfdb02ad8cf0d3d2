"""mac1, mac2, cookies and the rate of a source: W1 and W3 of the checklist."""

import hashlib
import random

import pytest

from edge.proto.types import BadPacket, DropReason
from edge.proto.wireguard.cookie import (
    CookieChecker,
    SourceRateLimit,
    append_macs,
    check_mac1,
    open_cookie_reply_untrusted,
)
from edge.proto.wireguard.messages import COOKIE_REPLY_SIZE
from edge.proto.wireguard.noise import cookie_key, mac1_key

PUBLIC = bytes(range(32))
BODY = b"\x01\0\0\0\x11\x22\x33\x44" + b"x" * 108
HERE = ("192.0.2.7", 41234)


def checker(now=0.0):
    return CookieChecker(PUBLIC, rng=random.Random(1).randbytes, now=now)


def with_macs(cookie=None):
    return append_macs(BODY, mac1_key(PUBLIC), cookie)


def get_cookie(responder, source, now):
    """What an initiator at `source` does with the reply to its initiation."""
    message = with_macs()
    reply = responder.create_reply(message, source, now)
    return open_cookie_reply_untrusted(reply, cookie_key(PUBLIC), message[-32:-16])


def test_macs_as_in_the_paper():
    cookie = b"c" * 16
    message = with_macs(cookie)
    key = hashlib.blake2s(b"mac1----" + PUBLIC).digest()
    assert message[:-32] == BODY
    assert message[-32:-16] == hashlib.blake2s(BODY, key=key, digest_size=16).digest()
    assert message[-16:] == hashlib.blake2s(message[:-16], key=cookie, digest_size=16).digest()
    assert with_macs()[-16:] == bytes(16)


@pytest.mark.parametrize("position", [0, 5, 115, 116, 131])
def test_mac1_covers_the_body(position):
    message = bytearray(with_macs())
    assert check_mac1(bytes(message), mac1_key(PUBLIC))
    message[position] ^= 1
    assert not check_mac1(bytes(message), mac1_key(PUBLIC))


def test_mac1_for_another_key():
    assert not check_mac1(with_macs(), mac1_key(bytes(32)))


@pytest.mark.parametrize("length", [0, 15, 16, 31, 32])
def test_mac1_of_a_stump(length):
    assert not check_mac1(bytes(length), mac1_key(PUBLIC))


def test_reply_names_the_receiver_and_is_smaller_than_what_it_answers():
    reply = checker().create_reply(with_macs(), HERE, 0.0)
    assert len(reply) == COOKIE_REPLY_SIZE < len(with_macs())
    assert reply[:8] == b"\x03\0\0\0\x11\x22\x33\x44"


def test_cookie_opens_the_door():
    responder = checker()
    message = with_macs(get_cookie(responder, HERE, 1.0))
    assert responder.check_mac2(message, HERE, 2.0)


def test_no_cookie_no_entry():
    assert not checker().check_mac2(with_macs(), HERE, 0.0)
    assert not checker().check_mac2(with_macs(b"guess" * 3 + b"!"), HERE, 0.0)


def test_mac2_covers_message_and_mac1():
    responder = checker()
    message = bytearray(with_macs(get_cookie(responder, HERE, 0.0)))
    message[20] ^= 1
    assert not responder.check_mac2(bytes(message), HERE, 0.0)


@pytest.mark.parametrize(
    "source", [("192.0.2.8", 41234), ("192.0.2.7", 41235), ("192.0.2.74", 1234), ("2001:db8::7", 41234)]
)
def test_cookie_is_bound_to_address_and_port(source):
    responder = checker()
    message = with_macs(get_cookie(responder, HERE, 0.0))
    assert responder.check_mac2(message, HERE, 0.0)
    assert not responder.check_mac2(message, source, 0.0)


def test_secret_rotates_at_120_s_and_dies_at_240_s():
    responder = checker(now=1000.0)
    first = get_cookie(responder, HERE, 1000.0)
    assert get_cookie(responder, HERE, 1119.9) == first
    second = get_cookie(responder, HERE, 1121.0)
    assert second != first
    assert responder.check_mac2(with_macs(first), HERE, 1239.9)
    assert not responder.check_mac2(with_macs(first), HERE, 1240.0)
    assert responder.check_mac2(with_macs(second), HERE, 1240.0)


def test_secret_dies_at_240_s_in_silence_too():
    responder = checker()
    cookie = get_cookie(responder, HERE, 0.0)
    assert not responder.check_mac2(with_macs(cookie), HERE, 241.0)
    assert get_cookie(responder, HERE, 241.0) != cookie


def test_two_rotations_forget_the_first_secret():
    responder = checker()
    first = get_cookie(responder, HERE, 0.0)
    get_cookie(responder, HERE, 120.0)
    get_cookie(responder, HERE, 240.0)
    assert not responder.check_mac2(with_macs(first), HERE, 240.0)


def test_reply_to_another_message_does_not_open():
    reply = checker().create_reply(with_macs(), HERE, 0.0)
    with pytest.raises(BadPacket) as caught:
        open_cookie_reply_untrusted(reply, cookie_key(PUBLIC), b"another mac1 ...")
    assert caught.value.reason is DropReason.BAD_COOKIE


@pytest.mark.parametrize("position", [8, 31, 32, 63])
def test_changed_reply_does_not_open(position):
    reply = bytearray(checker().create_reply(with_macs(), HERE, 0.0))
    reply[position] ^= 1
    with pytest.raises(BadPacket) as caught:
        open_cookie_reply_untrusted(bytes(reply), cookie_key(PUBLIC), with_macs()[-32:-16])
    assert caught.value.reason is DropReason.BAD_COOKIE


@pytest.mark.parametrize("length", [0, 63, 65])
def test_reply_of_the_wrong_size(length):
    with pytest.raises(BadPacket) as caught:
        open_cookie_reply_untrusted(bytes(length), cookie_key(PUBLIC), bytes(16))
    assert caught.value.reason is DropReason.MALFORMED


def test_secrets_do_not_show():
    responder = checker()
    secret = random.Random(1).randbytes(32)
    assert secret.hex() not in repr(responder)
    assert repr(secret) not in repr(responder)


# -- the rate of a source


@pytest.mark.parametrize("start", [0.0, 0.1, 1e6 + 0.3])
def test_burst_then_twenty_a_second(start):
    limit = SourceRateLimit()
    assert [limit.allow("192.0.2.1", start) for _ in range(6)] == [True] * 5 + [False]
    assert limit.allow("192.0.2.1", start + 0.05)
    assert not limit.allow("192.0.2.1", start + 0.05)
    assert limit.allow("192.0.2.1", start + 0.10)
    assert [limit.allow("192.0.2.1", start + 1.0) for _ in range(6)] == [True] * 5 + [False]


def test_a_flood_gets_twenty_a_second():
    limit = SourceRateLimit()
    allowed = sum(limit.allow("192.0.2.1", step / 1000) for step in range(10_000))
    assert allowed == 5 + 199


def test_sources_do_not_share():
    limit = SourceRateLimit()
    for _ in range(6):
        limit.allow("192.0.2.1", 0.0)
    assert limit.allow("192.0.2.2", 0.0)
    assert limit.allow("2001:db8::1", 0.0)


def test_an_ipv6_source_is_its_64():
    limit = SourceRateLimit()
    same = [f"2001:db8:0:1::{host:x}" for host in range(1, 7)]
    assert [limit.allow(host, 0.0) for host in same] == [True] * 5 + [False]
    assert limit.allow("2001:db8:0:2::1", 0.0)


def test_mapped_addresses_are_ipv4_sources():
    limit = SourceRateLimit()
    for _ in range(5):
        assert limit.allow("::ffff:192.0.2.1", 0.0)
    assert not limit.allow("192.0.2.1", 0.0)
    assert limit.allow("::ffff:192.0.2.2", 0.0)


def test_table_is_capped_and_known_sources_still_pass():
    limit = SourceRateLimit(max_sources=10)
    assert all(limit.allow(f"10.0.0.{host}", 0.0) for host in range(10))
    assert not any(limit.allow(f"10.0.1.{host}", 0.0) for host in range(200))
    assert len(limit) == 10
    assert limit.allow("10.0.0.0", 0.0)


def test_rested_sources_leave_the_table():
    limit = SourceRateLimit(max_sources=10)
    for host in range(10):
        limit.allow(f"10.0.0.{host}", 0.0)
    assert all(limit.allow(f"10.0.1.{host}", 0.06) for host in range(5))
    assert len(limit) == 5
    for step in range(6):
        limit.allow("10.0.2.1", 10.0 + step)
    assert len(limit) == 1


def test_a_refused_source_gains_nothing_by_asking():
    limit = SourceRateLimit(max_sources=10)
    for _ in range(5):
        limit.allow("192.0.2.1", 0.0)
    for _ in range(100):
        assert not limit.allow("192.0.2.1", 0.01)
    assert len(limit) == 1
    assert not limit.allow("192.0.2.1", 0.04)
    assert limit.allow("192.0.2.1", 0.05)
