"""A server and its clients in memory: octets go from one to the other at once, in virtual time."""

from __future__ import annotations

import random
from dataclasses import replace

from edge.io.http2 import ClientSettings, Http2Client, Http2Server, ServerSettings, Timing
from edge.proto.masque.carrier import Carrier, CarrierEvent, Headers
from tests.edge.io.http2 import identities

EXTENDED: Headers = [
    (b":method", b"CONNECT"),
    (b":protocol", b"connect-ip"),
    (b":scheme", b"https"),
    (b":authority", b"pop.example"),
    (b":path", b"/.well-known/masque/ip/*/*/"),
    (b"capsule-protocol", b"?1"),
]
ORDINARY: Headers = [
    (b":method", b"CONNECT"),
    (b":authority", b"cloudflareaccess.com:443"),
    (b"cf-connect-proto", b"cf-connect-ip"),
]
OK: Headers = [(b":status", b"200"), (b"capsule-protocol", b"?1")]


def server_settings(**changes: object) -> ServerSettings:
    identity = identities.server()
    return replace(ServerSettings(identity.certificate, identity.private_key), **changes)  # type: ignore[arg-type]


def client_settings(**changes: object) -> ClientSettings:
    base = ClientSettings(identities.SERVER_NAME, pinned_key=identities.server().public_key)
    return replace(base, **changes)  # type: ignore[arg-type]


class Pair:
    """`piece`: how many octets arrive at once. What the server writes is taken at once unless `takes` is false."""

    def __init__(
        self,
        server: ServerSettings | None = None,
        client: ClientSettings | None = None,
        *,
        piece: int = 1 << 16,
        timing: Timing | None = None,
    ) -> None:
        self.now = 100.0
        self.piece = piece
        self.takes = True
        rng = random.Random(1).randbytes
        server, client = server or server_settings(), client or client_settings()
        if timing is not None:
            server, client = replace(server, timing=timing), replace(client, timing=timing)
        self.server = Http2Server(server, now=self.now, rng=rng)
        self.client = Http2Client(client, peer=("192.0.2.1", 443), now=self.now, rng=rng)
        self.server_events: list[CarrierEvent] = []
        self.client_events: list[CarrierEvent] = []
        self.server_closed = False  # its TCP
        self._client_gone = False
        self.to_client = 0  # octets
        assert self.server.accept(1, ("198.51.100.7", 50000), self.now)

    @property
    def accepted(self) -> Carrier:
        """The server's end."""
        return self.server_events[0].carrier

    def settle(self) -> None:
        """Until nobody has anything to say."""
        moved = True
        while moved:
            moved = self.up()
            if self.takes:
                moved = self.down() or moved
        self.look()

    def up(self) -> bool:
        data = self.client.poll_transmit()
        for start in range(0, len(data), self.piece):
            self.server.receive(1, data[start : start + self.piece], self.now)
            if self.server.next_timeout().at <= self.now:
                self.server.handle_timeout(self.now)
        self.client.written(len(data))
        if self.client.closed and not self._client_gone:
            self._client_gone = True
            self.server.receive(1, b"", self.now)
        self.look()
        return bool(data)

    def down(self) -> bool:
        moved = False
        for number, data, close in self.server.poll_transmit():
            if number != 1:
                continue  # to somebody who does not listen
            moved = True
            self.to_client += len(data)
            for start in range(0, len(data), self.piece):
                self.client.receive(data[start : start + self.piece], self.now)
            self.server.written(number, len(data))
            if close:
                self.server_closed = True
                self.client.receive(b"", self.now)
        self.look()
        return moved

    def look(self) -> None:
        self.server_events += self.server.poll_events()
        self.client_events += self.client.poll_events()

    def run(self, seconds: float) -> None:
        """Time passes; timers fire when they are due."""
        until = self.now + seconds
        for _ in range(10_000):  # else a timer does not move
            at = min(self.server.next_timeout().at, self.client.next_timeout().at)
            if at > until:
                self.now = until
                return
            self.now = max(self.now, at)
            self.server.handle_timeout(self.now)
            self.client.handle_timeout(self.now)
            self.settle()
        raise AssertionError("a timer fires and fires")

    def tunnel(self, headers: Headers = EXTENDED) -> int:
        """A stream with its request answered; its number. Events so far are forgotten."""
        self.settle()
        stream = self.client.carrier.request(headers)
        self.settle()
        self.accepted.respond(stream, OK)
        self.settle()
        del self.server_events[1:]
        self.client_events.clear()
        return stream
