"""What a receiver knows about the RTP that reaches it, per call and per window (RFC 3550 A.1, A.3, A.8).

Losses are counted from the very sequence numbers that are missing, so a duplicate never hides a loss; the
figures for the receiver report are those of appendix A.3, which count duplicates as received.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

MAX_DROPOUT = 3000  # appendix A.1: a larger step forward is a restart of the source ...
MAX_MISORDER = 100  # ... and a packet further back than this is too
_REMEMBERED = MAX_MISORDER + 28  # missing numbers that may still come, and the neighbours of the oldest
_RESYNC_AFTER = 10  # packets in a row too late to play: a phone moves its playout point


@dataclass(slots=True)
class Tally:
    """Counts of one window. `lost` and `expected` belong to the time when the missing packets were due."""

    start: float
    received: int = 0  # unique packets
    lost: int = 0
    late: int = 0  # received, but after their playout time
    duplicates: int = 0
    reordered: int = 0
    bursts: int = 0  # runs of packets that were lost or late
    jitter_max: float = 0.0  # timestamp units
    gap_max: float = 0.0  # seconds without a packet, ending in this window

    @property
    def expected(self) -> int:
        return self.received + self.lost


class StreamReport(NamedTuple):
    """The figures of a report block (appendix A.3)."""

    ssrc: int
    fraction_lost: int
    cumulative_lost: int
    highest_sequence: int
    jitter: int


class _Pending(NamedTuple):
    ssrc: int
    sequence: int
    timestamp: int
    at: float


class Receiver:
    """Fed with accepted RTP headers in order of arrival.

    A source must show two packets in sequence before it counts (probation); then both count.
    """

    def __init__(
        self,
        *,
        clock_rate: int,
        now: float,
        window: float = 10.0,
        playout_delay: float = 0.06,
        ptime: float = 0.02,
    ) -> None:
        self.clock_rate = clock_rate
        self.window = window
        self.playout_delay = playout_delay
        self.ptime = ptime
        self.origin = now
        self.windows: list[Tally] = [Tally(now)]
        self.bursts = 0
        self.jitter = 0.0  # timestamp units
        self.unvalidated = 0  # packets of sources on probation that did not make it
        self.ssrc: int | None = None
        self.ssrc_changes = 0
        self.restarts = 0
        self.first_arrival: float | None = None
        self.waited = 0.0  # for the first packet, since it was expected
        self._tally = self.windows[0]
        self._window_end = now + window
        self._playout_ticks = playout_delay * clock_rate
        self._expecting = True
        self._since = (
            now  # start of the silence that would be a gap: last arrival, or when media became expected
        )
        self._pending: _Pending | None = None
        # Of the current stream:
        self._base = self._highest = 0
        self._arrived = 0  # duplicates included
        self._expected_prior = self._arrived_prior = 0
        self._highest_at = 0.0
        self._last_at = 0.0
        self._last_timestamp = 0
        self._missing: dict[int, Tally] = {}  # lost so far, and the window that they were due in
        self._late: dict[int, Tally] = {}
        self._transit = self._least_transit = 0.0
        self._late_in_a_row = 0
        self._bad_run = False  # the packet before in sequence was late or lost

    # --- input

    def receive(self, ssrc: int, sequence: int, timestamp: int, now: float, *, timed: bool = True) -> bool:
        """Count one packet; False if its source is still on probation.

        `timed` is false for payloads whose timestamps do not follow the sampling clock (telephone events).
        """
        if ssrc != self.ssrc:
            return self._probe(ssrc, sequence, timestamp, now)
        if now >= self._window_end:
            self._advance(now)
        tally = self._tally
        step = (sequence - self._highest) & 0xFFFF
        old = False
        if step != 1:
            old = step == 0 or step > 0x10000 - MAX_MISORDER
            if step >= MAX_DROPOUT and not old and not self._same_clock(step, timestamp, now):
                return self._probe(ssrc, sequence, timestamp, now)
        self._arrived += 1
        late = False
        if timed:
            # Appendix A.8 in floating point: the change of transit time, smoothed by 1/16.
            ticks = (timestamp - self._last_timestamp) & 0xFFFFFFFF
            if ticks & 0x80000000:
                ticks -= 0x100000000
            change = (now - self._last_at) * self.clock_rate - ticks
            self._last_timestamp = timestamp
            self._last_at = now
            self.jitter = jitter = self.jitter + (abs(change) - self.jitter) * 0.0625
            if jitter > tally.jitter_max:
                tally.jitter_max = jitter
            self._transit = transit = self._transit + change
            if transit <= self._least_transit:
                self._least_transit = transit
            else:
                late = transit - self._least_transit > self._playout_ticks
        if self._expecting:
            gap = now - self._since
            if gap > tally.gap_max:
                tally.gap_max = gap
            self._since = now
        if old:
            self._fill(self._highest - (-step & 0xFFFF), late)
            return True
        if step > 1:
            self._lose(step - 1, now)
        self._highest += step
        self._highest_at = now
        tally.received += 1
        if late or self._bad_run:
            self._play(late, tally)
        return True

    def expect(self, expecting: bool, now: float) -> None:
        """Whether media should arrive from now on: silence is a gap only while it should."""
        if expecting and not self._expecting:
            self._since = now
        elif self._expecting and not expecting:
            self._advance(now)
            self._note_gap(now)
        self._expecting = expecting

    # --- output

    def silence(self, now: float) -> float:
        """Seconds since the last packet, or since media became expected; 0 while none is expected."""
        return max(0.0, now - self._since) if self._expecting else 0.0

    def finished_windows(self, now: float) -> list[Tally]:
        """All windows up to `now`, the last one possibly still open."""
        self._advance(now)
        return self.windows

    def stream_report(self) -> StreamReport | None:
        """The next report block's figures; asking starts a new interval for the fraction lost."""
        if self.ssrc is None:
            return None
        expected = self._highest - self._base + 1
        lost = expected - self._arrived
        interval = expected - self._expected_prior
        lost_interval = interval - (self._arrived - self._arrived_prior)
        self._expected_prior, self._arrived_prior = expected, self._arrived
        fraction = (lost_interval << 8) // interval if interval > 0 and lost_interval > 0 else 0
        return StreamReport(
            self.ssrc, min(fraction, 255), lost, self._highest & 0xFFFFFFFF, min(int(self.jitter), 0xFFFFFFFF)
        )

    # --- the rarer cases

    def _probe(self, ssrc: int, sequence: int, timestamp: int, now: float) -> bool:
        """A source, or a place in the sequence, that is not the current one: two in a row make it so."""
        pending = self._pending
        if pending is None or pending.ssrc != ssrc or sequence != (pending.sequence + 1) & 0xFFFF:
            if pending is not None:
                self.unvalidated += 1
            self._pending = _Pending(ssrc, sequence, timestamp, now)
            return False
        self._pending = None
        if self.ssrc is None:
            # Waiting for the first packet is not a gap between packets.
            self.first_arrival = pending.at
            self.waited = self.silence(pending.at)
            self._since = max(self._since, pending.at)
        elif self.ssrc != ssrc:
            self.ssrc_changes += 1
        else:
            self.restarts += 1
        self.ssrc = ssrc
        self._base = pending.sequence
        self._highest = pending.sequence - 1
        self._highest_at = self._last_at = pending.at
        self._last_timestamp = pending.timestamp
        self._arrived = self._arrived_prior = self._expected_prior = 0
        self._missing.clear()
        self._late.clear()
        self.jitter = self._transit = self._least_transit = 0.0
        self._late_in_a_row = 0
        self._bad_run = False
        self.receive(ssrc, pending.sequence, pending.timestamp, pending.at)
        return self.receive(ssrc, sequence, timestamp, now)

    def _same_clock(self, step: int, timestamp: int, now: float) -> bool:
        """A long step that the elapsed time explains is an outage of the way, not a restart of the source."""
        elapsed = now - self._last_at
        ticks = (timestamp - self._last_timestamp) & 0xFFFFFFFF
        return (
            step < 0x8000
            and abs(ticks / self.clock_rate - elapsed) < 0.5
            and step * self.ptime < elapsed + 0.5
        )

    def _fill(self, sequence: int, late: bool) -> None:
        """A packet at or behind the highest: out of order, or a duplicate."""
        due = self._missing.pop(sequence, None)
        if due is None:
            self._tally.duplicates += 1
            return
        due.lost -= 1
        due.received += 1
        due.reordered += 1
        if late:
            due.late += 1
            self._late[sequence] = due
            return
        # A run loses an end, splits in two or vanishes.
        before, after = self._bad(sequence - 1), self._bad(sequence + 1)
        due.bursts += (before is due) + (after is due) - 1
        self.bursts += (before is not None) + (after is not None) - 1

    def _bad(self, sequence: int) -> Tally | None:
        return self._missing.get(sequence) or self._late.get(sequence)

    def _lose(self, count: int, now: float) -> None:
        """`count` packets after the highest are missing: they were due between its arrival and now."""
        highest = self._highest
        before: Tally | None = None
        if self._bad_run:
            before = self._window_at(self._highest_at)
        else:
            self.bursts += 1
        self._bad_run = True
        self._forget(self._missing)
        missing = self._missing
        first_kept = count - _REMEMBERED
        spacing = (now - self._highest_at) / (count + 1)
        for n in range(1, count + 1):
            tally = self._window_at(self._highest_at + n * spacing)
            tally.lost += 1
            if tally is not before:
                tally.bursts += 1
                before = tally
            if n > first_kept:
                missing[highest + n] = tally

    def _play(self, late: bool, tally: Tally) -> None:
        """Keep the runs of bad packets, for one that is late or follows one that was lost or late."""
        if not late:
            self._bad_run = False
            self._late_in_a_row = 0
            return
        tally.late += 1
        self._forget(self._late)
        self._late[self._highest] = tally
        if not self._bad_run:
            self._bad_run = True
            self.bursts += 1
            tally.bursts += 1
        self._late_in_a_row += 1
        if self._late_in_a_row >= _RESYNC_AFTER:
            self._least_transit = self._transit
            self._late_in_a_row = 0

    def _forget(self, numbers: dict[int, Tally]) -> None:
        if len(numbers) > 4 * _REMEMBERED:
            for old in [number for number in numbers if number < self._highest - _REMEMBERED]:
                del numbers[old]

    def _window_at(self, when: float) -> Tally:
        index = int((when - self.origin) / self.window)
        return self.windows[min(max(index, 0), len(self.windows) - 1)]

    def _advance(self, now: float) -> None:
        while now >= self._window_end:
            self._note_gap(self._window_end)
            self._tally = Tally(self._window_end)
            self.windows.append(self._tally)
            self._window_end = self.origin + self.window * len(self.windows)

    def _note_gap(self, until: float) -> None:
        if self._expecting and self.ssrc is not None:
            self._tally.gap_max = max(self._tally.gap_max, until - self._since)
