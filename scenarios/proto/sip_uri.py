"""SIP URIs, name-addr and Via values (RFC 3261 sections 19.1, 20.10 and 20.42).

Frozen values: what was read is written back as it came (order of parameters, escapes, quoting), because a proxy
must hand on what it does not own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv6Address, ip_address
from typing import TypeAlias
from urllib.parse import unquote

from edge.proto.types import Address, BadPacket, DropReason

SIP_PORT = 5060

Params: TypeAlias = tuple[tuple[str, str | None], ...]

# Possessive quantifiers everywhere: a hostile value is read once, never backtracked over.
_TCHAR = r"[A-Za-z0-9\-.!%*_+`'~]"
_QUOTED = r'"(?:[^"\\]|\\.)*+"'
_LWS = r"[ \t]*+"
_HOST = r"\[[0-9A-Fa-f:.]++\]|[A-Za-z0-9][A-Za-z0-9.\-_]*+"
_PARAM = re.compile(
    rf"{_LWS};{_LWS}({_TCHAR}++)(?:{_LWS}={_LWS}({_QUOTED}|(?:{_TCHAR}|[\[\]:])++))?+{_LWS}", re.DOTALL
)
_URI_PARAM = re.compile(r";((?:[A-Za-z0-9\-_.!~*'()%\[\]/:&+$])++)(?:=([A-Za-z0-9\-_.!~*'()%\[\]/:&+$]++))?+")
_SIP_URI = re.compile(
    rf"((?i:sips?)):(?:([A-Za-z0-9\-_.!~*'()%&=+$,;?/:]++)@)?+({_HOST})(?::([0-9]{{1,5}}))?+(;[^?]*+)?+(\?.++)?+"
)
_OTHER_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+):([!#-;=?-~]++)")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NAME_ADDR = re.compile(
    rf"{_LWS}(?:({_QUOTED}){_LWS}|((?:{_TCHAR}++[ \t]*+)*+))<([^<>\" \t]++)>(.*+)", re.DOTALL
)
_ADDR_SPEC = re.compile(rf"{_LWS}([^<>\";,? \t]++)(.*+)", re.DOTALL)
_VIA = re.compile(
    rf"{_LWS}(?i:SIP){_LWS}/{_LWS}2\.0{_LWS}/{_LWS}({_TCHAR}++)[ \t]++"
    rf"({_HOST})(?:{_LWS}:{_LWS}([0-9]{{1,5}}))?+(.*+)",
    re.DOTALL,
)


def _bad(what: str, text: str) -> BadPacket:
    return BadPacket(DropReason.BAD_HEADER, f"{what}: {text[:80]!a}")


def _port_untrusted(text: str | None) -> int | None:
    if text is None:
        return None
    port = int(text)
    if not 0 < port < 65536:
        raise _bad("port", text)
    return port


def _host_untrusted(text: str) -> str:
    if text.startswith("["):
        try:
            IPv6Address(text[1:-1])
        except ValueError:
            raise _bad("IPv6 reference", text) from None
    return text


def _params_untrusted(text: str, grammar: re.Pattern[str]) -> Params:
    found: dict[str, str | None] = {}
    position = 0
    while position < len(text):
        match = grammar.match(text, position)
        # RFC 3261 section 7.3.1: a parameter name must not appear more than once.
        if match is None or match[1].lower() in found:
            raise _bad("parameters", text)
        found[match[1].lower()] = match[2]
        position = match.end()
    return tuple(found.items())


def _join(params: Params) -> str:
    return "".join(f";{name}" if value is None else f";{name}={value}" for name, value in params)


def _find(params: Params, name: str) -> str | None:
    return next((value or "" for key, value in params if key == name), None)


def _with(params: Params, name: str, value: str | None) -> Params:
    if any(key == name for key, _ in params):
        return tuple((key, value if key == name else old) for key, old in params)
    return (*params, (name, value))


@dataclass(frozen=True, slots=True)
class Uri:
    """A SIP or SIPS URI, or (`opaque` set) one of a scheme that we do not speak."""

    host: str
    user: str = ""
    port: int | None = None
    params: Params = ()
    headers: str = ""
    scheme: str = "sip"
    opaque: str = ""

    def __str__(self) -> str:
        if self.opaque:
            return f"{self.scheme}:{self.opaque}"
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"{self.scheme}:{user}{self.host}{port}{_join(self.params)}{self.headers}"

    @property
    def is_sip(self) -> bool:
        return self.scheme == "sip"

    @property
    def username(self) -> str:
        """The user without password, user parameters and escapes: what a registrar looks up."""
        return unquote(self.user.partition(":")[0].partition(";")[0])

    @property
    def address(self) -> Address:
        """Host and port to send to, the default port filled in (RFC 3263 section 4.2, numeric hosts)."""
        return self.host.strip("[]").lower(), self.port or SIP_PORT

    @property
    def numeric_address(self) -> Address | None:
        """`address` if the host is an IP address: there is no DNS here."""
        try:
            return str(ip_address(self.host.strip("[]"))), self.port or SIP_PORT
        except ValueError:
            return None

    @property
    def loose_router(self) -> bool:
        return _find(self.params, "lr") is not None

    def same(self, other: Uri) -> bool:
        """Equivalence as RFC 3261 section 19.1.4 defines it, for what decides where a request goes."""
        if (self.scheme, self.opaque) != (other.scheme, other.opaque):
            return False
        if unquote(self.user) != unquote(other.user) or self.host.lower() != other.host.lower():
            return False
        return self.port == other.port and all(
            (_find(self.params, name) or "").lower() == (_find(other.params, name) or "").lower()
            for name in ("transport", "user", "ttl", "method", "maddr")
        )


def uri_untrusted(text: str) -> Uri:
    """Read one absolute URI; raises BadPacket."""
    if match := _SIP_URI.fullmatch(text):
        scheme, user, host, port, params, headers = match.groups()
        if _BAD_ESCAPE.search(text):
            raise _bad("escape", text)
        return Uri(
            _host_untrusted(host),
            user or "",
            _port_untrusted(port),
            _params_untrusted(params or "", _URI_PARAM),
            headers or "",
            scheme.lower(),
        )
    match = _OTHER_URI.fullmatch(text)
    if match is None or match[1].lower() in ("sip", "sips"):
        raise _bad("URI", text)
    return Uri(host="", scheme=match[1].lower(), opaque=match[2])


@dataclass(frozen=True, slots=True)
class NameAddr:
    """From, To, Contact, Route, Record-Route: a URI with a display name (as written) and header parameters."""

    uri: Uri
    display: str = ""
    params: Params = ()

    def __str__(self) -> str:
        return f"{self.display + ' ' if self.display else ''}<{self.uri}>{_join(self.params)}"

    def param(self, name: str) -> str | None:
        """The value of a parameter, "" if it has none, None if it is absent."""
        return _find(self.params, name)

    @property
    def tag(self) -> str:
        return _find(self.params, "tag") or ""

    def with_param(self, name: str, value: str) -> NameAddr:
        return replace(self, params=_with(self.params, name, value))


def name_addr_untrusted(text: str) -> NameAddr:
    """Read a name-addr or addr-spec with its parameters; raises BadPacket."""
    if match := _NAME_ADDR.fullmatch(text):
        quoted, tokens, uri, rest = match.groups()
        display = quoted or (tokens or "").strip()
    elif match := _ADDR_SPEC.fullmatch(text):
        # Without angle brackets everything after ";" belongs to the header, and "," or "?" must not appear
        # in the URI (RFC 3261 section 20): the pattern stops at all three.
        uri, rest = match.groups()
        display = ""
    else:
        raise _bad("address", text)
    return NameAddr(uri_untrusted(uri), display, _params_untrusted(rest, _PARAM))


@dataclass(frozen=True, slots=True)
class Via:
    """One hop that a request went through; responses go back over these."""

    host: str
    port: int | None = None
    params: Params = ()
    transport: str = "UDP"

    def __str__(self) -> str:
        port = f":{self.port}" if self.port else ""
        return f"SIP/2.0/{self.transport} {self.host}{port}{_join(self.params)}"

    def param(self, name: str) -> str | None:
        return _find(self.params, name)

    @property
    def branch(self) -> str:
        return _find(self.params, "branch") or ""

    @property
    def sent_by(self) -> Address:
        return self.host.strip("[]").lower(), self.port or SIP_PORT

    def seen_from(self, source: Address) -> Via:
        """Note where the request came from (RFC 3261 section 18.2.1, RFC 3581 section 4)."""
        wants_port = _find(self.params, "rport") is not None
        if not wants_port and self.sent_by[0] == source[0]:
            return replace(self, params=tuple(p for p in self.params if p[0] != "received"))
        params = _with(self.params, "received", source[0])
        return replace(self, params=_with(params, "rport", str(source[1])) if wants_port else params)


def via_untrusted(text: str) -> Via:
    """Read one Via value; raises BadPacket."""
    match = _VIA.fullmatch(text)
    if match is None:
        raise _bad("Via", text)
    transport, host, port, params = match.groups()
    return Via(_host_untrusted(host), _port_untrusted(port), _params_untrusted(params, _PARAM), transport)
