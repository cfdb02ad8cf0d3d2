"""One direction of a path: when a datagram arrives at its other end, if it does. Pure and seeded, for every fabric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

from scenarios.proto.link_profile import GilbertElliott, Jitter, LinkProfile
from scenarios.proto.rng import Rng

IPV4_UDP = 28  # bytes of outer headers in front of a UDP payload
IPV6_UDP = 48

_NORMAL = NormalDist()
_inverse = _NORMAL.inv_cdf
_CUT = 3.0  # standard deviations at which normal jitter ends
_UNLIMITED = 1 << 62
_HALF_BYTE = 4  # bits: sizes are whole bytes, so a queue full to the byte is told from one that overflows


class Arrival(NamedTuple):
    """A datagram that comes out: when, and which bit is flipped (of the size given; None: it is whole)."""

    at: float
    corrupt: int | None = None


_arrival = tuple.__new__  # a third of what Arrival(...) costs, which goes through a function of Python


@dataclass(slots=True)
class LinkCounters:
    """Datagrams by fate, since the beginning. What was offered = carried + the four reasons for a loss."""

    carried: int = 0
    bytes: int = 0  # of what was carried
    lost: int = 0
    queue_full: int = 0
    too_big: int = 0
    blocked: int = 0
    # Of those carried:
    duplicated: int = 0
    reordered: int = 0  # held back, so that others could overtake
    corrupted: int = 0


class Link:
    """Carries datagrams of `profile`; `rng` is for this link alone.

    `profile` and `blocked` may change at any time; what is on its way or queued keeps the time that it was given.
    Nothing is drawn for what a profile does not have, so a link that only delays costs well under a microsecond.
    """

    __slots__ = (
        "_bad",
        "_blocked",
        "_bursts",
        "_busy_until",
        "_delay",
        "_jitter",
        "_latest",
        "_loss",
        "_low",
        "_mtu",
        "_normal",
        "_ordered",
        "_plain",
        "_profile",
        "_queue_time",
        "_random",
        "_seconds_per_byte",
        "_span",
        "counters",
        "on_lost",
    )

    def __init__(self, profile: LinkProfile, rng: Rng) -> None:
        self.counters = LinkCounters()
        self.on_lost: Callable[[str, int], None] | None = None
        """Told of every loss, while somebody watches: its counter's name and the size of the datagram."""
        self._random = rng.random
        self._blocked = False
        self._bad = False  # the state of Gilbert and Elliott
        self._busy_until = float("-inf")  # when everything queued has left
        self._latest = float("-inf")  # the last arrival: nobody overtakes it
        self._adopt(profile)

    def __repr__(self) -> str:
        return f"Link({self._profile}, blocked={self._blocked}, {self.counters})"

    @property
    def profile(self) -> LinkProfile:
        return self._profile

    @profile.setter
    def profile(self, profile: LinkProfile) -> None:
        if profile.loss != self._profile.loss:
            self._bad = False
        self._adopt(profile)

    @property
    def blocked(self) -> bool:
        """Nothing passes, as after a cable has been cut. What is on its way still arrives."""
        return self._blocked

    @blocked.setter
    def blocked(self, blocked: bool) -> None:
        self._blocked = blocked
        self._adopt(self._profile)

    def clear(self, now: float) -> bool:
        """Whether a datagram of any size would arrive at once and whole, so that whole batches may pass."""
        return self._plain and not self._delay and self._mtu == _UNLIMITED and self._latest <= now

    def pass_through(self, count: int, size: int) -> None:
        """Account for `count` datagrams, `size` bytes together, that met a ``clear`` link."""
        self.counters.carried += count
        self.counters.bytes += size

    def carry(self, size: int, now: float) -> Sequence[Arrival]:
        """The arrivals of a datagram of `size` bytes that is sent now: mostly one, none, or two equal ones.

        `size` is that of the outer IP datagram (see IPV4_UDP), `now` never goes back.
        """
        counters = self.counters
        if size > self._mtu and not self._blocked:
            counters.too_big += 1
            return self._lost("too_big", size)
        if not self._plain:
            return self._carry_impaired(size, now)
        counters.carried += 1
        counters.bytes += size
        at = now + self._delay
        if at < self._latest:
            at = self._latest
        self._latest = at
        return (_arrival(Arrival, (at, None)),)

    def _carry_impaired(self, size: int, now: float) -> Sequence[Arrival]:
        counters, profile = self.counters, self._profile
        if self._blocked:
            counters.blocked += 1
            return self._lost("blocked", size)
        leaves = now
        if self._seconds_per_byte:
            if leaves < self._busy_until:
                leaves = self._busy_until
            leaves += size * self._seconds_per_byte
            if leaves - now > self._queue_time:
                counters.queue_full += 1
                return self._lost("queue_full", size)
            self._busy_until = leaves
        if self._loss:
            loses = self._random() < self._loss
        else:
            loses = self._bursts is not None and self._loses(self._bursts)
        if loses:
            counters.lost += 1
            return self._lost("lost", size)
        at = leaves + self._delay
        if self._jitter:
            # One draw: a place between the limits, by the inverse of the distribution that is cut off there.
            place = self._low + self._span * self._random()
            at += self._jitter * _inverse(place) if self._normal else place
        if at < self._latest:
            at = self._latest
        if self._ordered:
            self._latest = at
            counters.carried += 1
            counters.bytes += size
            return (_arrival(Arrival, (at, None)),)
        if profile.reorder and self._random() < profile.reorder:
            counters.reordered += 1
            at += profile.reorder_delay
        else:
            self._latest = at
        corrupt = None
        if profile.corrupt and self._random() < profile.corrupt:
            counters.corrupted += 1
            corrupt = int(self._random() * size * 8)
        counters.carried += 1
        counters.bytes += size
        arrival = Arrival(at, corrupt)
        if profile.duplicate and self._random() < profile.duplicate:
            counters.duplicated += 1
            return (arrival, arrival)
        return (arrival,)

    def _lost(self, reason: str, size: int) -> Sequence[Arrival]:
        if self.on_lost is not None:
            self.on_lost(reason, size)
        return ()

    def _loses(self, loss: GilbertElliott) -> bool:
        if self._random() < (loss.r if self._bad else loss.p):
            self._bad = not self._bad
        ratio = loss.loss_bad if self._bad else loss.loss_good
        return bool(ratio) if ratio in (0.0, 1.0) else self._random() < ratio

    def _adopt(self, profile: LinkProfile) -> None:
        """Work out once what every datagram needs."""
        self._profile = profile
        self._delay = profile.delay
        self._mtu = profile.mtu or _UNLIMITED
        self._seconds_per_byte = 8 / profile.rate if profile.rate else 0.0
        self._queue_time = (profile.queue_bytes * 8 + _HALF_BYTE) / profile.rate if profile.rate else 0.0
        loss = profile.loss
        self._bursts = loss if isinstance(loss, GilbertElliott) else None
        self._loss = 0.0 if isinstance(loss, GilbertElliott) else loss
        self._jitter = jitter = profile.jitter
        self._normal = profile.distribution is Jitter.NORMAL
        low, high = max(-jitter, -profile.delay), jitter
        if jitter and self._normal:
            low, high = _NORMAL.cdf(max(-_CUT, -profile.delay / jitter)), _NORMAL.cdf(_CUT)
        self._low, self._span = low, high - low
        self._ordered = not (profile.reorder or profile.duplicate or profile.corrupt)
        self._plain = not (
            self._blocked
            or profile.jitter
            or profile.loss
            or profile.rate
            or profile.reorder
            or profile.duplicate
            or profile.corrupt
        )


def flip(datagram: bytes | bytearray, bit: int) -> bytes:
    """A copy with one bit flipped; `bit` counts modulo the length, as a link counts headers too."""
    if not datagram:
        return b""
    damaged = bytearray(datagram)
    index = bit % (len(damaged) * 8)
    damaged[index >> 3] ^= 1 << (index & 7)
    return bytes(damaged)
