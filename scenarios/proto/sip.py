"""SIP messages (RFC 3261 section 7): hostile datagrams in, typed messages out, and back.

What the protocol machines need is parsed once, strictly, into fields; every other header is carried as text. The
header section is found and bounded before anything is split, and each pattern reads its text once, so that the cost
of a datagram is linear in 8 KiB whatever it holds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from edge.proto.types import BadPacket, DropReason
from scenarios.proto.sip_uri import NameAddr, Uri, Via, name_addr_untrusted, uri_untrusted, via_untrusted

MAX_MESSAGE = 61_440  # of 65,507 in a datagram: what is relayed grows by a Via and a route
MAX_HEADER_BYTES = 8192
MAX_HEADERS = 100
MAGIC_COOKIE = "z9hG4bK"

REASONS = {
    100: "Trying", 180: "Ringing", 181: "Call Is Being Forwarded", 183: "Session Progress", 200: "OK",
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    407: "Proxy Authentication Required", 408: "Request Timeout", 415: "Unsupported Media Type",
    416: "Unsupported URI Scheme", 420: "Bad Extension", 423: "Interval Too Brief",
    480: "Temporarily Unavailable", 481: "Call/Transaction Does Not Exist", 482: "Loop Detected",
    483: "Too Many Hops", 486: "Busy Here", 487: "Request Terminated", 488: "Not Acceptable Here",
    491: "Request Pending", 500: "Server Internal Error", 501: "Not Implemented", 502: "Bad Gateway",
    503: "Service Unavailable", 603: "Decline",
}  # fmt: skip

_COMPACT = {  # RFC 3261 section 7.3.3 and the registry's later additions
    "a": "accept-contact", "b": "referred-by", "c": "content-type", "e": "content-encoding", "f": "from",
    "i": "call-id", "k": "supported", "l": "content-length", "m": "contact", "o": "event", "r": "refer-to",
    "s": "subject", "t": "to", "u": "allow-events", "v": "via", "x": "session-expires",
}  # fmt: skip
_ONCE = frozenset(
    ("from", "to", "call-id", "cseq", "max-forwards", "content-length", "expires", "content-type")
)
_LISTS = frozenset(("via", "contact", "route", "record-route"))

_CONTROL = re.compile(r"[\r\n]|(?<!\\)[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # a quoted-pair may hold the latter
_HEADER = re.compile(r"([A-Za-z0-9\-.!%*_+`'~]++)[ \t]*+:(.*+)", re.DOTALL)
_REQUEST_LINE = re.compile(r"([A-Za-z0-9\-.!%*_+`'~]{1,32}) ([^ \t]++) (?i:SIP)/([0-9]++\.[0-9]++)")
_STATUS_LINE = re.compile(r"(?i:SIP)/([0-9]++\.[0-9]++) ([1-6][0-9]{2}) (.*+)")
_CSEQ = re.compile(r"([0-9]{1,10}+)[ \t]++([A-Za-z0-9\-.!%*_+`'~]{1,32}+)")
_CALL_ID = re.compile(r"[A-Za-z0-9\-.!%*_+`'~()<>:\\\"/\[\]?{}@]{1,512}")
_DIGITS = re.compile(r"[0-9]{1,10}")
_ELEMENT = re.compile(r'(?:[^",<]++|"(?:[^"\\]|\\.)*+"|<[^<>"]*+>)++', re.DOTALL)

T = TypeVar("T")


def printable(text: str, limit: int = 160) -> str:
    """`text` fit for a log line, a report or a terminal: control characters escaped, length bounded."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text[:limit])
    return safe if len(text) <= limit else safe + "..."


