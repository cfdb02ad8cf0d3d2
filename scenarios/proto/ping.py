"""Ping: ICMP echo requests and the time until their replies."""

from __future__ import annotations

from collections import deque

from edge.proto.types import NEVER
from scenarios.proto.app import TTL, EchoReply, EchoRequest, Endpoint
from scenarios.proto.udp_echo import Probe, ProbeEnded


class Ping:
    """Several series may run at once, each with its own identifier (RFC 792)."""

    def __init__(self) -> None:
        self._probes: dict[int, Probe] = {}
        self._open: dict[int, Probe] = {}  # those that have not ended
        self._requests: list[EchoRequest] = []
        self._events: deque[ProbeEnded] = deque()

    def start(
        self,
        destination: str,
        payload: bytes,
        *,
        count: int,
        interval: float,
        patience: float,
        now: float,
        ttl: int = TTL,
    ) -> Probe:
        """Begin a series; its end is a `ProbeEnded` event."""
        ident = len(self._probes) + 1 & 0xFFFF
        probe = Probe((destination, 0), payload, count, interval, patience, ident, ttl=ttl, next_at=now)
        self._probes[ident] = self._open[ident] = probe
        self.handle_timeout(now)
        return probe

    def handle_echo_reply(self, reply: EchoReply, now: float) -> None:
        probe = self._probes.get(reply.ident)
        if probe is None or reply.source != probe.destination[0] or reply.payload != probe.payload:
            return
        probe.answered(reply.sequence, reply.source, now)
        self._finish(probe, now)

    def poll_echo_requests(self) -> list[EchoRequest]:
        out, self._requests = self._requests, []
        return out

    def wants(self, port: int) -> bool:
        return False

    def handle_datagram(self, local_port: int, source: Endpoint, data: bytes, now: float) -> None:
        """Ping has no ports."""

    def poll_transmit(self) -> list[tuple[int, Endpoint, bytes]]:
        return []

    def handle_timeout(self, now: float) -> None:
        for ident, probe in list(self._open.items()):
            for number in probe.due(now):
                self._requests.append(
                    EchoRequest(probe.destination[0], ident, number, probe.payload, probe.ttl)
                )
            self._finish(probe, now)

    def poll_timeout(self) -> float:
        return min(probe.deadline() for probe in self._open.values()) if self._open else NEVER

    def poll_event(self) -> ProbeEnded | None:
        return self._events.popleft() if self._events else None

    def _finish(self, probe: Probe, now: float) -> None:
        if probe.finish(now):
            del self._open[probe.local_port]
            self._events.append(ProbeEnded(probe))
