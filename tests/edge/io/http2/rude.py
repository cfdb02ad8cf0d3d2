"""A client that speaks TLS and frames, and nothing that would keep it from doing wrong."""

from __future__ import annotations

from hpack import Encoder

from edge.io.http2 import Http2Client, Http2Server, ServerSettings
from edge.io.http2.tls import TlsChannel, client_context, server_context
from edge.proto.masque.carrier import CarrierClosed, CarrierEvent, Headers
from tests.edge.io.http2.pair import EXTENDED, client_settings, server_settings

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = (
    range(10)
)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


class Rude:
    """`settings` are the pairs of its first SETTINGS; a `silent` one says nothing beyond TLS."""

    def __init__(
        self,
        settings: dict[int, int] | None = None,
        *,
        silent: bool = False,
        server: ServerSettings | None = None,
        now: float = 0.0,
    ) -> None:
        self.now = now
        self.server = Http2Server(server or server_settings(), now=now, rng=bytes)
        self.events: list[CarrierEvent] = []
        self.got = bytearray()  # plaintext
        self.cut = False  # the server has closed TCP
        self.encoder = Encoder()
        assert self.server.accept(1, ("203.0.113.66", 666), now)
        client = client_settings()
        self.tls = TlsChannel(client_context(client), client)
        for _ in range(3):
            self.exchange()
        if not silent:
            pairs = b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in (settings or {}).items())
            self.say(PREFACE + frame(SETTINGS, payload=pairs) + frame(SETTINGS, ACK))

    def exchange(self) -> None:
        data = self.tls.poll()
        if data:
            self.server.receive(1, data, self.now)
        for _, answer, close in self.server.poll_transmit():
            self.server.written(1, len(answer))
            self.got += self.tls.receive(answer)
            self.cut = self.cut or close
        self.events += self.server.poll_events()

    def say(self, plain: bytes) -> None:
        for start in range(0, len(plain), 1 << 16):
            if not self.cut:
                self.tls.send(plain[start : start + (1 << 16)])
                self.exchange()
                self.exchange()

    def headers(self, stream: int, headers: Headers = EXTENDED, flags: int = END_HEADERS) -> bytes:
        return frame(HEADERS, flags, stream, self.encoder.encode(headers))

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """What the server has said: kind, flags, stream, payload."""
        found, rest = [], bytes(self.got)
        while rest:
            size = int.from_bytes(rest[:3])
            found.append((rest[3], rest[4], int.from_bytes(rest[5:9]), rest[9 : 9 + size]))
            rest = rest[9 + size :]
        return found

    @property
    def goaway(self) -> int | None:
        """The error code that the server closed with."""
        codes = [int.from_bytes(payload[4:8]) for kind, _, _, payload in self.frames() if kind == GOAWAY]
        return codes[0] if codes else None

    @property
    def ended(self) -> CarrierClosed | None:
        """The end as sessions see it."""
        return self.events[-1] if self.events and isinstance(self.events[-1], CarrierClosed) else None


class RudeServer:
    """Likewise, for a client of ours. It has said SETTINGS with these pairs."""

    def __init__(self, settings: dict[int, int] | None = None) -> None:
        self.client = Http2Client(client_settings(), peer=("203.0.113.66", 443), now=0.0, rng=bytes)
        self.events: list[CarrierEvent] = []
        self.encoder = Encoder()
        self.tls = TlsChannel(server_context(server_settings()))
        self.got = bytearray()
        for _ in range(3):
            self.exchange()
        pairs = b"".join(key.to_bytes(2) + value.to_bytes(4) for key, value in (settings or {}).items())
        self.say(frame(SETTINGS, payload=pairs) + frame(SETTINGS, ACK))

    def exchange(self) -> None:
        self.got += self.tls.receive(self.client.poll_transmit())
        data = self.tls.poll()
        if data:
            self.client.receive(data, 0.0)
        self.events += self.client.poll_events()

    def say(self, plain: bytes) -> None:
        self.tls.send(plain)
        self.exchange()
        self.exchange()

    def headers(self, stream: int, headers: Headers, flags: int = END_HEADERS) -> bytes:
        return frame(HEADERS, flags, stream, self.encoder.encode(headers))
