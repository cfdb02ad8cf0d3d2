"""Authorization: Bearer and Basic, strictly; a token is never shown."""

from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.masque.credential import (
    MAX_TOKEN,
    MAX_USER,
    Credential,
    encode_authorization,
    parse_authorization,
)
from edge.proto.masque.refusal import BadRequest

QUICK = settings(max_examples=150, deadline=None, derandomize=True)


def basic(text):
    return b"Basic " + b64encode(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize(
    ("field", "credential"),
    [
        (b"Bearer mF_9.B5f-4.1JqM", Credential("", b"mF_9.B5f-4.1JqM")),  # RFC 6750 2.1
        (b"bearer   a+/~==", Credential("", b"a+/~==")),
        (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", Credential("Aladdin", b"open sesame")),  # RFC 7617 2
        (b"Basic dGVzdDoxMjPCow==", Credential("test", "123£".encode())),  # RFC 7617 2.1
        (b"BASIC Ojp4", Credential("", b":x")),
        (basic("a:b:c"), Credential("a", b"b:c")),
        (basic("a" * MAX_USER + ":" + "b" * MAX_TOKEN), Credential("a" * MAX_USER, b"b" * MAX_TOKEN)),
        (b"Bearer " + b"a" * MAX_TOKEN, Credential("", b"a" * MAX_TOKEN)),
    ],
)
def test_well_formed(field, credential):
    assert parse_authorization([field]) == credential


@pytest.mark.parametrize(
    "field",
    [
        b"",
        b"Bearer",
        b"Bearer ",
        b"Bearer a b",
        b"Bearer a ",
        b" Bearer a",
        b"Bearer\ta",
        b"Bearer a\n",
        b"Bearer ===",
        b"Bearer a=b",
        b"Bearer \xc3\xa9",
        b"Bearer a,b",
        b"Bearer " + b"a" * (MAX_TOKEN + 1),
        b"Bearer " + b"a" * 100_000,
        b"Digest abc",
        b"Basic",
        b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ",  # padding is missing
        b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ===",
        b"Basic a-_b",
        b"Basic Ojp4, Bearer a",
        basic("no colon"),
        basic("user:"),
        basic(b"user:\xff"),
        basic("user:a\0b"),
        basic("us\ner:ab"),
        basic("user:a\x7f"),
        basic("a" * (MAX_USER + 1) + ":b"),
        basic("é" * (MAX_USER // 2 + 1) + ":b"),
        basic("a:" + "b" * (MAX_TOKEN + 1)),
    ],
)
def test_malformed(field):
    with pytest.raises(BadRequest) as caught:
        parse_authorization([field])
    assert caught.value.status == 401
    assert "user" not in str(caught.value)


@pytest.mark.parametrize("fields", [[], [b"Bearer a", b"Bearer a"], [b"Bearer a", basic("a:b")]])
def test_there_is_exactly_one(fields):
    with pytest.raises(BadRequest) as caught:
        parse_authorization(fields)
    assert caught.value.status == 401


def test_none_and_malformed_are_told_apart():
    with pytest.raises(BadRequest, match="no credentials"):
        parse_authorization([])
    with pytest.raises(BadRequest, match="malformed"):
        parse_authorization([b""])


def test_the_token_is_not_shown():
    credential = parse_authorization([basic("alice:hunter2")])
    assert "alice" in repr(credential)
    assert "hunter2" not in f"{credential!r}{credential}"
    with pytest.raises(ValueError) as caught:
        encode_authorization(Credential("alice", b"hunter2\0"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "credential",
    [
        Credential("", b""),
        Credential("a", b""),
        Credential("a:b", b"c"),
        Credential("a\0", b"c"),
        Credential("", b"a b"),
        Credential("", "é".encode()),
        Credential("a", b"\xff"),
        Credential("a" * (MAX_USER + 1), b"c"),
        Credential("", b"c" * (MAX_TOKEN + 1)),
    ],
)
def test_what_cannot_be_sent(credential):
    with pytest.raises(ValueError, match="cannot be sent"):
        encode_authorization(credential)


PRINTABLE = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters=":")


@QUICK
@given(st.text(PRINTABLE, min_size=1, max_size=40), st.text(PRINTABLE, min_size=1, max_size=40))
def test_what_is_sent_is_read(user, token):
    credential = Credential(user, token.encode())
    assert parse_authorization([encode_authorization(credential)]) == credential


@QUICK
@given(st.one_of(st.binary(max_size=40), st.binary(max_size=30).map(basic)))
def test_random_fields_raise_nothing_else(field):
    with suppress(BadRequest):
        assert parse_authorization([field]).token
