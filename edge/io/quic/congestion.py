"""How fast a tunnel may send: NewReno that does not take a radio link's losses for congestion.

What is in the tunnel has its own congestion control or is a call, and datagrams are not sent again. So the window
gives way when losses are more than a bad link's, or when they come with a queue: the round trip has grown.
"""

from __future__ import annotations

from collections.abc import Iterable

from aioquic.quic.congestion.base import K_MINIMUM_WINDOW, QuicCongestionControl
from aioquic.quic.packet_builder import QuicSentPacket

NAME = "poplab-tunnel"
TOLERATED_LOSS = 0.03  # of packets; a share that is counted over about
LOSS_MEMORY = 128  # packets
QUEUE_DELAY = 0.025  # seconds above the shortest round trip, and
QUEUE_SHARE = 0.25  # that part of it: a loss then means that a queue has overflowed
BACKOFF = 0.7  # of the window, once per round trip
MAX_WINDOW = 4 << 20  # octets: 400 Mbit/s at 80 ms


class TunnelCongestionControl(QuicCongestionControl):
    """See the module. The base class says what each call means."""

    def __init__(self, *, max_datagram_size: int) -> None:
        super().__init__(max_datagram_size=max_datagram_size)
        self._size = max_datagram_size
        self._recovery_start = -1.0
        self._used_at = -1.0  # when at least half of the window was in flight
        self._credit = 0  # octets acknowledged in congestion avoidance, not yet worth a packet
        self._loss = 0.0  # the share of packets lost
        self._shortest = float("inf")
        self._rtt = 0.0

    def on_packet_sent(self, *, packet: QuicSentPacket) -> None:
        self.bytes_in_flight += packet.sent_bytes

    def on_packet_acked(self, *, now: float, packet: QuicSentPacket) -> None:
        if self.bytes_in_flight * 2 >= self.congestion_window:
            self._used_at = now
        self.bytes_in_flight -= packet.sent_bytes
        self._loss -= self._loss / LOSS_MEMORY
        # RFC 9002 section 7.8: what was not used must not grow.
        if now - self._used_at > self._rtt or (packet.sent_time or 0.0) <= self._recovery_start:
            return
        if self.ssthresh is None or self.congestion_window < self.ssthresh:
            self.congestion_window += packet.sent_bytes
            if self.ssthresh is None and self._queue():
                self.ssthresh = self.congestion_window
        else:
            self._credit += packet.sent_bytes
            if self._credit >= self.congestion_window:
                self._credit -= self.congestion_window
                self.congestion_window += self._size
        self.congestion_window = min(self.congestion_window, MAX_WINDOW)

    def on_packets_expired(self, *, packets: Iterable[QuicSentPacket]) -> None:
        for packet in packets:
            self.bytes_in_flight -= packet.sent_bytes

    def on_packets_lost(self, *, now: float, packets: Iterable[QuicSentPacket]) -> None:
        latest = -1.0
        for packet in packets:
            self.bytes_in_flight -= packet.sent_bytes
            self._loss += (1.0 - self._loss) / LOSS_MEMORY
            latest = packet.sent_time or 0.0
        if latest <= self._recovery_start or not (self._queue() or self._loss > TOLERATED_LOSS):
            return
        self._recovery_start = now
        self._loss = min(self._loss, TOLERATED_LOSS / 2)  # what comes next is judged afresh
        self.congestion_window = max(int(self.congestion_window * BACKOFF), K_MINIMUM_WINDOW * self._size)
        self.ssthresh = self.congestion_window

    def on_persistent_congestion(self) -> None:
        self.congestion_window = K_MINIMUM_WINDOW * self._size
        self._recovery_start = -1.0

    def on_rtt_measurement(self, *, now: float, rtt: float) -> None:
        self._shortest = min(self._shortest, rtt)
        self._rtt = rtt

    def _queue(self) -> bool:
        return self._rtt > self._shortest + max(QUEUE_DELAY, QUEUE_SHARE * self._shortest)
