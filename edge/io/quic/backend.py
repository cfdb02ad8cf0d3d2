"""What a QUIC library has to do for us, HTTP/3 included. The only module of a library is its backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from edge.io.quic.settings import ClientSettings, ServerSettings
from edge.proto.masque.carrier import Headers
from edge.proto.types import Address

CID_LENGTH = 8
"""Of our own connection ids: a short header says nothing of its length."""

REQUEST_STREAMS = 8
"""That a client may have open at once. A tunnel needs one."""


@dataclass(frozen=True, slots=True)
class LongHeader:
    """Of a QUIC packet, as far as it is the same in all versions (RFC 8999), and the token of an Initial."""

    version: int
    initial: bool
    destination: bytes
    source: bytes
    token: bytes


@dataclass(frozen=True, slots=True)
class Established:
    """The TLS handshake is done."""


@dataclass(frozen=True, slots=True)
class SettingsReceived:
    """SETTINGS of the peer: may it get HTTP datagrams, does it take extended CONNECT."""

    datagrams: bool
    extended_connect: bool


@dataclass(frozen=True, slots=True)
class FieldsReceived:
    """A HEADERS frame, checked as RFC 9114 section 4 demands."""

    stream: int
    headers: Headers
    ended: bool


@dataclass(frozen=True, slots=True)
class BodyReceived:
    stream: int
    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class StreamGone:
    """RESET_STREAM of a request stream, or STOP_SENDING (`unwanted`): the peer will read no more of it."""

    stream: int
    code: int
    unwanted: bool = False


@dataclass(frozen=True, slots=True)
class CidIssued:
    cid: bytes


@dataclass(frozen=True, slots=True)
class CidRetired:
    cid: bytes


BackendEvent: TypeAlias = (
    Established | SettingsReceived | FieldsReceived | BodyReceived | StreamGone | CidIssued | CidRetired
)


@dataclass(frozen=True, slots=True)
class Closed:
    """How a connection ended. `code` is None if nobody closed it: it was idle, or its path was lost."""

    by_peer: bool
    code: int | None
    transport: bool
    reason: str


class BackendConnection(Protocol):
    """One QUIC connection with HTTP/3 on it. May raise for what the peer did: it is then unusable."""

    @property
    def cid(self) -> bytes:
        """The first connection id of ours."""

    @property
    def peer(self) -> Address:
        """Where datagrams go now."""

    @property
    def begun(self) -> bool:
        """Whether any packet of the peer was authentic."""

    @property
    def server_name(self) -> str: ...

    @property
    def peer_key(self) -> bytes | None: ...

    @property
    def closed(self) -> Closed | None:
        """Once it is closed, from either side."""

    def receive(self, datagram: bytes, source: Address, now: float) -> None: ...

    def events(self) -> list[BackendEvent]:
        """What has happened, in order."""

    def datagrams(self) -> list[bytes]:
        """DATAGRAM frames that came, quarter stream id included."""

    def timer(self) -> float:
        """When ``handle_timer`` is due."""

    def handle_timer(self, now: float) -> None: ...

    # -- HTTP/3 --

    def open_stream(self) -> int:
        """The id that the next request of ours gets."""

    def send_headers(self, stream: int, headers: Headers, end: bool) -> None: ...

    def send_data(self, stream: int, data: bytes, end: bool) -> None: ...

    def abandon(self, stream: int, code: int) -> None:
        """Abort both directions; nothing of the stream is heard any more."""

    def unsent(self) -> int:
        """Octets of streams that wait to be sent or acknowledged."""

    # -- sending --

    def frame_room(self) -> int:
        """Largest DATAGRAM frame payload that can be sent, quarter stream id included; 0 if the peer takes none."""

    def budget(self, now: float) -> int:
        """Octets of datagrams that would leave now: congestion window and pacing, less what was fed and waits."""

    def feed(self, frames: list[bytes]) -> None:
        """DATAGRAM frames for the next ``flush``; each fits ``frame_room``."""

    @property
    def fed(self) -> int:
        """Frames that still wait in the library."""

    def fed_with(self, prefix: bytes) -> int:
        """Of these, how many begin with `prefix`."""

    def take_back(self, prefix: bytes) -> int:
        """Remove frames that were fed and begin with `prefix`; returns how many."""

    def shrink(self) -> int:
        """Remove frames that were fed and do not fit any more; returns how many."""

    def streams_wait(self) -> bool:
        """Whether streams have something to send, which datagrams would get ahead of."""

    def can_wait(self) -> bool:
        """Whether what is to be sent is at most an acknowledgment, for which the timer is set."""

    def flush(self, now: float) -> list[tuple[bytes, Address]]:
        """Datagrams to send now."""

    def ping(self) -> None: ...

    def change_cid(self) -> None:
        """Use another connection id of the peer from now on, if it gave us one."""

    def close(self, code: int, reason: str, *, transport: bool) -> None: ...


class Listener(Protocol):
    """Makes the server's end of connections."""

    def accept(self, original_cid: bytes, retry_cid: bytes | None) -> BackendConnection:
        """`original_cid` is what the client chose first; `retry_cid` if it came back after a Retry."""


class QuicBackend(Protocol):
    """A QUIC library."""

    versions: tuple[int, ...]
    """That it speaks."""

    def parse_untrusted(self, datagram: bytes) -> LongHeader:
        """Of a datagram that begins with a long header. BadPacket if it is malformed."""

    def version_negotiation(self, header: LongHeader) -> bytes:
        """The answer to a version that we do not speak (RFC 9000 section 6)."""

    def retry(self, header: LongHeader, cid: bytes, token: bytes) -> bytes:
        """A Retry packet: come again with this token, to this connection id (RFC 9000 section 8.1.2)."""

    def refusal(self, header: LongHeader, code: int) -> bytes:
        """An Initial packet that closes a connection of which we keep nothing."""

    def listen(self, settings: ServerSettings) -> Listener:
        """ValueError if the certificate or its key cannot be used."""

    def dial(self, settings: ClientSettings, peer: Address, now: float) -> BackendConnection:
        """A client's end, its first flight ready to be sent. ValueError if a certificate or key cannot be used."""
