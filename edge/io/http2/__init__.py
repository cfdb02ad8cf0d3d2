"""CONNECT-IP's second carrier: HTTP/2 over TLS over TCP, for networks where UDP does not get through."""

from edge.io.http2.connection import Http2Connection
from edge.io.http2.server import Http2Client, Http2Server
from edge.io.http2.settings import ClientSettings, Counters, ServerSettings, Timing

__all__ = [
    "ClientSettings",
    "Counters",
    "Http2Client",
    "Http2Connection",
    "Http2Server",
    "ServerSettings",
    "Timing",
]
