"""Requests for a tunnel, and their answers: header fields only (RFC 9484 4.4 and 4.5, RFC 9297 section 3).

Two dialects. The standard is extended CONNECT with ``:protocol connect-ip``. Clients of WARP use another name and no
template; over HTTP/2 they make an ordinary CONNECT with a header field, and their datagrams have no context id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from edge.proto.masque.carrier import Headers, HttpVersion
from edge.proto.masque.credential import Credential, encode_authorization, parse_authorization
from edge.proto.masque.refusal import BadRequest, Refusal
from edge.proto.masque.scope import EVERYTHING, NO_HOSTS, Scope
from edge.proto.masque.template import WILDCARD, Template, match_any

CONNECT_IP: Final = b"connect-ip"
CF_CONNECT_IP: Final = b"cf-connect-ip"

_CAPSULE_PROTOCOL = (b"capsule-protocol", b"?1")
# RFC 9297 3.2: with them a message that uses capsules is malformed.
_CONTENT_FIELDS = (b"content-length", b"content-type", b"transfer-encoding")
_REQUEST_PSEUDO = frozenset({b":method", b":protocol", b":scheme", b":authority", b":path"})


class Dialect(StrEnum):
    """How a client speaks CONNECT-IP."""

    STANDARD = "standard"  # RFC 9484
    WARP = "warp"  # capsules of ours may end the tunnel; who it is says its certificate


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that is well formed. Whether its credential is good, and for what, is still to be decided."""

    dialect: Dialect
    scope: Scope = EVERYTHING
    credential: Credential | None = None
    context_id: bool = True
    """Whether HTTP datagrams begin with a context id, which is 0 for IP packets (RFC 9484 section 6)."""


def judge(
    headers: Headers,
    version: HttpVersion,
    templates: Iterable[Template],
    *,
    hosts: Mapping[str, Sequence[bytes]] = NO_HOSTS,
    warp: bool = False,
    anonymous: bool = False,
) -> Accepted | Refusal:
    """A server's view of a request. `hosts`: what names as targets stand for; `warp`: take that dialect as well;
    `anonymous`: no credential is needed, such as where a certificate has told who it is. One that comes is still read.
    """
    try:
        request = _split(headers, _REQUEST_PSEUDO)
        if request.pseudo.get(b":method", b"CONNECT") != b"CONNECT":
            raise BadRequest(405, "the method is not CONNECT")
        if warp and (accepted := _judge_warp(request, version)):
            return accepted
        return _judge_standard(request, templates, hosts, anonymous)
    except BadRequest as bad:
        return bad.refusal


def accept_headers() -> Headers:
    """The answer to a request that gets its tunnel. Clients of WARP take no other status of success."""
    return [(b":status", b"200"), _CAPSULE_PROTOCOL]


def request_headers(
    template: Template,
    authority: str,
    *,
    target: str = WILDCARD,
    ipproto: str = WILDCARD,
    credential: Credential | None = None,
) -> Headers:
    """A client's request, the same for all versions of HTTP; ValueError for what no server would accept."""
    if not authority or set(authority) & set("@/?# "):
        raise ValueError(f"{authority!r} is no authority; write host or host:port")
    headers: Headers = [
        (b":method", b"CONNECT"),
        (b":protocol", CONNECT_IP),
        (b":scheme", b"https"),
        (b":authority", authority.encode("ascii")),
        (b":path", template.expand(target, ipproto).encode()),
        _CAPSULE_PROTOCOL,
    ]
    if credential is not None:
        headers.append((b"authorization", encode_authorization(credential)))
    return headers


def warp_request_headers(authority: str, version: HttpVersion) -> Headers:
    """A request as clients of WARP make it; `authority` without a port."""
    if version is HttpVersion.H2:
        return [
            (b":method", b"CONNECT"),
            (b":authority", authority.encode("ascii") + b":443"),
            (b"cf-connect-proto", CF_CONNECT_IP),
        ]
    return [
        (b":method", b"CONNECT"),
        (b":protocol", CF_CONNECT_IP),
        (b":scheme", b"https"),
        (b":authority", authority.encode("ascii")),
        (b":path", b"/"),
        _CAPSULE_PROTOCOL,
    ]


