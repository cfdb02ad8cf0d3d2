"""What carries CONNECT-IP: one HTTP connection, over QUIC (HTTP/3) or over TLS and TCP (HTTP/2), as sessions see it.

The implementations are in ``edge.io.quic`` and ``edge.io.http2``. Both are sans-IO: an endpoint (a server with many
connections, a client with one) gets bytes and time, and gives events of its carriers and bytes to send.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from edge.proto.masque.queue import DatagramQueue
from edge.proto.types import Address

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""In order, names in lower case, pseudo-headers first."""

QUEUE_LIMIT = 256
"""HTTP datagrams of one stream that wait for the congestion window or for a slow TCP peer; the oldest dies first."""

REASON_LIMIT = 200
"""Characters of a reason that a peer gives, which ends up in logs."""


class HttpVersion(StrEnum):
    """Which HTTP a carrier speaks: the word of logs, metrics and configuration."""

    H3 = "h3"
    H2 = "h2"


class Carrier(Protocol):
    """One HTTP connection. Methods never raise for what the peer did; on a dead carrier or stream they do nothing."""

    owner: Any
    """Free for the layer above."""

    @property
    def version(self) -> HttpVersion: ...

    @property
    def peer(self) -> Address:
        """Where the other end is now; with QUIC it may move."""

    @property
    def server_name(self) -> str:
        """What the client asked for (SNI), or empty."""

    @property
    def peer_key(self) -> bytes | None:
        """SubjectPublicKeyInfo (DER) of the client's certificate, whose possession it has proven."""

    def request(self, headers: Headers) -> int:
        """Client: open a stream with a request; returns its stream id."""

    def respond(self, stream: int, headers: Headers, *, end: bool = False) -> None:
        """Server: `headers` begin with ``:status``."""

    def send_data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Capsules. Bounded by who calls it: a session sends few."""

    def send_datagrams(self, stream: int, payloads: list[bytes]) -> None:
        """HTTP datagrams, context id included; what does not fit or waits too long is a counted drop.

        Over HTTP/2 they become DATAGRAM capsules (RFC 9297 3.5).
        """

    def datagram_room(self, stream: int) -> int:
        """Largest payload that ``send_datagrams`` takes now."""

    def queue(self, stream: int) -> DatagramQueue:
        """Where the datagrams of the stream wait, and what died there; an empty one for a stream that is not known.

        Whoever holds it may go on reading its counters when the stream is gone. The carrier then clears it.
        """

    def waiting(self, stream: int) -> int:
        """Datagrams of the stream that have not left yet: in its queue, and where a library keeps them."""

    def discard(self, stream: int) -> None:
        """All datagrams of the stream die that wait here; what the network has got is gone."""

    def end(self, stream: int) -> None:
        """Finish our direction of the stream cleanly (FIN, END_STREAM)."""

    def reset(self, stream: int, code: int) -> None:
        """Abort both directions of the stream with an HTTP error code of this version."""

    def ping(self) -> None:
        """Ask for a sign of life."""

    def close(self, code: int, reason: str = "", *, transport: bool = False) -> None:
        """Close the connection: an HTTP error code, or with `transport` one of QUIC (a TLS alert is 0x100 + n)."""


@dataclass(frozen=True, slots=True)
class CarrierReady:
    """Handshake done. A client may make requests: the server's SETTINGS have come."""

    carrier: Carrier


@dataclass(frozen=True, slots=True)
class RequestReceived:
    """A request, its headers checked by nothing but the HTTP layer."""

    carrier: Carrier
    stream: int
    headers: Headers
    ended: bool = False


@dataclass(frozen=True, slots=True)
class ResponseReceived:
    """Final response headers; interim ones (1xx) are not shown."""

    carrier: Carrier
    stream: int
    headers: Headers
    ended: bool = False


@dataclass(frozen=True, slots=True)
class DataReceived:
    """Bytes of a stream's body at arbitrary boundaries; `ended` if the peer's direction is finished."""

    carrier: Carrier
    stream: int
    data: bytes
    ended: bool = False


@dataclass(frozen=True, slots=True)
class DatagramsReceived:
    """HTTP/3 datagrams of one stream, context id included, in order. The stream may be unknown or closed."""

    carrier: Carrier
    stream: int
    payloads: list[bytes]


@dataclass(frozen=True, slots=True)
class StreamAborted:
    """The peer has reset the stream or will read no more of it."""

    carrier: Carrier
    stream: int
    code: int


@dataclass(frozen=True, slots=True)
class PeerMoved:
    """The peer's address has changed: QUIC migration or a NAT that rebound."""

    carrier: Carrier
    before: Address


@dataclass(frozen=True, slots=True)
class CarrierClosed:
    """The last event of a carrier: all its streams are gone. `code` as in ``Carrier.close`` where there was one."""

    carrier: Carrier
    by_peer: bool
    code: int | None
    reason: str
    transport: bool = False
    """Whether `code` is one of QUIC: the numbers of HTTP/3 overlap with those of TLS alerts."""


CarrierEvent: TypeAlias = (
    CarrierReady
    | RequestReceived
    | ResponseReceived
    | DataReceived
    | DatagramsReceived
    | StreamAborted
    | PeerMoved
    | CarrierClosed
)


def shown(reason: str) -> str:
    """A peer's reason as a log may have it: cut, and nothing in it that steers a terminal or begins a line."""
    return "".join(c if c.isprintable() else "?" for c in reason[:REASON_LIMIT])
