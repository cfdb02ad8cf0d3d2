"""Judge fragments without putting them together (RFC 791, 1858, 5722, 8200 4.5).

The verdict on the first fragment, which has the ports, governs the others. Those that overtake it wait.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple, TypeAlias

from edge.proto.ip.header import Header
from edge.proto.types import NEVER, DropReason

MAX_FRAGMENTS = 128
"""Of one datagram: 64 kB in pieces of 576 bytes. More would make the search for overlaps a burden."""

HELD_OVERHEAD = 600
"""Charged beside the bytes of a held packet: what Python needs to keep a small one."""

_Key: TypeAlias = tuple[Hashable, bytes, bytes, int, int]


class FragmentKind(Enum):
    """What to do with a fragment."""

    FIRST = "first"  # decide it, then tell `settle`
    FOLLOW = "follow"  # do what was decided about the first
    HELD = "held"  # kept by the table until its first fragment comes
    DROP = "drop"


class DeadFragment(NamedTuple):
    """A fragment that was held and now dies."""

    packet: bytearray
    header: Header
    ingress: Hashable
    reason: DropReason


@dataclass(frozen=True, slots=True)
class FragmentDecision:
    """`verdict` belongs to FOLLOW, `reason` to DROP. `dead` are held fragments that die now."""

    kind: FragmentKind
    verdict: object = None
    reason: DropReason | None = None
    dead: tuple[DeadFragment, ...] = ()


@dataclass(slots=True)
class _Datagram:
    """What is known of one datagram. `ranges` are the bytes seen, sorted and disjoint."""

    deadline: float
    ranges: list[tuple[int, int]] = field(default_factory=list)
    end: int = -1  # length of the whole, once the last fragment was seen
    seen: int = 0  # bytes
    settled: bool = False
    verdict: object = None
    killed: DropReason | None = None
    held: list[tuple[bytearray, Header]] = field(default_factory=list)
    held_cost: int = 0

    @property
    def is_complete(self) -> bool:
        return self.seen == self.end

    def place(self, start: int, end: int, is_last: bool) -> DropReason | None:
        """Note that bytes `start` to `end` came. The reason is why the whole datagram has to die."""
        if is_last:
            if self.end not in (-1, end) or (self.ranges and self.ranges[-1][1] > end):
                return DropReason.FRAGMENT_OVERLAP
        elif self.end != -1 and end >= self.end:
            return DropReason.FRAGMENT_OVERLAP
        at = bisect_left(self.ranges, (start, end))
        if at and self.ranges[at - 1][1] > start:
            return DropReason.FRAGMENT_OVERLAP
        if at < len(self.ranges) and self.ranges[at][0] < end:
            return DropReason.FRAGMENT_OVERLAP
        if len(self.ranges) == MAX_FRAGMENTS:
            return DropReason.FRAGMENT_LIMIT
        self.ranges.insert(at, (start, end))
        self.seen += end - start
        if is_last:
            self.end = end
        return None


@dataclass(slots=True)
class _Share:
    """What one ingress has in the table; `keys` is an ordered set, oldest first."""

    keys: dict[_Key, None] = field(default_factory=dict)
    held_cost: int = 0


class FragmentTable:
    """The fragmented datagrams of one virtual network.

    A datagram belongs to the ingress that sent it: fragments of the same name from elsewhere are another one.
    No ingress may take more datagrams or bytes than are still free, so that a flood by one (which displaces
    its own oldest datagrams) leaves room for all others.
    """

    def __init__(self, max_datagrams: int, max_held_bytes: int, timeout: float = 30.0) -> None:
        self.max_datagrams = max_datagrams
        self.max_held_bytes = max_held_bytes
        self.timeout = timeout
        self.held = 0
        self._held_cost = 0
        # All datagrams live equally long, so this order of arrival is also that of their deadlines.
        self._datagrams: dict[_Key, _Datagram] = {}
        self._shares: dict[Hashable, _Share] = {}

    @property
    def datagrams(self) -> int:
        """Datagrams known now, those included that were killed."""
        return len(self._datagrams)

    @property
    def held_bytes(self) -> int:
        """Memory charged for the packets held now."""
        return self._held_cost

    def admit(self, packet: bytearray, header: Header, ingress: Hashable, now: float) -> FragmentDecision:
        """Judge one fragment. The table keeps `packet` if it answers HELD."""
        dead = self.expire(now)
        key = _key(header, ingress)
        datagram = self._datagrams.get(key)
        if datagram is None:
            if not self._make_room(ingress, dead):
                return _drop(DropReason.FRAGMENT_LIMIT, dead)
            datagram = self._datagrams[key] = _Datagram(now + self.timeout)
            self._shares.setdefault(ingress, _Share()).keys[key] = None
        elif datagram.killed is not None:
            return _drop(datagram.killed, dead)
        start = header.fragment_offset
        end = start + header.total_length - header.fragment_start
        if (start, end) in datagram.ranges and header.more_fragments == (end != datagram.end):
            # A copy made by the network does no harm as long as only one of them goes on (RFC 8200 4.5).
            return _drop(DropReason.FRAGMENT_OVERLAP, dead)
        reason = datagram.place(start, end, not header.more_fragments)
        if reason is not None:
            datagram.killed = reason
            dead += self._release(key, datagram, reason)
            return _drop(reason, dead)
        if start == 0:
            return FragmentDecision(FragmentKind.FIRST, dead=tuple(dead))
        if datagram.settled:
            verdict = datagram.verdict
            if datagram.is_complete:
                self._forget(key)
            return FragmentDecision(FragmentKind.FOLLOW, verdict, dead=tuple(dead))
        return self._hold(key, datagram, packet, header, dead)

    def settle(
        self, header: Header, verdict: object, ingress: Hashable, now: float
    ) -> list[tuple[bytearray, Header]]:
        """The first fragment was decided: `verdict` governs the rest. Returns those that waited for it."""
        key = _key(header, ingress)
        datagram = self._datagrams.get(key)
        if datagram is None or datagram.killed is not None:
            return []
        datagram.settled = True
        datagram.verdict = verdict
        held = datagram.held
        self._uncharge(key, datagram)
        if datagram.is_complete:
            self._forget(key)
        return held

    def expire(self, now: float) -> list[DeadFragment]:
        """Forget datagrams whose time is over; returns what they still held."""
        dead: list[DeadFragment] = []
        while self._datagrams:
            key, datagram = next(iter(self._datagrams.items()))
            if datagram.deadline > now:
                break
            dead += self._release(key, datagram, DropReason.FRAGMENT_ORPHAN)
            self._forget(key)
        return dead

    def poll_timeout(self) -> float:
        """When `expire` has something to do."""
        for datagram in self._datagrams.values():
            return datagram.deadline
        return NEVER

    def _make_room(self, ingress: Hashable, dead: list[DeadFragment]) -> bool:
        share = self._shares.get(ingress)
        own = len(share.keys) if share else 0
        free = self.max_datagrams - len(self._datagrams)
        if own < free:
            return True
        if share is None:
            return False
        oldest = next(iter(share.keys))
        dead += self._release(oldest, self._datagrams[oldest], DropReason.FRAGMENT_LIMIT)
        self._forget(oldest)
        return True

    def _hold(
        self, key: _Key, datagram: _Datagram, packet: bytearray, header: Header, dead: list[DeadFragment]
    ) -> FragmentDecision:
        share = self._shares[key[0]]
        cost = len(packet) + HELD_OVERHEAD
        if share.held_cost + cost > self.max_held_bytes - self._held_cost:
            # Without this fragment the datagram can never be whole.
            datagram.killed = DropReason.FRAGMENT_LIMIT
            dead += self._release(key, datagram, DropReason.FRAGMENT_LIMIT)
            return _drop(DropReason.FRAGMENT_LIMIT, dead)
        datagram.held.append((packet, header))
        datagram.held_cost += cost
        share.held_cost += cost
        self._held_cost += cost
        self.held += 1
        return FragmentDecision(FragmentKind.HELD, dead=tuple(dead))

    def _release(self, key: _Key, datagram: _Datagram, reason: DropReason) -> list[DeadFragment]:
        dead = [DeadFragment(packet, header, key[0], reason) for packet, header in datagram.held]
        self._uncharge(key, datagram)
        datagram.ranges.clear()
        return dead

    def _uncharge(self, key: _Key, datagram: _Datagram) -> None:
        self.held -= len(datagram.held)
        self._held_cost -= datagram.held_cost
        self._shares[key[0]].held_cost -= datagram.held_cost
        datagram.held = []
        datagram.held_cost = 0

    def _forget(self, key: _Key) -> None:
        del self._datagrams[key]
        share = self._shares[key[0]]
        del share.keys[key]
        if not share.keys:
            del self._shares[key[0]]


def _key(header: Header, ingress: Hashable) -> _Key:
    # In IPv6 the protocol is no part of the name (RFC 8200 4.5): later fragments may claim anything there.
    protocol = header.protocol if header.version == 4 else -1
    return (ingress, header.source, header.destination, protocol, header.fragment_id)


def _drop(reason: DropReason, dead: list[DeadFragment]) -> FragmentDecision:
    return FragmentDecision(FragmentKind.DROP, None, reason, tuple(dead))
