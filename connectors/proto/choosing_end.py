"""The far end of one tunnel that has several ways to the PoP: it takes the best that works, and returns to better ones.

Same calls as ``TunnelEnd``, which knows WireGuard only; besides, bytes of TCP connections come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from connectors.proto.choice import Choice, Health
from connectors.proto.side import PacketSide
from connectors.proto.tunnel_end import EndpointStatistics
from connectors.proto.way import Reads, Way
from edge.proto.masque.route import AddressRange
from edge.proto.types import NEVER, Address, StreamEvent, StreamOutput


class ChoosingEnd:
    """Connects `side` to the PoP by one of `ways`, the preferred one first. `jitter` gives numbers in 0..1."""

    def __init__(
        self, ways: Sequence[Way], side: PacketSide, *, now: float, jitter: Callable[[], float]
    ) -> None:
        self.side = side
        self.ways = list(ways)
        self.choice = Choice(len(self.ways), jitter=jitter)
        self.has_been_up = False
        self.last_handshake_seconds: float | None = None
        self._packets_in = self._bytes_in = self._packets_out = self._bytes_out = 0
        self._lost = 0  # packets that no way took
        self._stopped = False
        self._decide(now)

    @property
    def way(self) -> str:
        """The word of the way that carries packets now; empty if none does."""
        active = self._active
        return "" if active is None else self.ways[active].word

    def failures(self, now: float) -> list[str]:
        """Why packets do not go a better way: a line for each that was tried. If none carries any, of all."""
        active = self._active
        tried = ((way.word, way.failure(now)) for way in self.ways[:active])
        return [f"{word}: {why}" for word, why in tried if why]

    @property
    def advertised(self) -> Sequence[AddressRange]:
        """As of the way that carries packets now."""
        active = self._active
        return () if active is None else self.ways[active].advertised

    def answers(self, now: float) -> bool:
        """Whether packets go a way that the PoP answers, as far as is known."""
        active = self._active
        return active is not None and self.ways[active].health(now) is Health.UP

    @property
    def _active(self) -> int | None:
        return None if self._stopped else self.choice.active

    def turn(self, reads: Reads, now: float, streams: Sequence[StreamEvent] = ()) -> None:
        """Both ways once: from the tunnel to the side, and from the side into the tunnel."""
        side = self.side
        for way in self.ways:
            packets = way.turn(reads, streams, now)
            if packets:
                self._packets_in += len(packets)
                self._bytes_in += sum(map(len, packets))
                side.handle_packets(packets, now)
        self._decide(now)
        side.handle_timeout(now)
        out = side.poll_packets()
        if out:
            active = self._active
            if active is None:
                self._lost += len(out)
            else:
                self._packets_out += len(out)
                self._bytes_out += sum(map(len, out))
                self.ways[active].seal(out, now)

    def rekey(self, now: float) -> None:
        """Make the active way new: a fresh connection, as after a loss."""
        active = self._active
        if active is not None:
            self.ways[active].end(now)
            self.choice.renew(active)
            self._decide(now)

    def moved(self, now: float) -> None:
        """Our own address has changed."""
        for way, how in zip(self.ways, self._health(now), strict=True):
            if how is not Health.IDLE:
                way.moved(now)

    def stop(self, now: float) -> None:
        """Say goodbye, for good; what is left to send is still given."""
        self._stopped = True
        self._next = NEVER
        for way, how in zip(self.ways, self._health(now), strict=True):
            if how is not Health.IDLE:
                way.end(now)

    def poll_transmit(self) -> list[tuple[Address, list[bytes]]]:
        """Datagrams for the PoP."""
        return [batch for way in self.ways for batch in way.poll_transmit()]

    def poll_dials(self) -> list[tuple[int, Address]]:
        """TCP connections that shall be opened: number and address."""
        return [dial for way in self.ways for dial in way.poll_dials()]

    def poll_streams(self) -> list[StreamOutput]:
        """Bytes for TCP connections."""
        return [output for way in self.ways for output in way.poll_streams()]

    def poll_timeout(self) -> float:
        """When ``turn`` is wanted next though nothing came."""
        at = min((way.poll_timeout() for way in self.ways), default=NEVER)
        return min(at, self._next, self.side.poll_timeout())

    def statistics(self) -> EndpointStatistics:
        return EndpointStatistics(
            packets_in=self._packets_in,
            bytes_in=self._bytes_in,
            packets_out=self._packets_out,
            bytes_out=self._bytes_out,
            handshakes=sum(way.handshakes for way in self.ways),
            last_handshake_seconds=self.last_handshake_seconds,
            datagrams_dropped=sum(way.datagrams_dropped for way in self.ways) + self._lost,
        )

    def _health(self, now: float) -> list[Health]:
        return [way.health(now) for way in self.ways]

    def _decide(self, now: float) -> None:
        if self._stopped:
            return
        health = self._health(now)
        begin, end = self.choice.decide(health, now)
        for number in end:
            self.ways[number].end(now)
        for number in begin:
            self.ways[number].begin(now)
        if begin or end:
            health = self._health(now)
        self._next = self.choice.next(health)
        active = self.choice.active
        if active is not None:
            self.has_been_up = True
            seconds = self.ways[active].last_handshake_seconds
            if seconds is not None:
                self.last_handshake_seconds = seconds
