"""What an observer of a PoP is told: each packet with its fate. Observers get copies: they cannot change a packet.

Nothing here is on the way of a packet unless somebody watches: the engine tells a `Watch` once before and once after
each turn, and the network tells it what died in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from edge.proto.forwarding.attachment import Attachment
from edge.proto.forwarding.forwarder import flow_key
from edge.proto.ip import Header, packet_length, parse_untrusted
from edge.proto.types import BadPacket, DropReason


class Fate(StrEnum):
    """What became of a packet in one turn."""

    FORWARDED = "forwarded"
    DROPPED = "dropped"
    HELD = "held"  # a fragment that waits for its first one; what becomes of it is told then
    DIVIDED = "divided"  # fragmented; the pieces are told as such
    PERISHED = "perished"  # in a later turn than it came: it had been held, or waited for a handshake
    GENERATED = "generated"  # by the PoP: an answer, a piece


class Passage(NamedTuple):
    """One packet and its fate. `at` is the PoP's time; packets are IP packets without padding."""

    at: float
    vnet: str
    fate: Fate
    header: Header | None  # None: it is no packet that can be read
    ingress: str = ""  # tunnel; empty if it came in an earlier turn, or from nowhere
    egress: str = ""  # tunnel; empty if it did not leave
    arrived: bytes = b""
    left: bytes = b""
    reason: DropReason | None = None
    rule: str = ""


class Observer(Protocol):
    """May watch; is called in the middle of a turn and must neither raise nor take its time."""

    def passed(self, passage: Passage) -> None: ...

    def tunnel_changed(self, at: float, vnet: str, tunnel: str, what: str, detail: str) -> None:
        """Such as: handshake, endpoint, handshake-given-up."""

    def refused(self, at: float, reason: DropReason, count: int) -> None:
        """Outer datagrams that died before there was a packet."""


class Watch:
    """Between the engine and an observer: finds out what became of each packet of a turn."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer
        self._now = 0.0
        self._arrivals: list[Passage] = []
        self._index: dict[int, int] = {}  # of a packet object that lives during this turn -> its arrival
        self._late: list[Passage] = []
        self._refused: Counter[DropReason] = Counter()

    def opened(self, runs: Sequence[tuple[Attachment, list[bytearray]]], now: float) -> None:
        """Before they are forwarded. `runs` must live until ``settle``."""
        self._now = now
        for ingress, packets in runs:
            vnet = ingress.vnet.name
            for packet in packets:
                self._index[id(packet)] = len(self._arrivals)
                data = bytes(packet[: packet_length(packet)])
                self._arrivals.append(
                    Passage(now, vnet, Fate.HELD, _header(data), ingress=ingress.name, arrived=data)
                )

    def dropped(self, at: Attachment, packet: bytearray, reason: DropReason, rule: str = "") -> None:
        """`at` is the tunnel that the packet came from, or, if it had been decided, the one it was meant for."""
        number = self._index.get(id(packet))
        if number is not None:
            arrival = self._arrivals[number]
            self._arrivals[number] = arrival._replace(fate=Fate.DROPPED, reason=reason, rule=rule)
            return
        data = bytes(packet)
        late = Passage(self._now, at.vnet.name, Fate.PERISHED, _header(data), reason=reason, rule=rule)
        if reason is DropReason.TUNNEL_DOWN:
            self._late.append(late._replace(egress=at.name, left=data))
        else:
            self._late.append(late._replace(ingress=at.name, arrived=data))

    def settle(self, runs: Iterable[tuple[Attachment, list[bytearray]]]) -> None:
        """What was forwarded, before it is sealed: now every fate is known."""
        arrivals, index = self._arrivals, self._index
        for egress, packets in runs:
            for packet in packets:
                data = bytes(packet)
                header = _header(data)
                rule = _rule(egress, packet, header)
                number = index.get(id(packet))
                if number is None:
                    fate = Fate.GENERATED
                    self._late.append(
                        Passage(
                            self._now,
                            egress.vnet.name,
                            fate,
                            header,
                            egress=egress.name,
                            left=data,
                            rule=rule,
                        )
                    )
                else:
                    arrivals[number] = arrivals[number]._replace(
                        fate=Fate.FORWARDED, egress=egress.name, left=data, rule=rule
                    )
        passed = self.observer.passed
        for arrival in arrivals:
            header = arrival.header
            if arrival.fate is Fate.HELD and header is not None and not header.is_fragment:
                arrival = arrival._replace(fate=Fate.DIVIDED)
            passed(arrival)
        self._arrivals = []
        self._index = {}
        self._tell_late()

    def close(self, drops: Counter[DropReason]) -> None:
        """The end of the turn; `drops` are all datagrams that ever died."""
        self._tell_late()
        if drops != self._refused:
            for reason, count in (drops - self._refused).items():
                self.observer.refused(self._now, reason, count)
            self._refused = drops.copy()

    def _tell_late(self) -> None:
        late, self._late = self._late, []
        for passage in late:
            self.observer.passed(passage)


def _header(data: bytes) -> Header | None:
    try:
        return parse_untrusted(data)
    except BadPacket:
        return None


def _rule(egress: Attachment, packet: bytearray, header: Header | None) -> str:
    """Which rule let it pass; empty for what needs none, and for later fragments."""
    if header is None:
        return ""
    direction = egress.vnet.flows.find(flow_key(packet, header))
    return "" if direction is None else direction.flow.verdict.rule
