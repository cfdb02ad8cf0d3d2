"""TAI64N timestamps, which order a peer's initiations so that an old one cannot be replayed (whitepaper 5.1).

A peer compares them as bytes and never with a clock of its own, so all that counts is that ours only grow:
within a run, when the wall clock is set back, and across restarts.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

TAI64_BASE: Final = (
    2**62 + 10
)  # TAI was 10 s ahead of UTC in 1970; leap seconds since then do not matter here
SLOT: Final = 2**24  # ns; just under the 20 ms that peers demand between initiations
_SECOND: Final = 1_000_000_000

_label = Struct(">QI")


def encode(seconds: int, nanoseconds: int) -> bytes:
    """Unix time as a 12-byte TAI64N label, big-endian: labels sort as bytes in the order of time."""
    return _label.pack(TAI64_BASE + seconds, nanoseconds)


def decode(label: bytes) -> tuple[int, int]:
    """Unix seconds and nanoseconds of a label. ValueError if it is none."""
    if len(label) != _label.size:
        raise ValueError("a TAI64N label has 12 bytes")
    seconds, nanoseconds = _label.unpack(label)
    if nanoseconds >= _SECOND:
        raise ValueError("a TAI64N label counts less than a second in nanoseconds")
    return seconds - TAI64_BASE, nanoseconds


class TimestampClock:
    """Our own timestamps: ``wall_offset + now`` in slots of 2**24 ns, never twice the same, never going back.

    The slot hides how exactly we know the time and when precisely we were busy. Within a slot, and while the
    wall clock is behind `greatest`, stamps are one nanosecond apart: a restart that greets thousands of peers
    at once then stays within microseconds of the wall clock.
    """

    __slots__ = ("_last", "_wall_offset")

    def __init__(self, wall_offset: float, *, greatest: bytes = b"") -> None:
        """`wall_offset` makes Unix time out of `now`; `greatest` is the last stamp of an earlier run."""
        self._wall_offset = wall_offset
        self._last = -1  # Unix time in nanoseconds
        if greatest:
            seconds, nanoseconds = decode(greatest)
            self._last = seconds * _SECOND + nanoseconds

    def stamp(self, now: float) -> bytes:
        """A label greater than every one before it."""
        seconds = self._wall_offset + now
        whole = int(seconds)
        nanoseconds = int((seconds - whole) * _SECOND)
        self._last = max(whole * _SECOND + nanoseconds // SLOT * SLOT, self._last + 1)
        return self.greatest

    @property
    def greatest(self) -> bytes:
        """The greatest label given out or restored, to be kept across restarts; empty if there is none."""
        return encode(*divmod(self._last, _SECOND)) if self._last >= 0 else b""