@dataclass(slots=True, kw_only=True)
class Message:
    """What requests and responses share."""

    vias: list[Via]
    from_: NameAddr
    to: NameAddr
    call_id: str
    cseq: int
    method: str  # of the request; in a response, of the request that it answers
    contacts: list[NameAddr] = field(default_factory=list)
    any_contact: bool = False  # "Contact: *" (RFC 3261 section 10.2.2)
    routes: list[NameAddr] = field(default_factory=list)
    record_routes: list[NameAddr] = field(default_factory=list)
    max_forwards: int | None = None
    expires: int | None = None
    extra: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""

    def header(self, name: str) -> str:
        """The first value of an untyped header, "" if absent."""
        return next((value for key, value in self.extra if key.lower() == name.lower()), "")

    def headers(self, name: str) -> list[str]:
        return [value for key, value in self.extra if key.lower() == name.lower()]

    def tokens(self, name: str) -> list[str]:
        """The comma-separated tokens of an untyped header, over all its lines (Require, Supported, Allow)."""
        return [token.strip() for value in self.headers(name) for token in value.split(",") if token.strip()]

    def remove(self, name: str) -> None:
        self.extra = [(key, value) for key, value in self.extra if key.lower() != name.lower()]

    def set(self, name: str, value: str) -> None:
        self.remove(name)
        self.extra.append((name, value))

    def with_body(self, content_type: str, body: bytes) -> None:
        self.set("Content-Type", content_type)
        self.body = body

    @property
    def content_type(self) -> str:
        return self.header("Content-Type").partition(";")[0].strip().lower()

    def _start_line(self) -> str:
        raise AssertionError("a message is a request or a response")

    def encode(self) -> bytes:
        """The datagram. Raises ValueError if a value would break out of its header line."""
        lines = [self._start_line()]
        lines += [f"Via: {via}" for via in self.vias]
        lines += [f"Route: {route}" for route in self.routes]
        lines += [f"Record-Route: {route}" for route in self.record_routes]
        if self.max_forwards is not None:
            lines.append(f"Max-Forwards: {self.max_forwards}")
        lines += [f"From: {self.from_}", f"To: {self.to}", f"Call-ID: {self.call_id}"]
        lines.append(f"CSeq: {self.cseq} {self.method}")
        lines += ["Contact: *"] if self.any_contact else [f"Contact: {contact}" for contact in self.contacts]
        if self.expires is not None:
            lines.append(f"Expires: {self.expires}")
        lines += [f"{name}: {value}" for name, value in self.extra]
        for line in lines:
            if _CONTROL.search(line):
                raise ValueError(f"control character in {line[:80]!a}")
        lines += [f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode() + self.body


@dataclass(slots=True, kw_only=True)
class Request(Message):
    uri: Uri

    def _start_line(self) -> str:
        return f"{self.method} {self.uri} SIP/2.0"

    def __str__(self) -> str:
        return printable(f"{self.method} {self.uri} call-id={self.call_id} cseq={self.cseq}")

    def again(self, cseq: int) -> Request:
        """This request, to be sent once more as a new transaction."""
        return replace(self, cseq=cseq, vias=[], extra=list(self.extra), routes=list(self.routes))

    def reply(self, status: int, *, tag: str = "", reason: str = "") -> Response:
        """A response with what RFC 3261 section 8.2.6.2 copies; `tag` goes to To unless one is there."""
        to = self.to.with_param("tag", tag) if tag and not self.to.tag else self.to
        return Response(
            status=status,
            reason=reason or REASONS.get(status, ""),
            vias=list(self.vias),
            from_=self.from_,
            to=to,
            call_id=self.call_id,
            cseq=self.cseq,
            method=self.method,
        )


@dataclass(slots=True, kw_only=True)
class Response(Message):
    status: int
    reason: str = ""

    def _start_line(self) -> str:
        return f"SIP/2.0 {self.status} {self.reason}"

    def __str__(self) -> str:
        return printable(f"{self.status} {self.reason} ({self.method}) call-id={self.call_id}")


def is_keepalive(data: bytes) -> bool:
    """Datagrams that only hold a NAT binding open: empty, CRLF CRLF (RFC 5626 section 4.4.1) or NUL bytes."""
    return len(data) <= 8 and not data.strip(b"\r\n\x00")


def message_untrusted(data: bytes) -> Request | Response:
    """Read one datagram; raises BadPacket. Bytes behind Content-Length are padding and ignored (section 18.3)."""
    if len(data) > MAX_MESSAGE:
        raise BadPacket(DropReason.BAD_LENGTH, "message too long")
    start = 0
    while data.startswith(b"\r\n", start) and start < 8:  # section 7.5
        start += 2
    end = data.find(b"\r\n\r\n", start, start + MAX_HEADER_BYTES)
    if end < 0:
        raise BadPacket(DropReason.BAD_LENGTH, "header section without end or over 8 KiB")
    try:
        lines = data[start:end].decode("utf-8").split("\r\n")
    except UnicodeDecodeError:
        raise BadPacket(DropReason.BAD_HEADER, "not UTF-8") from None
    if len(lines) > 4 * MAX_HEADERS:
        raise BadPacket(DropReason.BAD_LENGTH, "too many lines")
    for line in lines:
        if _CONTROL.search(line):
            raise BadPacket(DropReason.BAD_HEADER, "control character")
    once, lists, extra = _headers_untrusted(_unfold_untrusted(lines[1:]))
    return _assemble_untrusted(lines[0], once, lists, extra, data[end + 4 :])


def _unfold_untrusted(lines: list[str]) -> list[str]:
    """Join continuation lines (section 7.3.1): each list is joined once, so many short lines cost no more."""
    logical: list[list[str]] = []
    for line in lines:
        if line[:1] in (" ", "\t"):
            if not logical:
                raise BadPacket(DropReason.BAD_HEADER, "continuation of nothing")
            logical[-1].append(line.strip(" \t"))
        else:
            logical.append([line])
    if len(logical) > MAX_HEADERS:
        raise BadPacket(DropReason.BAD_LENGTH, "too many headers")
    return [" ".join(parts) for parts in logical]


def _headers_untrusted(
    lines: list[str],
) -> tuple[dict[str, str], dict[str, list[str]], list[tuple[str, str]]]:
    once: dict[str, str] = {}
    lists: dict[str, list[str]] = {name: [] for name in _LISTS}
    extra: list[tuple[str, str]] = []
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            raise BadPacket(DropReason.BAD_HEADER, "header line without a name")
        name, value = match[1].lower(), match[2].strip(" \t")
        name = _COMPACT.get(name, name)
        if name in _LISTS:
            lists[name] += _split_untrusted(value)
            if len(lists[name]) > MAX_HEADERS:
                raise BadPacket(DropReason.BAD_LENGTH, "too many values")
        elif name in _ONCE:
            if name in once:
                raise BadPacket(DropReason.BAD_HEADER, f"two {name} headers")
            once[name] = value
            if name == "content-type":
                extra.append(("Content-Type", value))
        else:
            if name == "date" and not value.endswith("GMT"):  # section 20.17
                raise BadPacket(DropReason.BAD_HEADER, "date not in GMT")
            extra.append((match[1] if len(match[1]) > 1 else name, value))
    return once, lists, extra


def _split_untrusted(value: str) -> list[str]:
    """Split a header value at its commas, not at those in quotes or angle brackets; no element may be empty."""
    found: list[str] = []
    position = 0
    while True:
        match = _ELEMENT.match(value, position)
        if match is None or not match[0].strip(" \t"):
            raise BadPacket(DropReason.BAD_HEADER, "empty or unbalanced list element")
        found.append(match[0].strip(" \t"))
        position = match.end()
        if position == len(value):
            return found
        if value[position] != "," or len(found) > MAX_HEADERS:
            raise BadPacket(DropReason.BAD_HEADER, "unbalanced quotes or brackets")
        position += 1


def _number_untrusted(text: str, limit: int, what: str) -> int:
    if not _DIGITS.fullmatch(text) or int(text) > limit:
        raise BadPacket(DropReason.BAD_HEADER, what)
    return int(text)


def _required_untrusted(once: dict[str, str], name: str, parse: Callable[[str], T]) -> T:
    if name not in once:
        raise BadPacket(DropReason.BAD_HEADER, f"no {name} header")
    return parse(once[name])


def _cseq_untrusted(text: str) -> tuple[int, str]:
    match = _CSEQ.fullmatch(text)
    if match is None or int(match[1]) >= 2**31:  # section 8.1.1.5
        raise BadPacket(DropReason.BAD_HEADER, "CSeq")
    return int(match[1]), match[2]


def _call_id_untrusted(text: str) -> str:
    if not _CALL_ID.fullmatch(text):
        raise BadPacket(DropReason.BAD_HEADER, "Call-ID")
    return text


def _body_untrusted(once: dict[str, str], rest: bytes) -> bytes:
    if "content-length" not in once:
        return rest  # over UDP the datagram ends the body
    length = _number_untrusted(once["content-length"], MAX_MESSAGE, "Content-Length")
    if length > len(rest):
        raise BadPacket(DropReason.BAD_LENGTH, "body shorter than Content-Length")
    return rest[:length]


def _assemble_untrusted(
    start_line: str,
    once: dict[str, str],
    lists: dict[str, list[str]],
    extra: list[tuple[str, str]],
    rest: bytes,
) -> Request | Response:
    request_line = _REQUEST_LINE.fullmatch(start_line)
    status_line = None if request_line else _STATUS_LINE.fullmatch(start_line)
    first = request_line or status_line
    if first is None:
        raise BadPacket(DropReason.MALFORMED, "start line")
    if (first[3] if request_line else first[1]) != "2.0":
        raise BadPacket(DropReason.BAD_VERSION, "SIP version")
    if not lists["via"]:
        raise BadPacket(DropReason.BAD_HEADER, "no via header")
    cseq, method = _required_untrusted(once, "cseq", _cseq_untrusted)
    any_contact = lists["contact"] == ["*"]
    forwards, expires = once.get("max-forwards"), once.get("expires")
    common = Message(
        vias=[via_untrusted(value) for value in lists["via"]],
        from_=_required_untrusted(once, "from", name_addr_untrusted),
        to=_required_untrusted(once, "to", name_addr_untrusted),
        call_id=_required_untrusted(once, "call-id", _call_id_untrusted),
        cseq=cseq,
        method=method,
        contacts=[] if any_contact else [name_addr_untrusted(value) for value in lists["contact"]],
        any_contact=any_contact,
        routes=[name_addr_untrusted(value) for value in lists["route"]],
        record_routes=[name_addr_untrusted(value) for value in lists["record-route"]],
        max_forwards=None if forwards is None else _number_untrusted(forwards, 255, "Max-Forwards"),
        expires=None if expires is None else _number_untrusted(expires, 2**32 - 1, "Expires"),
        extra=extra,
        body=_body_untrusted(once, rest),
    )
    fields = {name: getattr(common, name) for name in Message.__slots__}
    if request_line is None:
        return Response(status=int(first[2]), reason=first[3], **fields)
    uri = uri_untrusted(first[2])
    # A response must name the method of its request, a request its own; a Request-URI holds no headers
    # (sections 8.1.1.5 and 19.1.1).
    if first[1] != method or uri.headers:
        raise BadPacket(DropReason.BAD_HEADER, "CSeq method or Request-URI")
    return Request(uri=uri, **fields)
