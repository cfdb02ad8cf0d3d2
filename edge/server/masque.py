"""MASQUE at the PoP: HTTP/3 and HTTP/2 on one port, and the sessions on them. No IO of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from edge.config import MasqueConfig
from edge.io import http2, quic
from edge.metrics import MasqueSnapshot
from edge.proto.masque.carrier import HttpVersion
from edge.proto.masque.server import MasqueServer
from edge.proto.masque.template import Template
from edge.proto.masque.tunnel import MasqueTunnel
from edge.proto.types import Address, DropReason, Eof, Octets, Opened, StreamEvent, StreamOutput, Written


class MasqueFront:
    """`epoch` is what to add to `now` for Unix time; `on_secret` gets lines of the TLS key log, for a lab."""

    def __init__(
        self,
        config: MasqueConfig,
        *,
        now: float,
        epoch: float,
        rng: Callable[[int], bytes],
        on_secret: Callable[[str], None] | None = None,
    ) -> None:
        self.server = MasqueServer(Template.parse(config.path), warp_names=config.warp_names)
        self._config = config
        self._epoch = epoch
        self._on_secret = on_secret
        self._now = now
        self._refused: list[StreamOutput] = []
        self._quic = quic.QuicServer(_quic_settings(config, epoch, on_secret), now=now, rng=rng)
        self._http2 = (
            http2.Http2Server(_http2_settings(config, on_secret), now=now, rng=rng) if config.http2 else None
        )

    @property
    def drops(self) -> Counter[DropReason]:
        """Datagrams, outer ones and those of HTTP, that belong to no tunnel or were wrong."""
        return self.server.drops + self._quic.drops

    @property
    def datagrams_in(self) -> int:
        return self._quic.counters.datagrams_in

    @property
    def datagrams_out(self) -> int:
        return self._quic.counters.datagrams_out

    @property
    def held(self) -> dict[str, int]:
        """What the port keeps for its peers, by what it is: nothing, once all are gone."""
        held = {"connections over QUIC": self._quic.connections, "connection ids": self._quic.cids}
        if self._http2 is not None:
            held["connections over TCP"] = len(self._http2)
        return held

    def open(
        self, reads: Sequence[tuple[memoryview, int, Address]], streams: Sequence[StreamEvent], now: float
    ) -> list[tuple[MasqueTunnel, list[bytearray]]]:
        """Take what the sockets brought; returns runs of inner packets per tunnel, in order."""
        self._now = now
        quic_server, http2_server = self._quic, self._http2
        if reads:
            quic_server.receive(reads, now)
        if quic_server.next_timeout() <= now:
            quic_server.handle_timeout(now)
        if http2_server is not None:
            for event in streams:
                self._stream_event(http2_server, event, now)
            if http2_server.next_timeout().at <= now:
                http2_server.handle_timeout(now)
        events = quic_server.poll_events()
        if http2_server is not None:
            events += http2_server.poll_events()
        return self.server.handle(events, now) if events else []

    def next_timeout(self) -> float:
        """When ``open`` is wanted next though nothing came."""
        at = self._quic.next_timeout()
        return at if self._http2 is None else min(at, self._http2.next_timeout().at)

    def poll_transmit(self) -> list[tuple[Address, list[bytes]]]:
        return self._quic.poll_transmit(self._now)

    def poll_streams(self) -> list[StreamOutput]:
        output, self._refused = self._refused, []
        if self._http2 is not None:
            output += [StreamOutput(*each) for each in self._http2.poll_transmit()]
        return output

    def _stream_event(self, server: http2.Http2Server, event: StreamEvent, now: float) -> None:
        match event:
            case Octets(number, data):
                server.receive(number, data, now)
            case Written(number, octets):
                server.written(number, octets)
            case Opened(number, peer):
                if not server.accept(number, peer, now):
                    self._refused.append(StreamOutput(number, b"", close=True))
            case Eof(number):
                server.receive(number, b"", now)

    def reconfigure(self, config: MasqueConfig) -> None:
        """From the next connection on; ValueError, with nothing changed, if certificate or key cannot be used."""
        if config == self._config:
            return
        template = Template.parse(config.path)
        self._quic.reconfigure(_quic_settings(config, self._epoch, self._on_secret))
        if self._http2 is not None:
            try:
                self._http2.reconfigure(_http2_settings(config, self._on_secret))
            except ValueError:
                self._quic.reconfigure(_quic_settings(self._config, self._epoch, self._on_secret))
                raise
        self.server.reconfigure(template, config.warp_names)
        self._config = config

    def drain(self, now: float) -> None:
        """End every session and connection cleanly."""
        self._now = now
        self.server.drain()
        self._quic.close_all(0x100, now)
        if self._http2 is not None:
            self._http2.close_all()

    def snapshot(self) -> MasqueSnapshot:
        counted, server = self._quic.counters, self.server
        connections: dict[str, int] = {HttpVersion.H3: self._quic.connections}
        accepted: dict[str, int] = {HttpVersion.H3: counted.handshakes_done}
        failed: dict[str, int] = {HttpVersion.H3: counted.handshakes_failed}
        if self._http2 is not None:
            of = self._http2.counters
            connections[HttpVersion.H2] = len(self._http2)
            accepted[HttpVersion.H2] = of.ready
            failed[HttpVersion.H2] = of.tls_failed + of.late + of.evicted
        return MasqueSnapshot(
            connections=connections,
            accepted=accepted,
            failed=failed,
            sessions={str(version): count for version, count in server.sessions.items()},
            refused=dict(server.refusals),
            fallbacks=server.switches[HttpVersion.H2],
            returns=server.switches[HttpVersion.H3],
            retries=counted.retries_sent,
            version_negotiations=counted.versions_negotiated,
            migrations=counted.moves,
        )


def _quic_settings(
    config: MasqueConfig, epoch: float, on_secret: Callable[[str], None] | None
) -> quic.ServerSettings:
    return quic.ServerSettings(
        certificate=config.certificate,
        private_key=config.private_key,
        retry=config.retry,
        retry_key=config.retry_key,
        wall_offset=epoch,
        max_connections=config.max_connections,
        idle_timeout=config.idle_timeout,
        handshake_rate=config.handshake_rate,
        source_rate=config.source_rate,
        on_secret=on_secret,
    )


def _http2_settings(config: MasqueConfig, on_secret: Callable[[str], None] | None) -> http2.ServerSettings:
    return http2.ServerSettings(
        certificate=config.certificate,
        private_key=config.private_key,
        max_connections=config.max_connections,
        key_log=None if on_secret is None else lambda line: on_secret(line.decode("ascii")),
    )
