import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.types import BadPacket
from scenarios.proto.digest import (
    NONCE_LIFETIME,
    Authenticator,
    Credentials,
    Outcome,
    fields_untrusted,
    response,
)
from scenarios.proto.sip import message_untrusted

REGISTER = (
    b"REGISTER sip:hq.example SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\n"
    b"From: <sip:ann@hq.example>;tag=1\r\nTo: <sip:ann@hq.example>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n\r\n"
)


def server(users=None, seed=1, **options):
    return Authenticator("hq.example", users or {"ann": 'pa"ss\\'}, random.Random(seed), **options)


def client(password='pa"ss\\', user="ann"):
    return Credentials(user, password, random.Random(2))


def challenge(authenticator, now=0.0, *, status=401, stale=False):
    reply = message_untrusted(REGISTER).reply(status)
    authenticator.challenge(reply, now, stale=stale)
    return message_untrusted(reply.encode())


def signed(credentials):
    request = message_untrusted(REGISTER)
    credentials.sign(request)
    return message_untrusted(request.encode())


def judge(authenticator, request, now=0.0, header="Authorization"):
    return authenticator.judge(request, header, now)[0]


@pytest.mark.parametrize("algorithms", [("SHA-256", "MD5"), ("SHA-256",), ("MD5",)])
@pytest.mark.parametrize(("status", "header"), [(401, "Authorization"), (407, "Proxy-Authorization")])
def test_a_challenge_is_answered(algorithms, status, header):
    authenticator, credentials = server(algorithms=algorithms), client()
    assert judge(authenticator, message_untrusted(REGISTER), header=header) is Outcome.ABSENT
    assert credentials.challenged(message_untrusted(REGISTER), challenge(authenticator, status=status))
    request = signed(credentials)
    assert f"algorithm={algorithms[0]}" in request.header(header)  # the strongest offered
    assert authenticator.judge(request, header, 1.0) == (Outcome.OK, "ann")


MUFASA = ("Mufasa", "testrealm@host.com", "Circle Of Life")
HTTP_AUTH = ("Mufasa", "http-auth@example.org", "Circle of Life")
OLD_NONCE = "dcd98b7102dd2f0e8b11d0f600bfb0c093"
NONCE = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


