"""The sending half of a simulated TCP connection: what is unacknowledged, when to send it again, how much at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from edge.proto.types import NEVER
from scenarios.proto.tcp_congestion import Congestion, RetransmissionTimeout


@dataclass(frozen=True, slots=True)
class SendLimits:
    """Times in seconds. Nine retries of a quick connection take the 100 s of RFC 9293 3.8.3."""

    initial_timeout: float = 1.0
    minimum_timeout: float = 0.2
    maximum_timeout: float = 60.0
    syn_retries: int = 5
    retries: int = 9
    buffer: int = 1 << 18
    black_hole_after: int = 3
    """Timeouts in a row after which large segments are suspected to vanish without a word (RFC 4821 7.7)."""


class Chunk(NamedTuple):
    """A piece of the stream to put into a segment; SYN and FIN each count one number."""

    sequence: int
    payload: bytes | bytearray
    syn: bool = False
    fin: bool = False


class Sender:
    """Numbers are absolute; `una`, `next` and `highest` are SND.UNA, SND.NXT and the greatest SND.NXT ever."""

    def __init__(self, initial_sequence: int, mss: int, floor: int, limits: SendLimits) -> None:
        self.initial_sequence = initial_sequence
        self.una = self.next = self.highest = initial_sequence
        self.mss = mss
        self.window = 0
        self.greatest_window = 0
        self.retransmissions = 0
        self.deadline = NEVER
        self.timeout = RetransmissionTimeout(
            initial=limits.initial_timeout,
            minimum=limits.minimum_timeout,
            maximum=limits.maximum_timeout,
        )
        self.congestion = Congestion(mss, initial_sequence)
        self._limits = limits
        self._floor = floor
        self._data = bytearray()
        self._data_at = initial_sequence + 1
        self.finishing = False
        self._window_from = (0, 0)  # SND.WL1 and SND.WL2
        self._timed: tuple[int, float] | None = None  # a number, and when it was sent for the first time
        self._retries = 0
        self._again = False
        self._probe = False
        self._probed = False
        self._limited = False
        self._last_sent = 0.0

    # -- what the application says

    @property
    def room(self) -> int:
        """Bytes that `write` takes now."""
        return 0 if self.finishing else self._limits.buffer - len(self._data)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take as much as there is room for; its size."""
        size = min(len(data), self.room)
        self._data += data[:size]
        return size

    def finish(self) -> None:
        """Nothing more will be written: a FIN follows the data."""
        self.finishing = True

    # -- what was said, and what the peer knows of it

    @property
    def started(self) -> bool:
        """The peer has acknowledged our SYN."""
        return self.una > self.initial_sequence

    @property
    def finished(self) -> bool:
        """The peer has acknowledged everything and our FIN."""
        return self.finishing and self.una == self._end + 1

    @property
    def bare(self) -> int:
        """The number of a segment without data. One before it would look old, one behind the window foreign; two
        ends that find each other's acknowledgments unacceptable answer each other for ever.
        """
        return min(self.highest, self.una + self.window) if self.started else self.highest

    @property
    def in_flight(self) -> int:
        return self.highest - self.una

    @property
    def _end(self) -> int:
        """The number behind the data, which is that of a FIN."""
        return self._data_at + len(self._data)

    @property
    def _pending(self) -> int:
        return self._end + self.finishing - self.next

    # -- acknowledgments

    def believable(self, acknowledged: int) -> bool:
        """RFC 5961 5.2: neither of something never sent nor older than any window."""
        return self.una - self.greatest_window <= acknowledged <= self.highest

    def acknowledge(self, acknowledged: int, sequence: int, window: int, now: float, *, bare: bool) -> None:
        """A believable acknowledgment; `bare` if its segment carried nothing else."""
        if self.started and (window == 0 or self.window == 0):
            self._retries = 0  # the peer answers, it has just no room: that may last (RFC 9293 3.8.6.1)
        duplicate = bare and acknowledged == self.una and window == self.window and self.in_flight > 0
        if acknowledged >= self.una and self._window_from <= (sequence, acknowledged):
            self._set_window(sequence, acknowledged, window)
        if acknowledged > self.una:
            self._advance(acknowledged, now)
        elif duplicate and window and self.started:
            self._again |= self.congestion.duplicate(self.una, self.highest, self.in_flight)

    def _set_window(self, sequence: int, acknowledged: int, window: int) -> None:
        if window and self._probed:
            self._probed = False
            self._timed = None
            self.next = max(self.una, acknowledged)  # there was no room for the probe
        self.window = window
        self.greatest_window = max(self.greatest_window, window)
        self._window_from = (sequence, acknowledged)

    def _advance(self, acknowledged: int, now: float) -> None:
        size = acknowledged - self.una
        if self._timed is not None and acknowledged >= self._timed[0]:
            self.timeout.measured(now - self._timed[1])
            self._timed = None
        if not self.started and self._retries:
            self.timeout.syn_was_lost()
        was_started = self.started
        self.una = acknowledged
        self.next = max(self.next, acknowledged)
        heard = min(acknowledged - self._data_at, len(self._data))
        del self._data[:heard]
        self._data_at += heard
        self._retries = 0
        self._probed = False
        if was_started:
            again = self.congestion.acknowledged(acknowledged, size, self.in_flight, limited=self._limited)
            self._again = again and self.in_flight > 0
        self.deadline = now + self.timeout.value if self.in_flight else NEVER

    # -- time

    def handle_timeout(self, now: float) -> bool:
        """The deadline has passed: send again, or False to give the peer up."""
        self._retries += 1
        if self._retries > (self._limits.retries if self.started else self._limits.syn_retries):
            return False
        self.timeout.back_off()
        self.deadline = now + self.timeout.value
        self._timed = None
        if self.started and self.window == 0:
            self._probe = True
            return True
        self.congestion.timed_out(self.highest, self.in_flight, again=self._retries > 1)
        if self._retries == self._limits.black_hole_after and self.started:
            self.limit_mss(self._floor)
        self.next = self.una
        self._again = False
        return True

    def limit_mss(self, mss: int) -> None:
        """The path carries no more than this, so what is in flight is lost, though not by congestion."""
        if mss >= self.mss:
            return
        self.mss = self.congestion.mss = mss
        if self.started:
            self.next = self.una
            self._timed = None
            self._again = False

    def repeat_syn(self) -> None:
        """The peer has not heard our SYN."""
        self.next = self.initial_sequence
        self._timed = None

    # -- what leaves now

    def poll(self, now: float) -> list[Chunk]:
        """The chunks that windows allow."""
        chunks: list[Chunk] = []
        if self.next == self.initial_sequence:
            chunks.append(Chunk(self.next, b"", syn=True))
            self._sent(self.next, self.next + 1, now)
        if not self.started:
            return chunks
        if self.in_flight == 0 and now - self._last_sent > self.timeout.value:
            self.congestion.idle()
        if self._probe:
            self._probe, self._probed = False, True
            chunks.append(self._chunk(self.una, 1, now))
        elif self._again:
            self._again = False
            self._timed = None
            chunks.append(self._chunk(self.una, min(self.mss, self.in_flight), now))
        limit = self.una + min(self.window, self.congestion.window)
        while (pending := self._pending) > 0:
            size = min(self.mss, pending, limit - self.next)
            if size <= 0:
                break
            if size < self.mss and size < pending and self.next > self.una:
                break  # a sliver: more room comes with the next acknowledgment (RFC 9293 3.8.6.2.1)
            chunks.append(self._chunk(self.next, size, now))
        self._limited = self._pending > 0 and limit < self.una + self.window
        if self.deadline == NEVER and self._pending > 0:
            self.deadline = now + self.timeout.value  # the window is closed: probe it
        return chunks

    def _chunk(self, at: int, size: int, now: float) -> Chunk:
        """`size` numbers from `at`, the FIN among them if they reach so far."""
        offset = at - self._data_at
        payload = self._data[offset : offset + size]
        end = at + len(payload)
        fin = self.finishing and end == self._end and len(payload) < size
        self._sent(at, end + fin, now)
        return Chunk(at, payload, fin=fin)

    def _sent(self, at: int, end: int, now: float) -> None:
        if at < self.highest:
            self.retransmissions += 1
        elif self._timed is None:
            self._timed = (end, now)
        self.highest = max(self.highest, end)
        self.next = max(self.next, end)
        self._last_sent = now
        if self.deadline == NEVER:
            self.deadline = now + self.timeout.value
