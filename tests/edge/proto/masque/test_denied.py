"""A client of the WARP dialect whose key nobody knows: how it learns that it is not wanted."""

from __future__ import annotations

from typing import Any

import pytest

from edge.proto.masque.carrier import CarrierReady, Headers, HttpVersion, RequestReceived
from edge.proto.masque.server import ACCESS_DENIED, MasqueServer, SessionRefused
from edge.proto.masque.template import Template

NAME = "warp.example"
REQUEST: Headers = [
    (b":authority", b"cloudflareaccess.com:443"),
    (b":method", b"CONNECT"),
    (b"cf-connect-proto", b"cf-connect-ip"),
]


class Connection:
    """A ``Carrier`` at whose other end is a stranger; what the server does with it is kept."""

    peer = ("192.0.2.7", 1000)
    server_name = NAME
    peer_key = b"unknown"

    def __init__(self, version: HttpVersion) -> None:
        self.version = version
        self.owner: Any = None
        self.closed: tuple[int, str, bool] | None = None
        self.statuses: list[bytes] = []

    def respond(self, stream: int, headers: Headers, *, end: bool = False) -> None:
        assert end
        self.statuses.append(headers[0][1])

    def close(self, code: int, reason: str = "", *, transport: bool = False) -> None:
        self.closed = (code, reason, transport)


@pytest.fixture
def server() -> MasqueServer:
    return MasqueServer(Template.parse("/"), warp_names=[NAME])


def test_over_http3_the_connection_ends_as_after_a_refused_login(server: MasqueServer) -> None:
    stranger = Connection(HttpVersion.H3)
    server.handle([CarrierReady(stranger)], 0.0)  # type: ignore[arg-type]
    assert stranger.closed == (ACCESS_DENIED, "", True)
    assert server.refusals == {403: 1}


def test_over_http2_the_request_is_answered(server: MasqueServer) -> None:
    """TLS that ends after the handshake without a word leaves some clients waiting for ever."""
    stranger = Connection(HttpVersion.H2)
    server.handle([CarrierReady(stranger)], 0.0)  # type: ignore[arg-type]
    assert (stranger.closed, stranger.statuses, server.poll_events()) == (None, [], [])
    server.handle([RequestReceived(stranger, 1, REQUEST)], 0.0)  # type: ignore[arg-type]
    assert (stranger.closed, stranger.statuses) == (None, [b"403"])
    assert server.refusals == {403: 1}
    (told,) = server.poll_events()
    assert isinstance(told, SessionRefused)
    assert (told.status, told.version) == (403, HttpVersion.H2)
