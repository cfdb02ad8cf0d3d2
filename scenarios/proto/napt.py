"""A NAT in front of one machine, at work on IP packets: UDP and TCP by ports (RFC 3022), pings by identifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from typing import NamedTuple, Self, TypeAlias

from edge.proto.ip import (
    ICMP,
    TCP,
    UDP,
    DeadFragment,
    FragmentKind,
    FragmentTable,
    Header,
    echo_identifier,
    is_error,
    quoted_echo_identifier,
    quoted_untrusted,
    tcp_reset,
)
from edge.proto.types import NEVER, Address, BadPacket
from scenarios.proto.nat import Nat
from scenarios.proto.readdress import Side, readdress, readdress_quoted

TCP_IDLE = 7440.0
"""Seconds: two hours and four minutes, the least that RFC 5382 (REQ-5) wants; a tunnel does not live to see it."""

FRAGMENTED = 64
"""Datagrams in pieces that are known at one time, each way together."""

HELD_FRAGMENTS = 1 << 20
"""Bytes of fragments that wait for the first one, which has the ports."""

_SYN, _ACK = 0x02, 0x10
_ECHO_REQUEST, _ECHO_REPLY = 8, 0

Whole: TypeAlias = tuple[bytearray, Header]
"""A packet and the view of it as it was before anything was changed."""


class Refusal(NamedTuple):
    """Why packets go no further, and what the NAT says to the sender, if it says anything."""

    reason: str
    answer: bytearray | None = None


class Napt:
    """One box with a table each for UDP, TCP and pings, so that their ports never mix; all have the same host.

    `inside` is the address of the machine behind it. `on_dead` is told of fragments that waited in vain.
    """

    def __init__(
        self, udp: Nat, tcp: Nat, icmp: Nat, inside: str, on_dead: Callable[[str, int], None]
    ) -> None:
        tcp.profile = replace(tcp.profile, timeout=TCP_IDLE)
        self.tables = {UDP: udp, TCP: tcp, ICMP: icmp}
        self._host = IPv4Address(udp.host).packed
        self._inside = IPv4Address(inside).packed
        self._inside_text = inside
        self._on_dead = on_dead
        self._fragments = FragmentTable(FRAGMENTED, HELD_FRAGMENTS)

    @classmethod
    def of(
        cls, make: Callable[[], Nat | None], inside: str, on_dead: Callable[[str, int], None]
    ) -> Self | None:
        """A box with tables that `make` makes; None if it makes none."""
        udp, tcp, icmp = make(), make(), make()
        if udp is None or tcp is None or icmp is None:
            return None
        return cls(udp, tcp, icmp, inside, on_dead)

    def rebind(self) -> None:
        """It forgets everything, as after a reboot."""
        for table in self.tables.values():
            table.rebind()
        self._bury(self._fragments.expire(NEVER))
        self._fragments = FragmentTable(FRAGMENTED, HELD_FRAGMENTS)

    def outbound(self, packet: bytearray, header: Header, now: float) -> list[Whole] | Refusal:
        """What leaves when the machine sends `packet`; none if that is a fragment that has to wait."""
        return self._translate(Side.SOURCE, packet, header, now)

    def inbound(self, packet: bytearray, header: Header, now: float) -> list[Whole] | Refusal:
        """What reaches the machine of a packet for its host."""
        return self._translate(Side.DESTINATION, packet, header, now)

    def _translate(self, side: Side, packet: bytearray, header: Header, now: float) -> list[Whole] | Refusal:
        if header.protocol not in self.tables or header.version != 4:
            return Refusal("nat_protocol")
        if header.is_fragment:
            return self._fragment(side, packet, header, now)
        if is_error(header):
            return self._error(side, packet, header, now)
        place = self._place(side, packet, header, now)
        if isinstance(place, Refusal):
            return place
        readdress(packet, header, side, *place)
        return [(packet, header)]

    def _place(
        self, side: Side, packet: bytearray, header: Header, now: float
    ) -> tuple[bytes, int] | Refusal:
        """The address and port that a packet gets on `side`."""
        table = self.tables[header.protocol]
        if header.protocol == ICMP:
            if header.icmp_type != (_ECHO_REQUEST if side is Side.SOURCE else _ECHO_REPLY):
                return Refusal("nat_protocol")
            port, far = echo_identifier(packet, header) or 0, 0
        elif side is Side.SOURCE:
            port, far = header.source_port, header.destination_port
        else:
            port, far = header.destination_port, header.source_port
        if side is Side.DESTINATION:
            inside = table.inbound(port, (_text(header.source), far), now)
            return Refusal("no_such_address") if inside is None else (self._inside, inside[1])
        here, remote = (self._inside_text, port), (_text(header.destination), far)
        if (
            header.protocol == TCP
            and header.tcp_flags & (_SYN | _ACK) != _SYN
            and table.mapped(here, remote, now) is None
        ):
            # A connection that it does not know (any more). Boxes differ; one that says so ends the connection at
            # once, as in the other fabrics. The other end hears nothing of it.
            return Refusal("nat_unknown", tcp_reset(packet, header))
        public = table.outbound(here, remote, now)
        return Refusal("nat_full") if public is None else (self._host, public[1])

    def _error(self, side: Side, packet: bytearray, header: Header, now: float) -> list[Whole] | Refusal:
        """An ICMP error is about a packet that went the other way, so that is what is looked up (RFC 5508, 4)."""
        try:
            quoted = quoted_untrusted(packet, header)
        except BadPacket:
            quoted = None
        if quoted is None or quoted.protocol not in self.tables:
            return Refusal("nat_unknown")
        table = self.tables[quoted.protocol]
        ports = quoted.source_port, quoted.destination_port
        if quoted.protocol == ICMP:
            identifier = quoted_echo_identifier(packet, header, quoted)
            if identifier is None:
                return Refusal("nat_unknown")
            ports = (identifier, 0) if side is Side.DESTINATION else (0, identifier)
        place: Address | None
        if side is Side.DESTINATION:
            place = table.inbound(ports[0], (_text(quoted.destination), ports[1]), now)
            address, other = self._inside, Side.SOURCE
        elif quoted.destination != self._inside:
            return Refusal("nat_unknown")
        else:
            place = table.mapped((self._inside_text, ports[1]), (_text(quoted.source), ports[0]), now)
            address, other = self._host, Side.DESTINATION
        if place is None:
            return Refusal("nat_unknown")
        readdress_quoted(packet, header, quoted, other, address, place[1])
        readdress(packet, header, side, address, 0)
        return [(packet, header)]

    # -- fragments: only the first has ports; the others go where it went

    def _fragment(self, side: Side, packet: bytearray, header: Header, now: float) -> list[Whole] | Refusal:
        decision = self._fragments.admit(packet, header, side, now)
        self._bury(decision.dead)
        if decision.kind is FragmentKind.HELD:
            return []
        if decision.kind is FragmentKind.DROP:
            return Refusal(str(decision.reason))
        if decision.kind is FragmentKind.FOLLOW:
            place = decision.verdict
            following: list[Whole] = []
        else:
            if is_error(header):
                place = Refusal("nat_protocol")  # nobody cuts one: it has 576 bytes at most
            else:
                place = self._place(side, packet, header, now)
            following = self._fragments.settle(header, place, side, now)
        if isinstance(place, Refusal):
            for waiting, _ in following:
                self._on_dead(place.reason, len(waiting))
            return place
        assert isinstance(place, tuple)
        whole = [(packet, header), *following]
        for piece, view in whole:
            readdress(piece, view, side, *place)
        return whole

    def _bury(self, dead: Sequence[DeadFragment]) -> None:
        for fragment in dead:
            self._on_dead(str(fragment.reason), len(fragment.packet))


def _text(address: bytes) -> str:
    a, b, c, d = address  # IPv4Address takes four times as long
    return f"{a}.{b}.{c}.{d}"
