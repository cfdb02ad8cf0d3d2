"""From the counts of a receiver to a verdict on the direction that it heard."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scenarios.proto.quality import MODEL, CodecProfile, burst_ratio, call_r_factor, mos
from scenarios.proto.receiver import Receiver, Tally
from scenarios.proto.rtcp_xr import UNAVAILABLE, VoipMetrics

SILENT_AFTER = 1.0  # seconds without a packet until the packets that should have come count as lost
ONE_WAY_AFTER = 5.0  # seconds without a packet at the end of a call that had media: this direction died
SHORTEST_JUDGED = 2.0  # seconds: the last window is part of `mos_min` from this length on


@dataclass(frozen=True, slots=True)
class RemoteView:
    """What the peer reported by RTCP about the media that this side sends."""

    at: float
    fraction_lost: float
    cumulative_lost: int
    highest_sequence: int
    jitter_s: float
    r_factor: float | None = None
    mos: float | None = None

    def with_metrics(self, metrics: VoipMetrics) -> RemoteView:
        return replace(
            self,
            r_factor=float(metrics.r_factor) if metrics.r_factor <= 100 else None,
            mos=metrics.mos_cq / 10 if 10 <= metrics.mos_cq <= 50 else None,
        )


@dataclass(frozen=True, slots=True)
class WindowQuality:
    """One stretch of the call, `start` seconds after its begin. R and MOS are None without media."""

    start: float
    length: float
    expected: int
    received: int
    lost: int
    late: int
    duplicates: int
    reordered: int
    jitter_max_s: float
    gap_max_s: float
    burst_ratio: float
    r_factor: float | None
    mos: float | None


@dataclass(frozen=True, slots=True)
class DirectionQuality:
    """One direction of a call, as its receiver heard it.

    `lost` includes `silent`: packets that should have come during a silence of a second or more that had not
    ended when the report was made. `late` packets came, but after their playout time; the MOS takes them for
    lost.
    `delay_s` is the one-way delay Ta of the model: half the round trip (0 while RTCP has not measured it) +
    playout buffer + packet time + codec lookahead. R and MOS are None if no media was expected.
    `waited_s` is the time from when media was expected to the first packet, `silence_s` that since the last one; of a
    direction without any, both are the time since it was expected.
    """

    received: int
    expected: int
    lost: int
    silent: int
    late: int
    loss_ratio: float
    duplicates: int
    reordered: int
    jitter_s: float
    jitter_max_s: float
    gap_max_s: float
    start_delay_s: float | None
    waited_s: float
    silence_s: float
    one_way: bool
    ssrc_changes: int
    restarts: int
    burst_ratio: float
    rtt_s: float | None
    rtt_max_s: float | None
    delay_s: float
    playout_delay_s: float
    r_factor: float | None
    mos: float | None
    mos_min: float | None
    codec_profile: str
    model: str
    remote: RemoteView | None
    windows: tuple[WindowQuality, ...]

    def voip_metrics(self, ssrc: int) -> VoipMetrics:
        """As a block of RFC 3611. Bursts are not told apart from gaps there: the whole call is one gap."""
        expected = self.expected or 1
        bad = min(255, 256 * (self.lost + self.late) // expected)
        return VoipMetrics(
            ssrc,
            loss_rate=min(255, 256 * self.lost // expected),
            discard_rate=min(255, 256 * self.late // expected),
            gap_density=bad,
            round_trip_delay=min(65535, round(1000 * (self.rtt_s or 0.0))),
            end_system_delay=min(65535, round(1000 * self.playout_delay_s)),
            r_factor=UNAVAILABLE if self.r_factor is None else max(0, min(100, round(self.r_factor))),
            mos_cq=UNAVAILABLE if self.mos is None else round(10 * self.mos),
            jitter_buffer_nominal=min(65535, round(1000 * self.playout_delay_s)),
            jitter_buffer_maximum=min(65535, round(1000 * self.playout_delay_s)),
            jitter_buffer_absolute_maximum=min(65535, round(1000 * self.playout_delay_s)),
        )


def judge(
    receiver: Receiver,
    end: float,
    *,
    profile: CodecProfile,
    rtt: float | None,
    rtt_max: float | None,
    remote: RemoteView | None,
    sent: int,
    with_windows: bool = True,
) -> DirectionQuality:
    """The verdict at `end`; the receiver is left as it was, apart from windows that have ended."""
    tallies = receiver.finished_windows(end)
    silence = receiver.silence(end)
    silent_from = end - silence if silence >= SILENT_AFTER else end
    delay = (rtt or 0.0) / 2 + receiver.playout_delay + receiver.ptime + profile.lookahead_ms / 1000
    windows = tuple(
        _window(tally, min(tally.start + receiver.window, end), silent_from, receiver, profile, delay)
        for tally in tallies
        if with_windows and (tally.start < end or tally.expected)
    )
    silent = _due(silent_from, end, receiver.ptime)
    received = sum(t.received for t in tallies)
    lost = sum(t.lost for t in tallies) + silent
    late = sum(t.late for t in tallies)
    expected = received + lost
    bursts = receiver.bursts + (1 if silent else 0)
    ratio = burst_ratio(lost + late, bursts, expected)
    r = _r(profile, delay, expected, lost + late, ratio)
    return DirectionQuality(
        received=received,
        expected=expected,
        lost=lost,
        silent=silent,
        late=late,
        loss_ratio=lost / expected if expected else 0.0,
        duplicates=sum(t.duplicates for t in tallies),
        reordered=sum(t.reordered for t in tallies),
        jitter_s=receiver.jitter / receiver.clock_rate,
        jitter_max_s=max(t.jitter_max for t in tallies) / receiver.clock_rate,
        gap_max_s=max(silence, *(t.gap_max for t in tallies)),
        start_delay_s=None if receiver.first_arrival is None else receiver.first_arrival - receiver.origin,
        waited_s=silence if receiver.first_arrival is None else receiver.waited,
        silence_s=silence,
        one_way=sent > 0 and silence >= (ONE_WAY_AFTER if received else SILENT_AFTER),
        ssrc_changes=receiver.ssrc_changes,
        restarts=receiver.restarts,
        burst_ratio=ratio,
        rtt_s=rtt,
        rtt_max_s=rtt_max,
        delay_s=delay,
        playout_delay_s=receiver.playout_delay,
        r_factor=r,
        mos=None if r is None else mos(r),
        mos_min=_worst(windows, end - receiver.origin),
        codec_profile=profile.name,
        model=MODEL,
        remote=remote,
        windows=windows,
    )


def _worst(windows: tuple[WindowQuality, ...], end: float) -> float | None:
    """The lowest MOS of a window; a last one of a few packets says nothing, unless there is no other."""
    judged = windows[:-1] if len(windows) > 1 and end - windows[-1].start < SHORTEST_JUDGED else windows
    return min((w.mos for w in judged if w.mos is not None), default=None)


def _window(
    tally: Tally, end: float, silent_from: float, receiver: Receiver, profile: CodecProfile, delay: float
) -> WindowQuality:
    # Counted from the start of the silence, so that the windows add up to the whole.
    silent = _due(silent_from, end, receiver.ptime) - _due(silent_from, tally.start, receiver.ptime)
    lost = tally.lost + silent
    expected = tally.received + lost
    ratio = burst_ratio(lost + tally.late, tally.bursts + (1 if silent else 0), expected)
    r = _r(profile, delay, expected, lost + tally.late, ratio)
    return WindowQuality(
        start=tally.start - receiver.origin,
        length=end - tally.start,
        expected=expected,
        received=tally.received,
        lost=lost,
        late=tally.late,
        duplicates=tally.duplicates,
        reordered=tally.reordered,
        jitter_max_s=tally.jitter_max / receiver.clock_rate,
        gap_max_s=max(tally.gap_max, end - silent_from if silent else 0.0),
        burst_ratio=ratio,
        r_factor=r,
        mos=None if r is None else mos(r),
    )


def _due(since: float, until: float, ptime: float) -> int:
    return max(0, int((until - since) / ptime + 1e-6))


def _r(profile: CodecProfile, delay: float, expected: int, bad: int, ratio: float) -> float | None:
    if not expected:
        return None
    if bad >= expected:
        return 0.0  # nothing to be heard: outside the model
    return call_r_factor(profile, ta_ms=1000 * delay, loss_ratio=bad / expected, burst_ratio=ratio)
