"""Requests and answers: RFC 9484 4.4 and 4.5, the dialect of WARP clients, M1 and M2."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.masque.carrier import HttpVersion
from edge.proto.masque.credential import Credential
from edge.proto.masque.refusal import Refusal, refuse
from edge.proto.masque.request import (
    Accepted,
    Dialect,
    accept_headers,
    judge,
    judge_response,
    request_headers,
    warp_request_headers,
)
from edge.proto.masque.scope import Scope
from edge.proto.masque.template import DEFAULT_TEMPLATE, Template

QUICK = settings(max_examples=150, deadline=None, derandomize=True)
H3, H2 = HttpVersion.H3, HttpVersion.H2
VERSIONS = pytest.mark.parametrize("version", [H3, H2])

DEFAULT = Template.parse(DEFAULT_TEMPLATE)
TEMPLATES = [DEFAULT, Template.parse("/vpn")]
STANDARD = {
    ":authority": "edge.test",
    ":method": "CONNECT",
    ":path": "/.well-known/masque/ip/*/*/",
    ":scheme": "https",
    ":protocol": "connect-ip",
    "capsule-protocol": "?1",
    "authorization": "Bearer secret",
}
WARP_H3 = {
    ":authority": "cloudflareaccess.com",
    ":method": "CONNECT",
    ":path": "/",
    ":scheme": "https",
    ":protocol": "cf-connect-ip",
    "capsule-protocol": "?1",
}
WARP_H2 = {
    ":authority": "cloudflareaccess.com:443",
    ":method": "CONNECT",
    "cf-connect-proto": "cf-connect-ip",
    "pq-enabled": "false",
    "accept-encoding": "gzip",
}
TOKEN = Credential("", b"secret")
EVERYTHING = Scope()


def fields(base, *more, **changes):
    """`base` with ``method=...`` for ``:method``, names with dashes in `more`; None leaves one out."""
    changed = {**base, **{f":{name}": value for name, value in changes.items()}}
    return [
        (name.encode(), value.encode("latin-1")) for name, value in changed.items() if value is not None
    ] + [*more]


def status(headers, version=H3, **options):
    verdict = judge(headers, version, TEMPLATES, **options)
    assert isinstance(verdict, Refusal), verdict
    assert verdict.headers[0] == (b":status", b"%d" % verdict.status)
    return verdict.status


@VERSIONS
def test_a_common_client(version):
    assert judge(fields(STANDARD), version, TEMPLATES) == Accepted(Dialect.STANDARD, EVERYTHING, TOKEN, True)


@VERSIONS
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"method": "GET"}, 405),
        ({"method": "connect"}, 405),
        ({"method": None}, 400),
        ({"protocol": None}, 501),
        ({"protocol": "connect-udp"}, 501),
        ({"protocol": "cf-connect-ip"}, 501),  # not on this listener
        ({"protocol": "websocket"}, 501),
        ({"scheme": "http"}, 400),
        ({"scheme": None}, 400),
        ({"authority": None}, 400),
        ({"authority": ""}, 400),
        ({"authority": "user@edge.test"}, 400),
        ({"path": None}, 400),
        ({"path": ""}, 400),
        ({"path": "/"}, 404),
        ({"path": "/.well-known/masque/udp/*/*/"}, 404),
        ({"path": "/.well-known/masque/ip/%/*/"}, 400),
        ({"path": "/vp\xe9"}, 400),
        ({"path": "/.well-known/masque/ip/10.0.0.1%2F8/*/"}, 400),
        ({"path": "/.well-known/masque/ip/*/256/"}, 400),
        ({"path": "/.well-known/masque/ip/pbx.example/*/"}, 502),
        ({"status": "200"}, 400),
        ({"unknown": ""}, 400),
    ],
)
def test_what_is_wrong_with_a_request(version, changes, expected):
    assert status(fields(STANDARD, **changes), version) == expected


@pytest.mark.parametrize("changes", [{"scheme": "HTTPS"}, {"protocol": "Connect-IP"}, {"path": "/vpn"}, {}])
def test_what_may_differ(changes):
    assert isinstance(judge(fields(STANDARD, **changes), H3, TEMPLATES), Accepted)


@pytest.mark.parametrize(
    "more", [(b"content-length", b"0"), (b"content-type", b"text/plain"), (b"transfer-encoding", b"chunked")]
)
def test_capsules_are_no_content(more):
    """RFC 9297 3.2."""
    assert status(fields(STANDARD, more)) == 400


@pytest.mark.parametrize("values", [[], [b"?0"], [b"?1;a=b"], [b"?1", b"?1"], [b"yes"]])
def test_capsule_protocol_is_not_needed(values):
    """RFC 9297 3.4: what is no true Boolean counts as absent, and :protocol says the same."""
    headers = [field for field in fields(STANDARD) if field[0] != b"capsule-protocol"]
    verdict = judge([*headers, *((b"capsule-protocol", value) for value in values)], H3, TEMPLATES)
    assert isinstance(verdict, Accepted)


def test_host_and_authority():
    """RFC 9114 4.3.1."""
    assert isinstance(judge(fields(STANDARD, (b"host", b"edge.test")), H3, TEMPLATES), Accepted)
    assert status(fields(STANDARD, (b"host", b"other.test"))) == 400


@pytest.mark.parametrize("name", [name for name in STANDARD if name.startswith(":")])
def test_pseudo_headers_come_once_and_first(name):
    field = (name.encode(), STANDARD[name].encode())
    assert status([field, *fields(STANDARD)]) == 400
    assert status([*(each for each in fields(STANDARD) if each != field), field]) == 400


@pytest.mark.parametrize("authorization", [None, "Bearer", "Basic !", "Digest abc", ""])
def test_no_or_malformed_credentials_are_asked_for(authorization):
    headers = fields({**STANDARD, "authorization": authorization})
    verdict = judge(headers, H3, TEMPLATES)
    assert verdict.status == 401
    assert verdict.headers[1:] == [
        (b"www-authenticate", b'Basic realm="poplab", charset="UTF-8"'),
        (b"www-authenticate", b'Bearer realm="poplab"'),
    ]


def test_two_credentials_are_none():
    assert status(fields(STANDARD, (b"authorization", b"Bearer other"))) == 401


def test_a_stranger_does_not_learn_names():
    hosts = {"pbx.example": [bytes([10, 0, 0, 1])]}
    for name in ("pbx.example", "other.example"):
        path = f"/.well-known/masque/ip/{name}/*/"
        assert status(fields({**STANDARD, "authorization": None}, path=path), hosts=hosts) == 401
    path = "/.well-known/masque/ip/pbx.example/17/"
    verdict = judge(fields(STANDARD, path=path), H3, TEMPLATES, hosts=hosts)
    assert verdict.scope == Scope(((bytes([10, 0, 0, 1]), 32),), 17)


def test_who_is_known_by_certificate_needs_no_credential():
    verdict = judge(fields({**STANDARD, "authorization": None}), H3, TEMPLATES, anonymous=True)
    assert verdict == Accepted(Dialect.STANDARD)
    assert judge(fields(STANDARD), H3, TEMPLATES, anonymous=True).credential == TOKEN
    assert status(fields({**STANDARD, "authorization": "Bearer"}), anonymous=True) == 401


def test_a_refusal_by_method_names_the_right_one():
    assert judge(fields(STANDARD, method="GET"), H3, TEMPLATES).headers[1:] == [(b"allow", b"CONNECT")]


def test_nothing_of_a_request_is_in_a_refusal():
    secrets = {**STANDARD, "authorization": "Basic aHVudGVyMg=="}
    for changes in ({}, {"path": "/hunter2"}, {"protocol": "hunter2"}, {"method": "hunter2"}):
        assert "hunter2" not in repr(judge(fields(secrets, **changes), H3, TEMPLATES))
    assert "secret" not in repr(judge(fields(STANDARD), H3, TEMPLATES))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scheme": "http"},
        {"scheme": None},
        {"path": ""},
        {"path": None},
        {"authority": "other.test:443"},
        {"authority": None},
    ],
)
def test_warp_over_http3(changes):
    for more in ([], [(b"pq-enabled", b"true"), (b"cf-client-version", b"x")], [(b"authorization", b"?")]):
        verdict = judge(fields(WARP_H3, *more, **changes), H3, TEMPLATES, warp=True)
        assert verdict == Accepted(Dialect.WARP, EVERYTHING, None, True)
    assert status(fields(WARP_H3, **changes)) == 501
    headers = [field for field in fields(WARP_H3, **changes) if field[0] != b"capsule-protocol"]
    assert judge(headers, H3, TEMPLATES, warp=True) == Accepted(Dialect.WARP)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"path": "/vpn"}, 404), ({"scheme": "ftp"}, 400), ({"method": "GET"}, 405), ({"method": None}, 400)],
)
def test_what_warp_over_http3_is_not(changes, expected):
    assert status(fields(WARP_H3, **changes), warp=True) == expected


def test_warp_over_http2_has_no_context_ids():
    verdict = judge(fields(WARP_H2), H2, TEMPLATES, warp=True)
    assert verdict == Accepted(Dialect.WARP, EVERYTHING, None, False)
    assert judge(fields(WARP_H2, authority="edge.test"), H2, TEMPLATES, warp=True) == verdict
    assert status(fields(WARP_H2), H2) == 501


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        (fields(WARP_H2), H3),
        (fields(WARP_H3), H2),  # whether its datagrams have context ids is unknown
        (fields({**WARP_H2, "cf-connect-proto": "other"}), H2),
        (fields({**WARP_H2, "cf-connect-proto": None}), H2),
        (fields(WARP_H2, (b"cf-connect-proto", b"cf-connect-ip")), H2),
        (fields(WARP_H2, authority=None), H2),
    ],
)
def test_what_is_neither_dialect(headers, version):
    assert status(headers, version, warp=True) == 501


@VERSIONS
def test_a_listener_for_warp_takes_the_standard_too(version):
    assert judge(fields(STANDARD), version, TEMPLATES, warp=True) == Accepted(
        Dialect.STANDARD, EVERYTHING, TOKEN
    )
    assert status(fields({**STANDARD, "authorization": None}), version, warp=True) == 401


@VERSIONS
@pytest.mark.parametrize("credential", [TOKEN, Credential("alice", b"p:w")])
def test_our_request_is_accepted_by_us(version, credential):
    headers = request_headers(
        DEFAULT, "edge.test:443", target="2001:db8::/32", ipproto="17", credential=credential
    )
    prefix = (bytes.fromhex("20010db8") + bytes(12), 32)
    assert judge(headers, version, TEMPLATES) == Accepted(Dialect.STANDARD, Scope((prefix,), 17), credential)
    assert judge(request_headers(DEFAULT, "edge.test"), version, TEMPLATES, anonymous=True) == Accepted(
        Dialect.STANDARD
    )


def test_our_request_is_that_of_the_rfc():
    assert request_headers(DEFAULT, "example.org") == [
        (b":method", b"CONNECT"),
        (b":protocol", b"connect-ip"),
        (b":scheme", b"https"),
        (b":authority", b"example.org"),
        (b":path", b"/.well-known/masque/ip/*/*/"),
        (b"capsule-protocol", b"?1"),
    ]


@pytest.mark.parametrize("authority", ["", "a@b", "https://a", "a b", "ä"])
def test_what_is_no_authority(authority):
    with pytest.raises(ValueError):
        request_headers(DEFAULT, authority)


@VERSIONS
def test_our_warp_request_is_accepted_by_us(version):
    verdict = judge(warp_request_headers("edge.test", version), version, TEMPLATES, warp=True)
    assert verdict == Accepted(Dialect.WARP, context_id=version is H3)


@pytest.mark.parametrize("code", [200, 201, 299])
def test_success(code):
    assert judge_response([(b":status", b"%d" % code)]) is None
    assert (
        judge_response([(b":status", b"%d" % code), (b"capsule-protocol", b"?1"), (b"server", b"x")]) is None
    )


def test_our_success_is_one():
    assert judge_response(accept_headers()) is None
    assert accept_headers()[0] == (b":status", b"200")


@pytest.mark.parametrize("code", [300, 307, 400, 401, 403, 404, 429, 501, 503, 599])
def test_refusals_by_a_server(code):
    refusal = judge_response(refuse(code, "because").headers)
    assert refusal.status == code
    assert refusal.headers == refuse(code, "because").headers


@pytest.mark.parametrize("code", [204, 205, 206])
def test_statuses_that_cannot_start_capsules(code):
    """RFC 9297 3.2, like the next."""
    assert judge_response([(b":status", b"%d" % code)]).status == code


@pytest.mark.parametrize("name", [b"content-length", b"content-type", b"transfer-encoding"])
def test_content_cannot_start_capsules(name):
    assert judge_response([*accept_headers(), (name, b"0")]).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b":status", b"")],
        [(b":status", b"20")],
        [(b":status", b"2000")],
        [(b":status", b"0200")],
        [(b":status", b"+20")],
        [(b":status", b"2 0")],
        [(b":status", b"\xb2\xb2\xb2")],
        [(b":status", b"101")],
        [(b":status", b"600")],
        [(b":status", b"200"), (b":status", b"200")],
        [(b"server", b"x"), (b":status", b"200")],
        [(b":status", b"200"), (b":path", b"/")],
    ],
)
def test_what_is_no_response(headers):
    assert judge_response(headers).status == 0


NAMES = st.sampled_from([*STANDARD, *WARP_H2, "host", "content-length", ":status", "x"])
CONTENTS = st.one_of(st.sampled_from([*STANDARD.values(), *WARP_H3.values(), "GET"]), st.text(max_size=8))


@QUICK
@given(
    st.lists(st.tuples(NAMES, CONTENTS), max_size=5), st.booleans(), st.sampled_from([H2, H3]), st.randoms()
)
def test_mutated_requests_raise_nothing(more, warp, version, random):
    headers = [(name.encode(), value.encode()) for name, value in [*STANDARD.items(), *more]]
    random.shuffle(headers)
    for subset in (headers, headers[:5], sorted(headers)):
        assert isinstance(judge(subset, version, TEMPLATES, warp=warp), Accepted | Refusal)
        assert judge_response(subset) is None or judge_response(subset).status >= 0
