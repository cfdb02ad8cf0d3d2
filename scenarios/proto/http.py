"""HTTP/1.1 messages (RFC 9110, RFC 9112) as applications of simulated hosts see them; h11 does the syntax."""

from __future__ import annotations

from dataclasses import dataclass

from scenarios.proto.app import Endpoint

MAX_HEAD = 16 * 1024
"""Bytes of a request or status line and the headers behind it."""

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it arrived: `at` in seconds, `source` as seen on the wire, header names in lower case."""

    at: float
    source: Endpoint
    method: str
    target: str
    headers: Headers
    body: bytes

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str | None:
        """The first value of a header, None if there is none."""
        return header(self.headers, name)


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What a server answers; its length and the end of the connection are not the application's business."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Headers = ()
    delay: float = 0.0
    """Seconds that the server thinks before it answers."""


def header(headers: Headers, name: str) -> str | None:
    """The first value of a header, whatever the case of its name."""
    wanted = name.lower()
    return next((value for key, value in headers if key.lower() == wanted), None)


def decoded(headers: list[tuple[bytes, bytes]]) -> Headers:
    """Headers of h11 as text; any byte is some character."""
    return tuple((bytes(key).decode("latin-1"), bytes(value).decode("latin-1")) for key, value in headers)


def encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Headers for h11; ValueError if a character is none of latin-1."""
    return [(key.encode("latin-1"), value.encode("latin-1")) for key, value in headers]
