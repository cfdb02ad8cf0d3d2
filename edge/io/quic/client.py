"""A client's end of HTTP/3: one connection to one PoP."""

from __future__ import annotations

from collections.abc import Sequence

from edge.io.quic.aioquic_backend import AioquicBackend
from edge.io.quic.backend import QuicBackend
from edge.io.quic.connection import Connection
from edge.io.quic.endpoint import Endpoint, Read, segments
from edge.io.quic.settings import ClientSettings
from edge.proto.types import Address, DropReason


class QuicClient(Endpoint):
    """Dials at once. ValueError if a certificate, a key or the authority's certificate cannot be used.

    ``CarrierReady`` says that requests may be made; ``CarrierClosed`` is the end of it, also if it never was.
    """

    def __init__(
        self, settings: ClientSettings, peer: Address, *, now: float, backend: QuicBackend | None = None
    ) -> None:
        super().__init__(now)
        library: QuicBackend = backend or AioquicBackend()
        self.carrier = Connection(
            library.dial(settings, peer, now),
            client=True,
            now=now,
            handshake_timeout=settings.handshake_timeout,
            keepalive=settings.keepalive,
            events=self._events,
            touch=self._touch,
        )
        self._over = False
        self._touch(self.carrier)

    def receive(self, reads: Sequence[Read], now: float) -> None:
        """Take what a socket brought: (bytes, segment size, source) per read, several datagrams where GRO merged."""
        self._now = now
        carrier = self.carrier
        for data, segment, source in reads:
            for datagram in segments(data, segment):
                self.counters.datagrams_in += 1
                if not datagram:
                    self.drops[DropReason.MALFORMED] += 1
                elif carrier.ending is not None:
                    self.drops[DropReason.UNKNOWN_SESSION] += 1
                else:
                    try:
                        carrier.receive(datagram, source, now)
                    except Exception as error:
                        self._failed(carrier, error)
        if carrier.ending is None:
            established = carrier.established
            self._guarded(carrier, carrier.process, now)
            self.counters.handshakes_done += carrier.established and not established
            if carrier.may_wait(now):
                self._settle(carrier, [], now)
            else:
                self._touch(carrier)

    def rebind(self, now: float) -> None:
        """Our address has changed (roaming): go on from there, under another connection id where we have one."""
        self._now = now
        self.carrier.move()

    def close(self, code: int, now: float, reason: str = "") -> None:
        """With an HTTP error code; the last datagram is in the next ``poll_transmit``."""
        self._now = now
        self.carrier.close(code, reason)

    def _forget(self, connection: Connection, last: tuple[bytes, Address] | None, now: float) -> None:
        if not self._over:
            self._over = True
            self._count_end(connection)
            self._agenda.forget(connection)