@pytest.mark.parametrize(
    ("algorithm", "identity", "nonce", "qop", "expected"),
    [
        # RFC 2617 section 3.5, RFC 7616 section 3.9.1 (both algorithms), RFC 2069 section 2.4 as corrected
        ("MD5", MUFASA, OLD_NONCE, ("00000001", "0a4f113b"), "6629fae49393a05397450978507c4ef1"),
        ("MD5", HTTP_AUTH, NONCE, ("00000001", CNONCE), "8ca523f5e9506fed4657c9700eebdbec"),
        (
            "SHA-256",
            HTTP_AUTH,
            NONCE,
            ("00000001", CNONCE),
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
        (
            "MD5",
            ("Mufasa", "testrealm@host.com", "CircleOfLife"),
            OLD_NONCE,
            None,
            "1949323746fe6a43ef61f9606e7febea",
        ),
    ],
)
def test_published_vectors(algorithm, identity, nonce, qop, expected):
    assert response(algorithm, identity, "GET", "/dir/index.html", nonce, qop) == expected


def test_wrong_password_and_unknown_user_look_the_same():
    for credentials in (client("other"), client("", user="nobody"), client(user="nobody")):
        authenticator = server()
        credentials.challenged(message_untrusted(REGISTER), challenge(authenticator))
        assert judge(authenticator, signed(credentials)) is Outcome.WRONG


def test_the_client_does_not_repeat_a_refused_password():
    authenticator, credentials = server(), client("other")
    assert credentials.challenged(message_untrusted(REGISTER), challenge(authenticator))
    assert not credentials.challenged(signed(credentials), challenge(authenticator))
    assert credentials.challenged(signed(credentials), challenge(authenticator, stale=True))


def test_credentials_are_good_for_one_method():
    authenticator, credentials = server(), client()
    credentials.challenged(message_untrusted(REGISTER), challenge(authenticator))
    other = message_untrusted(
        signed(credentials)
        .encode()
        .replace(b" REGISTER\r\n", b" INVITE\r\n")
        .replace(b"REGISTER sip", b"INVITE sip")
    )
    assert other.method == "INVITE"
    assert judge(authenticator, other) is Outcome.WRONG


def test_a_replayed_count_is_stale():
    authenticator, credentials = server(), client()
    credentials.challenged(message_untrusted(REGISTER), challenge(authenticator))
    first, second = signed(credentials), signed(credentials)
    assert judge(authenticator, second) is Outcome.OK
    assert judge(authenticator, second) is Outcome.STALE
    assert judge(authenticator, first) is Outcome.STALE  # older than the newest used
    assert judge(authenticator, signed(credentials)) is Outcome.OK


def test_nonces_expire_and_are_the_servers_own():
    authenticator, credentials = server(), client()
    credentials.challenged(message_untrusted(REGISTER), challenge(authenticator, now=100.0))
    assert judge(authenticator, signed(credentials), now=100.0 + NONCE_LIFETIME - 1) is Outcome.OK
    assert judge(authenticator, signed(credentials), now=100.0 + NONCE_LIFETIME) is Outcome.STALE
    assert judge(server(seed=9), signed(credentials), now=100.0) is Outcome.STALE


def test_a_nonce_with_another_expiry_is_not_ours():
    authenticator, credentials = server(), client()
    reply = challenge(authenticator)
    value = reply.header("WWW-Authenticate")
    nonce = fields_untrusted(value)["nonce"]
    reply.set("WWW-Authenticate", value.replace(nonce, "ffffffffff" + nonce[nonce.index(".") :]))
    credentials.challenged(message_untrusted(REGISTER), reply)
    assert judge(authenticator, signed(credentials)) is Outcome.STALE


def test_without_qop_nothing_counts():
    authenticator, credentials = server(), client()
    reply = challenge(authenticator)
    reply.set("WWW-Authenticate", reply.header("WWW-Authenticate").replace('qop="auth", ', ""))
    assert credentials.challenged(message_untrusted(REGISTER), reply)
    assert judge(authenticator, signed(credentials)) is Outcome.WRONG


def test_the_table_of_counts_is_bounded_and_forgets_no_replay():
    authenticator, first = server(max_nonces=20), client()
    first.challenged(message_untrusted(REGISTER), challenge(authenticator))
    replay = signed(first)
    assert judge(authenticator, replay) is Outcome.OK
    for step in range(40):
        now = 1.0 + step / 1000
        credentials = client()
        credentials.challenged(message_untrusted(REGISTER), challenge(authenticator, now=now))
        request = message_untrusted(REGISTER)
        credentials.sign(request)
        assert judge(authenticator, request, now=now) is Outcome.OK
    assert judge(authenticator, replay, now=10.0) is Outcome.STALE


def test_a_count_is_eight_hexadecimal_digits():
    authenticator = server()
    nonce = fields_untrusted(challenge(authenticator).header("WWW-Authenticate"))["nonce"]
    outcomes = []
    for count in ("1", "0000000g", "000000001", "-0000001", "", "0000000a"):
        right = response(
            "MD5", ("ann", "hq.example", 'pa"ss\\'), "REGISTER", "sip:hq.example", nonce, (count, "c")
        )
        request = message_untrusted(REGISTER)
        request.set(
            "Authorization",
            f'Digest username="ann", realm="hq.example", nonce="{nonce}", uri="sip:hq.example", '
            f'response="{right}", cnonce="c", qop=auth, nc="{count}"',
        )
        outcomes.append(judge(authenticator, request))
    assert outcomes == [Outcome.WRONG] * 5 + [Outcome.OK]


def test_a_phone_remembers_only_so_many_realms():
    credentials = client()
    for number in range(100):
        reply = message_untrusted(REGISTER).reply(401)
        reply.set("WWW-Authenticate", f'Digest realm="r{number}", nonce="n"')
        assert credentials.challenged(message_untrusted(REGISTER), reply)
    assert len(signed(credentials).headers("Authorization")) <= 16


def test_secrets_stay_out_of_repr():
    credentials = client("hunter2")
    credentials.challenged(message_untrusted(REGISTER), challenge(server()))
    assert "hunter2" not in repr(credentials)
    assert "hunter2" not in repr(server({"ann": "hunter2"}))


@pytest.mark.parametrize(
    "value",
    [
        "Basic x",
        "Digest a",
        'Digest a="b',
        'Digest a="b" c="d"',
        "Digest a=b, a=c",
        'Digest realm="r", nonce="\\\x01"',  # a quoted-pair is text in a header, but cannot be sent back
        "",
        "Digest",
    ],
)
def test_malformed(value):
    with pytest.raises(BadPacket):
        fields_untrusted(value)


@given(st.text(max_size=80))
@settings(max_examples=100, deadline=None)
def test_noise(text):
    request = message_untrusted(REGISTER)
    for value in (
        text,
        "Digest " + text,
        f'Digest realm="hq.example", qop=auth, nc=00000001, nonce="{text}", response="{text}"',
    ):
        request.extra = [("Authorization", value)]
        assert judge(server(), request) in (Outcome.ABSENT, Outcome.WRONG)
        reply = request.reply(401)
        reply.extra = [("WWW-Authenticate", value)]
        client().challenged(request, reply)
