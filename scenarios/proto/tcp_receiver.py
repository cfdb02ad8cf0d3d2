"""The receiving half of a simulated TCP connection: order, window, and what may be read."""

from __future__ import annotations

from bisect import bisect_right

MAX_PARTS = 256
"""Pieces kept beyond a hole: a peer that sends single bytes must not make us keep 65,535 objects."""


class Receiver:
    """Numbers are absolute. `capacity` bounds what is kept, read or not; the window never shrinks."""

    def __init__(self, capacity: int, mss: int) -> None:
        self.next = 0
        """RCV.NXT: everything before it has arrived."""
        self.finished = False
        """The peer has sent all that it had to send, and it is here."""
        self.dropped_parts = 0
        self._capacity = capacity
        self._step = min(capacity // 2, mss)  # RFC 9293 3.8.6.2.2: the window opens by at least this
        self._edge = 0
        self._ready = bytearray()
        self._parts: list[tuple[int, bytes]] = []  # in order, without overlaps
        self._fin_at: int | None = None

    def start(self, initial_sequence: int) -> None:
        """The peer's SYN has this number."""
        self.next = initial_sequence + 1
        self._edge = self.next + self._capacity

    # -- what arrives

    @property
    def closed(self) -> bool:
        """The peer must not send anything now."""
        return self._edge == self.next

    def acceptable(self, sequence: int, length: int) -> bool:
        """Whether a segment of this length touches the window (RFC 9293 3.10.7.4).

        An empty one may lie on its edge, as in Linux: so do acknowledgments of a peer that has filled the window.
        """
        if not length:
            return self.next <= sequence <= self._edge
        return sequence < self._edge and sequence + length > self.next

    def receive(self, sequence: int, payload: memoryview | bytes, *, fin: bool) -> None:
        """Take what fits and is new."""
        before = sequence + len(payload)
        if fin and self._may_end(before):
            self._fin_at = before
        limit = self._edge if self._fin_at is None else min(self._edge, self._fin_at)
        start, end = max(sequence, self.next), min(before, limit)
        if start < end:
            data = payload[start - sequence : end - sequence]
            if start > self.next or self._parts:
                self._keep(start, data)
                self._join()
            else:
                self._ready += data
                self.next = end
        if self.next == self._fin_at and not self.finished:
            self.finished = True
            self.next += 1
            self._edge = max(self._edge, self.next)
            self._parts.clear()

    # -- what is read

    @property
    def readable(self) -> int:
        return len(self._ready)

    def read(self, limit: int | None = None) -> bytes:
        """What arrived in order, at most `limit` bytes of it."""
        size = len(self._ready) if limit is None else min(limit, len(self._ready))
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data

    def window(self) -> int:
        """The window to announce now."""
        if self._growth() >= self._step:
            self._edge += self._growth()
        return min(self._edge - self.next, 0xFFFF)

    @property
    def has_news(self) -> bool:
        """The peer should be told that the window is open (again) without having sent anything."""
        growth = self._growth()
        return growth >= self._capacity // 2 or (growth >= self._step and self._edge - self.next < self._step)

    def _may_end(self, at: int) -> bool:
        """A second end, or one before data that we have, is a lie."""
        kept = self._parts[-1][0] + len(self._parts[-1][1]) if self._parts else self.next
        return self._fin_at is None and kept <= at <= self._edge

    def _growth(self) -> int:
        return self.next + self._capacity - len(self._ready) - self._edge

    # -- beyond a hole

    def _keep(self, start: int, data: memoryview | bytes) -> None:
        """Store what we do not have yet; of what comes twice the first copy counts."""
        parts = self._parts
        index = bisect_right(parts, start, key=lambda part: part[0])
        if index:
            at, kept = parts[index - 1]
            overlap = max(at + len(kept) - start, 0)
            start, data = start + overlap, data[overlap:]
        while len(data):
            room = parts[index][0] - start if index < len(parts) else len(data)
            if room > 0:
                # The piece at the front closes the hole, so it is always taken: nothing can lock us up.
                if len(parts) >= MAX_PARTS and start > self.next:
                    self.dropped_parts += 1
                    return
                parts.insert(index, (start, bytes(data[:room])))
                index += 1
            if index == len(parts):
                return
            end = parts[index][0] + len(parts[index][1])
            start, data = end, data[max(end - start, 0) :]
            index += 1

    def _join(self) -> None:
        """Move to the readable bytes what the hole no longer separates."""
        count = 0
        for at, kept in self._parts:
            if at != self.next:
                break
            self._ready += kept
            self.next += len(kept)
            count += 1
        del self._parts[:count]
