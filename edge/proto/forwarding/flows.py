"""Flows: what was decided about a conversation, both directions, so that it is decided once.

An entry carries verdict, egress and counters. Any change of policy, routes, tunnels or identity bumps the virtual
network's generation; an entry of an older generation is decided afresh on its next packet, in the direction in which
the conversation began.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from edge.proto.forwarding.policy import Action, Verdict

if TYPE_CHECKING:
    from edge.proto.forwarding.attachment import Attachment
    from edge.proto.forwarding.site import Site

FlowKey: TypeAlias = tuple[int, bytes, int, bytes, int]
"""(protocol, source, source port, destination, destination port); for ICMP echo both ports are the identifier."""

UNDECIDED = Verdict(action=Action.BLOCK, rule="undecided", reason=None)
TCP = 6
SWEEP_INTERVAL = 1.0
SWEEP_SHARE = 32  # of the table per sweep: a full table must not hold up the data path
SWEEP_LEAST = 512
IDLE_TIMEOUT = {
    6: 7440.0,
    17: 180.0,
    1: 30.0,
    58: 30.0,
}  # RFC 5382 REQ-5, RFC 4787 REQ-5 and up; ICMP: RFC 5508 REQ-2
OTHER_TIMEOUT = 180.0


class Direction:
    """One direction of a flow: what the data path looks up. ``egress`` is None where the packet dies."""

    __slots__ = ("bytes", "egress", "flow", "generation", "minimum", "mtu", "packets")

    def __init__(self, flow: FlowEntry) -> None:
        self.flow = flow
        self.egress: Attachment | None = None
        self.mtu = 0
        self.minimum = (
            40 if flow.key[0] == TCP else 28
        )  # shortest IPv4 packet that has the whole upper header
        self.generation = -1
        self.packets = 0
        self.bytes = 0


class FlowEntry:
    """One conversation. `key` is as its first packet had it; `initiator` is the tunnel or site whose address
    began it.

    `icmp` is the type and code of that packet, (-1, -1) if it was none. `both` once replies belong to the flow: it
    stays so when a later policy denies it, so that the answers of a denied live flow die as well.
    """

    __slots__ = (
        "both",
        "forward",
        "icmp",
        "initiator",
        "key",
        "last_seen",
        "reverse",
        "seen_packets",
        "verdict",
    )

    def __init__(self, key: FlowKey, initiator: Attachment | Site, icmp: tuple[int, int], now: float) -> None:
        self.key = key
        self.initiator = initiator
        self.icmp = icmp
        self.both = False
        self.verdict = UNDECIDED
        self.forward = Direction(self)
        self.reverse = Direction(self)
        self.last_seen = now
        self.seen_packets = 0


def reverse_key(key: FlowKey) -> FlowKey:
    protocol, source, source_port, destination, destination_port = key
    return protocol, destination, destination_port, source, source_port


class FlowTable:
    """All flows of one virtual network, capped in total and per initiating tunnel or site."""

    def __init__(self, limit: int, per_tunnel: int) -> None:
        self.limit = limit
        self.per_tunnel = per_tunnel
        self._directions: dict[FlowKey, Direction] = {}
        self._by_initiator: dict[Attachment | Site, dict[FlowKey, FlowEntry]] = {}
        self._count = 0
        self._sweep_at = 0.0
        self._unswept: list[FlowEntry] = []

    def __len__(self) -> int:
        return self._count

    def find(self, key: FlowKey) -> Direction | None:
        return self._directions.get(key)

    def entries(self) -> Iterator[FlowEntry]:
        for flows in self._by_initiator.values():
            yield from flows.values()

    def add(self, entry: FlowEntry) -> bool:
        """Insert, under the reverse key too if replies belong to it. False if there is no room.

        No tunnel may have more than is still free: then it pays with its own oldest flow, so that it can neither
        push out anybody else's nor fill the table alone.
        """
        mine = self._by_initiator.setdefault(entry.initiator, {})
        if len(mine) >= min(self.per_tunnel, self.limit - self._count):
            if not mine:
                return False
            self.remove(next(iter(mine.values())))
        stale = self._directions.get(entry.key)
        if stale is not None:
            self.remove(stale.flow)
        if entry.both:
            stale = self._directions.get(reverse_key(entry.key))
            if stale is not None:
                self.remove(stale.flow)
            self._directions[reverse_key(entry.key)] = entry.reverse
        self._directions[entry.key] = entry.forward
        self._by_initiator.setdefault(entry.initiator, mine)[entry.key] = entry
        self._count += 1
        return True

    def remove(self, entry: FlowEntry) -> None:
        """Forget a flow; cached directions die with it because their generation can never match again."""
        mine = self._by_initiator.get(entry.initiator, {})
        if mine.get(entry.key) is not entry:
            return
        del mine[entry.key]
        self._count -= 1
        for key, direction in ((entry.key, entry.forward), (reverse_key(entry.key), entry.reverse)):
            if self._directions.get(key) is direction:
                del self._directions[key]
            direction.generation = -1
            direction.egress = None

    def remove_initiator(self, initiator: Attachment | Site) -> None:
        for entry in list(self._by_initiator.get(initiator, {}).values()):
            self.remove(entry)
        self._by_initiator.pop(initiator, None)

    def expire(self, now: float) -> bool:
        """Drop idle flows, a share of the table per SWEEP_INTERVAL; True if there were any.

        The data path keeps no time per packet: an entry is idle whose counters stand still between two looks.
        """
        if now < self._sweep_at:
            return False
        self._sweep_at = now + SWEEP_INTERVAL
        if not self._unswept:
            self._unswept = list(self.entries())
        share = max(SWEEP_LEAST, self._count // SWEEP_SHARE)
        due, self._unswept = self._unswept[-share:], self._unswept[:-share]
        before = self._count
        for entry in due:
            packets = entry.forward.packets + entry.reverse.packets
            if packets != entry.seen_packets:
                entry.seen_packets = packets
                entry.last_seen = now
            elif now - entry.last_seen >= IDLE_TIMEOUT.get(entry.key[0], OTHER_TIMEOUT):
                self.remove(entry)
        return self._count != before
