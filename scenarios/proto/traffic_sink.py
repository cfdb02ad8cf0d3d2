"""The sink of `TrafficSource`s: what arrived from whom, what is missing, and how long it took.

Both ends read one clock, so the delay is truly one way. What was lost after the last arrival only the source knows:
`StreamArrivals.lost_of` takes the number that it sent.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from math import isfinite
from typing import NamedTuple

from edge.proto.types import NEVER, BadPacket, DropReason
from scenarios.proto.app import Endpoint
from scenarios.proto.histogram import Histogram
from scenarios.proto.traffic_profile import MAGIC, PAYLOAD

SINK_PORT = 5001
MAX_STREAMS = 1024
WINDOW = 4096
"""Sequence numbers that are remembered below the highest: duplicates and late ones are told apart within it."""

MAX_JUMP = 1 << 24
MAX_DELAY = 3600.0


class Numbered(NamedTuple):
    """The head of a datagram of a source."""

    stream: int
    sequence: int
    sent_at: float


class StreamBegan(NamedTuple):
    """The first datagram of a stream arrived."""

    arrivals: StreamArrivals
    at: float


class StreamArrivals:
    """What came of one stream of one source address and port."""

    def __init__(self, source: Endpoint, stream: int, now: float) -> None:
        self.source = source
        self.stream = stream
        self.received = 0
        """Without duplicates."""
        self.bytes = 0
        self.duplicates = 0
        self.reordered = 0
        """Arrived after one with a higher number (RFC 4737); these are among the received."""
        self.stale = 0
        """More than WINDOW below the highest number: late or duplicate, and not among the received."""
        self.delay = Histogram()
        """One way, seconds, of what was received; percentiles are within 1 %."""
        self.jitter = 0.0
        """Mean difference of consecutive delays, smoothed as RFC 3550 has it; seconds."""
        self.first_at = now
        self.last_at = now
        self.highest = -1
        self._seen = 0  # bit n: highest - n has arrived
        self._delay: float | None = None

    @property
    def lost(self) -> int:
        """Missing below the highest number."""
        return self.highest + 1 - self.received

    def lost_of(self, sent: int) -> int:
        """Missing of `sent`."""
        return max(0, sent - self.received)

    def handle(self, numbered: Numbered, size: int, now: float) -> bool:
        """Count one; False if no source would send that number or time."""
        ahead = numbered.sequence - self.highest
        delay = now - numbered.sent_at
        if ahead > MAX_JUMP or not abs(delay) <= MAX_DELAY:
            return False
        self.last_at = now
        if ahead > 0:
            self._seen = (self._seen << ahead | 1) & (1 << WINDOW) - 1 if ahead < WINDOW else 1
            self.highest = numbered.sequence
        elif ahead <= -WINDOW:
            self.stale += 1
            return True
        elif self._seen >> -ahead & 1:
            self.duplicates += 1
            return True
        else:
            self._seen |= 1 << -ahead
            self.reordered += 1
        self.received += 1
        self.bytes += size
        self.delay.add(delay)
        if self._delay is not None:
            self.jitter += (abs(delay - self._delay) - self.jitter) / 16
        self._delay = delay
        return True


class TrafficSink:
    """An application (`host.App`) on one UDP port; never answers."""

    def __init__(self, port: int = SINK_PORT) -> None:
        self.port = port
        self.arrivals: dict[tuple[str, int, int], StreamArrivals] = {}
        """By source address, source port and stream, in the order of their first datagrams."""
        self.dropped: Counter[str] = Counter()
        """Datagrams that count nowhere, by reason."""
        self._events: deque[StreamBegan] = deque(maxlen=1000)

    def of(self, address: str) -> list[StreamArrivals]:
        """The streams of one source address."""
        return [arrivals for arrivals in self.arrivals.values() if arrivals.source[0] == address]

    def wants(self, port: int) -> bool:
        return port == self.port

    def handle_datagram(self, local_port: int, source: Endpoint, data: bytes, now: float) -> None:
        try:
            numbered = numbered_untrusted(data)
        except BadPacket as bad:
            self.dropped[bad.reason] += 1
            return
        key = (*source, numbered.stream)
        known = self.arrivals.get(key)
        arrivals = known or StreamArrivals(source, numbered.stream, now)
        if known is None and len(self.arrivals) >= MAX_STREAMS:
            self.dropped["too_many_streams"] += 1
        elif not arrivals.handle(numbered, len(data), now):
            self.dropped["implausible"] += 1
        elif known is None:
            self.arrivals[key] = arrivals
            self._events.append(StreamBegan(arrivals, now))

    def poll_transmit(self) -> list[tuple[int, Endpoint, bytes]]:
        return []

    def handle_timeout(self, now: float) -> None:
        """Nothing here waits."""

    def poll_timeout(self) -> float:
        return NEVER

    def poll_event(self) -> StreamBegan | None:
        return self._events.popleft() if self._events else None


def numbered_untrusted(data: bytes) -> Numbered:
    """Read the head of a source's datagram; raises BadPacket."""
    try:
        magic, stream, sequence, sent_at = PAYLOAD.unpack_from(data)
    except struct.error:
        raise BadPacket(DropReason.BAD_LENGTH, f"{len(data)} bytes") from None
    if magic != MAGIC or not isfinite(sent_at):
        raise BadPacket(DropReason.MALFORMED, "not of a traffic source")
    return Numbered(stream, sequence, sent_at)