def judge_response(headers: Headers) -> Refusal | None:
    """A client's view of an answer; None if the tunnel is there. Capsule-Protocol may be missing (RFC 9297 3.4)."""
    try:
        response = _split(headers, frozenset({b":status"}))
    except BadRequest as bad:
        return Refusal(0, bad.why)
    text = response.pseudo.get(b":status", b"")
    if len(text) != 3 or not text.isdigit() or not 200 <= int(text) <= 599:
        return Refusal(0, "the response has no proper status")
    status = int(text)
    if status >= 300:
        return Refusal(status, f"the server refuses the tunnel: {status}", headers)
    if status in (204, 205, 206) or any(name in response.fields for name in _CONTENT_FIELDS):
        return Refusal(status, "the response does not start capsules (RFC 9297 3.2)", headers)
    return None


class _Message(NamedTuple):
    pseudo: dict[bytes, bytes]
    fields: dict[bytes, list[bytes]]


def _split(headers: Headers, known: frozenset[bytes]) -> _Message:
    """Pseudo-headers, each at most once and before the fields (RFC 9114 4.3), and fields."""
    message = _Message({}, {})
    for name, value in headers:
        if not name.startswith(b":"):
            message.fields.setdefault(name, []).append(value)
        elif name not in known or name in message.pseudo or message.fields:
            raise BadRequest(400, "a pseudo-header is unknown, late or there twice")
        else:
            message.pseudo[name] = value
    return message


def _judge_warp(request: _Message, version: HttpVersion) -> Accepted | None:
    """None if it is not this dialect. The authority and all other fields may be anything."""
    pseudo = request.pseudo
    if version is HttpVersion.H3:
        if pseudo.get(b":protocol") != CF_CONNECT_IP or b":method" not in pseudo:
            return None
        if pseudo.get(b":scheme", b"https") not in (b"https", b"http"):
            raise BadRequest(400, "the scheme is neither https nor http")
        if pseudo.get(b":path", b"") not in (b"", b"/"):
            raise BadRequest(404, "this dialect has no path but /")
        return Accepted(Dialect.WARP)
    if pseudo.keys() != {b":method", b":authority"} or request.fields.get(b"cf-connect-proto") != [
        CF_CONNECT_IP
    ]:
        return None
    return Accepted(Dialect.WARP, context_id=False)


def _judge_standard(
    request: _Message, templates: Iterable[Template], hosts: Mapping[str, Sequence[bytes]], anonymous: bool
) -> Accepted:
    pseudo, fields = request
    if b":method" not in pseudo:
        raise BadRequest(400, "no method")
    # Names of protocols are compared without case (RFC 9110 7.8).
    if pseudo.get(b":protocol", b"").lower() != CONNECT_IP:
        raise BadRequest(501, "the protocol is not connect-ip")
    if pseudo.get(b":scheme", b"").lower() != b"https":  # RFC 9484 section 4: only over TLS
        raise BadRequest(400, "the scheme is not https")
    authority = pseudo.get(b":authority", b"")
    if not authority or b"@" in authority or any(host != authority for host in fields.get(b"host", ())):
        raise BadRequest(400, "the authority is missing or ambiguous")  # RFC 9114 4.3.1
    if any(name in fields for name in _CONTENT_FIELDS):
        raise BadRequest(400, "a request for capsules has no content")
    # Capsule-Protocol is for intermediaries; the protocol implies it (RFC 9297 3.4).
    path = pseudo.get(b":path", b"")
    if not path:
        raise BadRequest(400, "no path")
    variables = match_any(templates, path.decode("latin-1"))
    given = fields.get(b"authorization", ())
    # Before the scope: a stranger does not learn which names are known here.
    credential = parse_authorization(given) if given or not anonymous else None
    return Accepted(Dialect.STANDARD, Scope.parse(variables, hosts), credential)
