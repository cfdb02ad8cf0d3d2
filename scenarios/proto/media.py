"""One side of a voice call: sends RTP every 20 ms, receives, reports by RTCP, and judges what it heard.

Each side reports the direction that it receives; what the peer says about the other direction is in `remote`.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.proto.types import NEVER, Address, BadPacket
from scenarios.proto import rtcp, rtp
from scenarios.proto.audio import MediaSource, Tone
from scenarios.proto.g711 import Law
from scenarios.proto.judgement import DirectionQuality, RemoteView, judge
from scenarios.proto.quality import CODECS, CodecProfile
from scenarios.proto.receiver import Receiver
from scenarios.proto.rtcp_xr import VoipMetrics

MAX_CATCH_UP = 5  # frames sent at once after a late wake-up; older ones are skipped, as a sound card would
_UDP_IP_HEADERS = 28
_RTCP_SHARE = 0.05  # of the session bandwidth, RFC 3550 6.2


@dataclass(slots=True)
class Counters:
    """What the session saw beside good media."""

    sent: int = 0
    sent_octets: int = 0
    skipped: int = 0  # frames not sent because the wake-up came too late
    foreign: int = 0  # RTP or RTCP from an address that was not agreed on
    malformed: int = 0
    unexpected: int = 0  # after the end, or while nothing should come (then counted as received all the same)
    other_payload: int = 0  # another payload type: counted, not played
    collisions: int = 0  # packets with our own SSRC
    rtcp_sent: int = 0
    rtcp_received: int = 0


class MediaSession:
    """Sans-IO. `local` and `remote` are the RTP addresses; RTCP is one port above on both sides.

    The remote address is the signalled one and never learnt from packets: a packet from anywhere else is
    counted and ignored, so an address rewritten on the way cannot hide.
    """

    def __init__(
        self,
        *,
        local: Address,
        remote: Address,
        rng: rtcp.Random,
        now: float,
        payload_type: int = 0,
        clock_rate: int = 8000,
        ptime: float = 0.02,
        source: MediaSource | None = None,
        codec_profile: CodecProfile = CODECS["G.711+PLC"],
        playout_delay: float = 0.06,
        window: float = 10.0,
        cname: str | None = None,
    ) -> None:
        self.local = local
        self.remote = remote
        self.payload_type = payload_type
        self.codec_profile = codec_profile
        self.ptime = ptime
        self.playout_delay = playout_delay
        self.cname = cname if cname is not None else f"{local[1]}@{local[0]}"
        self.counters = Counters()
        self.receiver = Receiver(
            clock_rate=clock_rate, now=now, window=window, playout_delay=playout_delay, ptime=ptime
        )
        self.remote_view: RemoteView | None = None
        self.rtt: float | None = None
        self.rtt_max: float | None = None
        self.started_at = now
        self.stopped_at: float | None = None
        self.sending = True
        self.receiving = True

        self._rng = rng
        self._samples = round(clock_rate * ptime)
        self._clock_rate = clock_rate
        self._player = (source or Tone()).player(Law.of_payload_type(payload_type), self._samples)
        self._ssrc = rng.getrandbits(32)
        self._sequence = rng.getrandbits(16)
        self._timestamp = rng.getrandbits(32)  # of tick 0
        self._tick = 0
        self._next_tick = now
        self._marker = True
        self._sent_since_report = False
        self._collided = False
        self._peer_left: int | None = None  # SSRC that said goodbye
        self._earlier = (0, 0)  # packets and octets sent under an SSRC that was given up
        # SSRC of the peer's last report, the middle of its NTP timestamp, and when it came.
        self._last_report: tuple[int, int, float] | None = None
        self._rtcp_size = 128.0
        self._next_rtcp = now + self._rtcp_interval(initial=True)
        self._queue: list[tuple[int, Address, bytes]] = []

    @property
    def ssrc(self) -> int:
        return self._ssrc

    @property
    def rtcp_port(self) -> int:
        return self.local[1] + 1

    # --- control

    def set_remote(self, remote: Address) -> None:
        """A new address for the media was agreed on (re-INVITE)."""
        self.remote = remote

    def set_direction(self, *, send: bool, receive: bool, now: float) -> None:
        """Hold and resume: the media clock runs on, and silence is no gap while nothing should come."""
        if send and not self.sending:
            self._tick = max(self._tick, self._ticks_until(now))
            self._next_tick = self.started_at + self._tick * self.ptime
            self._marker = True
        self.sending = send
        if receive != self.receiving:
            self.receiver.expect(receive, now)
        self.receiving = receive

    def stop(self, now: float) -> None:
        """Say goodbye by RTCP; nothing is sent or counted afterwards."""
        if self.stopped_at is not None:
            return
        self._send_rtcp(now, bye=True)
        self.stopped_at = now

    # --- time

    def poll_timeout(self) -> float:
        if self.stopped_at is not None:
            return NEVER
        at, rtcp_at = self._next_tick, self._next_rtcp
        return at if self.sending and at < rtcp_at else rtcp_at

    def handle_timeout(self, now: float) -> None:
        if self.stopped_at is not None:
            return
        if self.sending and now >= self._next_tick:
            self._send_frames(now)
        if now >= self._next_rtcp:
            self._send_rtcp(now)

    def poll_transmit(self) -> list[tuple[int, Address, bytes]]:
        """Datagrams to send: local port, destination, payload."""
        queue = self._queue
        if not queue:
            return []
        self._queue = []
        return queue

    # --- network

    def take(self, source: Address, packet: bytes | bytearray, at: int, now: float) -> bool:
        """The short way for what most datagrams are: the next plain packet of the stream that is playing.

        RTP begins at `at` of `packet`. True if that is all there is to it: nothing to send, no other deadline, nothing
        to tell. False, with nothing done, for every other: ``handle_rtp`` says what it is.
        """
        if self.stopped_at is not None or len(packet) < at + rtp.HEADER_LENGTH or source != self.remote:
            return False
        first, second, sequence, timestamp, ssrc = rtp.unpack_header(packet, at)
        receiver = self.receiver
        if (
            first != rtp.PLAIN
            or second != self.payload_type
            or ssrc != receiver.ssrc
            or ssrc == self._ssrc
            or not self.receiving
            or self._peer_left is not None
        ):
            return False
        if receiver.receive(ssrc, sequence, timestamp, now) and self._player.listens:
            self._player.heard(bytes(packet[at + rtp.HEADER_LENGTH :]))
        return True

    def handle_rtp(self, source: Address, data: bytes, now: float) -> None:
        counters = self.counters
        if source != self.remote:
            counters.foreign += 1
            return
        if self.stopped_at is not None:
            counters.unexpected += 1
            return
        try:
            packet = rtp.parse_untrusted(data)
        except BadPacket:
            counters.malformed += 1
            return
        if packet.ssrc == self._ssrc:
            self._collide(now)
            return
        timed = packet.payload_type == self.payload_type
        if not timed:
            counters.other_payload += 1
        if not self.receiver.receive(packet.ssrc, packet.sequence, packet.timestamp, now, timed=timed):
            return
        if self._peer_left is not None and packet.ssrc != self._peer_left:
            self._peer_left = None
            self.receiver.expect(self.receiving, now)
        if not self.receiving:
            counters.unexpected += 1
        elif timed and self._player.listens:
            self._player.heard(packet.payload)

    def handle_rtcp(self, source: Address, data: bytes, now: float) -> None:
        if source[0] != self.remote[0] or source[1] != self.remote[1] + 1:
            self.counters.foreign += 1
            return
        if self.stopped_at is not None:
            self.counters.unexpected += 1
            return
        try:
            packets = rtcp.parse_untrusted(data)
        except BadPacket:
            self.counters.malformed += 1
            return
        self.counters.rtcp_received += 1
        for packet in packets:
            match packet:
                case rtcp.SenderReport():
                    if packet.ssrc == self.receiver.ssrc:
                        self._last_report = (packet.ssrc, packet.ntp >> 16 & 0xFFFFFFFF, now)
                    self._hear_reports(packet.reports, now)
                case rtcp.ReceiverReport():
                    self._hear_reports(packet.reports, now)
                case rtcp.ExtendedReport():
                    self._hear_metrics(packet.metrics)
                case rtcp.Bye():
                    if self.receiver.ssrc is not None and self.receiver.ssrc in packet.ssrcs:
                        self._peer_left = self.receiver.ssrc
                        self.receiver.expect(False, now)
                case rtcp.SourceDescription():
                    continue

    # --- verdict

    def report(self, now: float) -> DirectionQuality:
        """What this side heard, up to `now` or to the end of the session."""
        return self._judge(now, with_windows=True)

    def _judge(self, now: float, *, with_windows: bool) -> DirectionQuality:
        end = now if self.stopped_at is None else self.stopped_at
        return judge(
            self.receiver,
            end,
            profile=self.codec_profile,
            rtt=self.rtt,
            rtt_max=self.rtt_max,
            remote=self.remote_view,
            sent=self.counters.sent,
            with_windows=with_windows,
        )

    # --- sending

    def _ticks_until(self, now: float) -> int:
        return int((now - self.started_at) / self.ptime) + 1

    def _send_frames(self, now: float) -> None:
        started, ptime, counters = self.started_at, self.ptime, self.counters
        if now - self._next_tick > ptime:
            behind = int((now - self._next_tick) / ptime + 1e-6) - MAX_CATCH_UP + 1
            if behind > 0:
                counters.skipped += behind
                self._tick += behind
                self._marker = True
        for _ in range(MAX_CATCH_UP):
            payload = self._player.next_frame()
            tick = self._tick
            timestamp = (self._timestamp + tick * self._samples) & 0xFFFFFFFF
            data = rtp.pack_simple(
                self.payload_type, self._marker, self._sequence, timestamp, self._ssrc, payload
            )
            self._queue.append((self.local[1], self.remote, data))
            self._marker = False
            self._sequence = (self._sequence + 1) & 0xFFFF
            counters.sent += 1
            counters.sent_octets += len(payload)
            self._tick = tick + 1
            # From the start, not from the tick before: rounding and late wake-ups never add up to a drift.
            self._next_tick = at = started + (tick + 1) * ptime
            if now < at:
                break
        self._sent_since_report = True

    def _rtcp_interval(self, *, initial: bool) -> float:
        octets = (self._samples + rtp.HEADER_LENGTH + _UDP_IP_HEADERS) / self.ptime
        return rtcp.interval(
            members=2,
            senders=2,
            bandwidth=octets * _RTCP_SHARE,
            average_size=self._rtcp_size,
            we_sent=self.sending,
            initial=initial,
            rng=self._rng,
        )

    def _send_rtcp(self, now: float, *, bye: bool = False) -> None:
        blocks: tuple[rtcp.ReportBlock, ...] = ()
        stream = self.receiver.stream_report()
        if stream is not None:
            lsr, dlsr = 0, 0
            if self._last_report is not None and self._last_report[0] == stream.ssrc:
                _, lsr, came = self._last_report
                dlsr = round((now - came) * 65536) & 0xFFFFFFFF
            blocks = (rtcp.ReportBlock(*stream, lsr, dlsr),)
        packets: list[rtcp.RtcpPacket] = []
        if self._sent_since_report:
            elapsed = round((now - self.started_at) * self._clock_rate)
            packets.append(
                rtcp.SenderReport(
                    self._ssrc,
                    rtcp.ntp_time(now),
                    (self._timestamp + elapsed) & 0xFFFFFFFF,
                    self.counters.sent - self._earlier[0],
                    self.counters.sent_octets - self._earlier[1],
                    blocks,
                )
            )
        else:
            packets.append(rtcp.ReceiverReport(self._ssrc, blocks))
        packets.append(rtcp.SourceDescription(((self._ssrc, self.cname),)))
        if stream is not None:
            metrics = self._judge(now, with_windows=False).voip_metrics(stream.ssrc)
            packets.append(rtcp.ExtendedReport(self._ssrc, (metrics,)))
        if bye:
            packets.append(rtcp.Bye((self._ssrc,)))
        data = rtcp.compound(packets)
        self._queue.append((self.rtcp_port, (self.remote[0], self.remote[1] + 1), data))
        self.counters.rtcp_sent += 1
        self._sent_since_report = False
        self._rtcp_size += (len(data) + _UDP_IP_HEADERS - self._rtcp_size) / 16
        self._next_rtcp = now + self._rtcp_interval(initial=False)

    # --- the peer's view

    def _hear_reports(self, reports: tuple[rtcp.ReportBlock, ...], now: float) -> None:
        for block in reports:
            if block.ssrc != self._ssrc:
                continue
            before = self.remote_view
            self.remote_view = RemoteView(
                at=now,
                fraction_lost=block.fraction_lost / 256,
                cumulative_lost=block.cumulative_lost,
                highest_sequence=block.highest_sequence,
                jitter_s=block.jitter / self._clock_rate,
                r_factor=before.r_factor if before else None,
                mos=before.mos if before else None,
            )
            rtt = rtcp.round_trip(now, block.lsr, block.dlsr)
            # No round trip is longer than the session: the rest are lies or reports of another session.
            if rtt is not None and rtt <= now - self.started_at:
                self.rtt = rtt
                self.rtt_max = rtt if self.rtt_max is None else max(self.rtt_max, rtt)

    def _hear_metrics(self, metrics: tuple[VoipMetrics, ...]) -> None:
        for block in metrics:
            if block.ssrc == self._ssrc and self.remote_view is not None:
                self.remote_view = self.remote_view.with_metrics(block)

    def _collide(self, now: float) -> None:
        """Our SSRC from the peer (RFC 3550 8.2): take another, once; then it is our own audio looped."""
        self.counters.collisions += 1
        if self._collided:
            return
        self._collided = True
        self._send_rtcp(now, bye=True)
        self._ssrc = self._rng.getrandbits(32)
        self._earlier = (self.counters.sent, self.counters.sent_octets)
