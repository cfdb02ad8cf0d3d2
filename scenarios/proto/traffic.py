"""A traffic source: numbered, time-stamped UDP datagrams at a rate, to a `TrafficSink`.

The load is open: datagrams are due by the clock, whatever becomes of those before. What a late wake-up could not
send in time is not sent at all but counted as overrun: a source never claims a load that it did not make.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from edge.proto.types import NEVER
from scenarios.proto.app import Endpoint
from scenarios.proto.timer_queue import TimerQueue
from scenarios.proto.traffic_profile import MAGIC, MAX_SIZE, PAYLOAD, Arrivals, Profile, Rng

MAX_PER_WAKE = 1024
"""Datagrams of one stream."""

_FIRST_PORT = 40000
_PORTS = 8192
_ZEROS = bytes(MAX_SIZE)


class TrafficEnded(NamedTuple):
    """A stream was stopped, or has sent all it was to send."""

    stream: Stream
    at: float


@dataclass(slots=True, eq=False)
class Stream:
    """One run of datagrams from one local port to one destination."""

    destination: Endpoint
    profile: Profile
    local_port: int
    ident: int
    """Drawn at its start: a sink can tell it from an earlier one of the same ports."""
    count: int | None
    until: float
    started_at: float
    origin: float
    """Constant arrivals: datagram n is due n / rate after it. Silences move it."""
    next_at: float
    turns_at: float
    """When this period of sending, or of silence, ends."""
    sending: bool = True
    ticks: int = 0
    sent: int = 0
    bytes: int = 0
    overrun: int = 0
    """Datagrams that were due but not sent, since the wake-up came too late. Of Poisson arrivals their mean number."""
    ended: bool = False

    @property
    def complete(self) -> bool:
        return self.count is not None and self.sent >= self.count

    def advance(self, rng: Rng) -> None:
        """On to the next datagram."""
        if self.profile.arrivals is Arrivals.POISSON:
            self.next_at += rng.expovariate(self.profile.rate)
        else:
            self.ticks += 1
            self.next_at = self.origin + self.ticks / self.profile.rate

    def skip(self, end: float, rng: Rng) -> None:
        """Give up what is due from `next_at` to `end`."""
        missed = (end - self.next_at) * self.profile.rate
        if self.profile.arrivals is Arrivals.POISSON:
            self.overrun += 1 + round(missed)
            self.next_at = end
        else:
            self.overrun += 1 + int(missed)
            self.ticks += int(missed)
        self.advance(rng)

    def turn(self, rng: Rng) -> None:
        """From sending to silence, which moves what is due behind it; or back."""
        assert self.profile.bursts is not None
        self.sending = not self.sending
        period = self.profile.bursts.draw(self.sending, rng)
        if not self.sending:
            self.origin += period
            self.next_at += period
        self.turns_at += period

    def deadline(self) -> float:
        return min(self.next_at, self.turns_at, self.until)


class TrafficSource:
    """An application (`host.App`) with any number of streams, each from a port of its own."""

    def __init__(self, rng: Rng) -> None:
        self.streams: list[Stream] = []
        self.unexpected = 0
        """Datagrams that somebody sent to a stream's port; nobody should."""
        self._rng = rng
        self._by_port: dict[int, Stream] = {}
        self._timers: TimerQueue[int] = TimerQueue()
        self._out: list[tuple[int, Endpoint, bytes]] = []
        self._events: deque[TrafficEnded] = deque(maxlen=1000)

    # What its user does

    def start(
        self,
        destination: Endpoint,
        profile: Profile,
        now: float,
        *,
        duration: float = NEVER,
        count: int | None = None,
        local_port: int | None = None,
    ) -> Stream:
        """Begin to send, for `duration` seconds or `count` datagrams, or until `stop`.

        Raises ValueError if the port is in use.
        """
        port = self._free_port() if local_port is None else local_port
        if port in self._by_port:
            raise ValueError(f"a stream sends from port {port}")
        stream = Stream(
            destination,
            profile,
            port,
            ident=self._rng.getrandbits(32),
            count=count,
            until=now + duration,
            started_at=now,
            origin=now,
            next_at=now,
            turns_at=now + profile.bursts.draw(True, self._rng) if profile.bursts else NEVER,
        )
        if profile.arrivals is Arrivals.POISSON:
            stream.advance(self._rng)
        self.streams.append(stream)
        self._by_port[port] = stream
        self._run(stream, now)
        return stream

    def stop(self, stream: Stream, now: float) -> None:
        """End a stream; what it has sent stays in `streams`."""
        if not stream.ended:
            stream.ended = True
            self._timers.cancel(stream.local_port)
            del self._by_port[stream.local_port]
            self._events.append(TrafficEnded(stream, now))

    # An application on a host

    def wants(self, port: int) -> bool:
        return port in self._by_port

    def handle_datagram(self, local_port: int, source: Endpoint, data: bytes, now: float) -> None:
        self.unexpected += 1

    def handle_timeout(self, now: float) -> None:
        while (port := self._timers.pop_due(now)) is not None:
            self._run(self._by_port[port], now)

    def poll_transmit(self) -> list[tuple[int, Endpoint, bytes]]:
        out, self._out = self._out, []
        return out

    def poll_timeout(self) -> float:
        return self._timers.next()

    def poll_event(self) -> TrafficEnded | None:
        return self._events.popleft() if self._events else None

    # Sending

    def _run(self, stream: Stream, now: float) -> None:
        """Send what is due, and set the next alarm."""
        due = self._due(stream, now)
        self._send(stream, due, now)
        if stream.complete or now >= stream.until:
            self.stop(stream, now)
        else:
            self._timers.set(stream.local_port, stream.deadline())

    def _due(self, stream: Stream, now: float) -> int:
        """How many datagrams are due; moves the stream past `now`."""
        rng, until, due = self._rng, stream.until, 0
        most = NEVER if stream.count is None else stream.count - stream.sent
        while due < most:
            if stream.turns_at <= min(now, stream.next_at):
                stream.turn(rng)
            elif stream.next_at > now or stream.next_at >= until:
                break
            elif due < MAX_PER_WAKE:
                due += 1
                stream.advance(rng)
            else:
                stream.skip(min(now, stream.turns_at, until), rng)
        return due

    def _send(self, stream: Stream, number: int, now: float) -> None:
        """`number` datagrams at once. They carry the time of now, not when they were due: a delay is the network's."""
        rng, pack, ident, sizes = self._rng, PAYLOAD.pack, stream.ident, stream.profile.sizes
        port, destination, first = stream.local_port, stream.destination, stream.sent
        for sequence in range(first, first + number):
            size = sizes.draw(rng)
            payload = pack(MAGIC, ident, sequence, now) + _ZEROS[: size - PAYLOAD.size]
            self._out.append((port, destination, payload))
            stream.bytes += size
        stream.sent += number

    def _free_port(self) -> int:
        """The least that is free, of a range that no other application of ours takes."""
        for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS):
            if port not in self._by_port:
                return port
        raise ValueError(f"{_PORTS} streams send already")
