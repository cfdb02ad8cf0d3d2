"""The Internet between the far ends of tunnels and the PoP, for IP packets: a path each, and a NAT in front of some.

The counterpart of the simulated underlay for kernels that send: the same links, NATs, firewalls and black holes act on
a packet in the same order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, ip_address
from struct import Struct
from typing import TypeAlias

from edge.proto.ip import ICMP, ICMPV6, TCP, UDP, Header, is_ordinary, parse_untrusted
from edge.proto.types import NEVER, BadPacket
from scenarios.proto.in_flight import InFlight, Way
from scenarios.proto.link import flip
from scenarios.proto.link_pair import LinkPair
from scenarios.proto.napt import Napt, Refusal, Whole
from scenarios.proto.nat import Nat
from scenarios.proto.readdress import clamp_mss, flip_payload

POP = "edge"
"""The PoP among the devices; no far end has this name."""

FIRST_ADDRESS = "198.18.0.2"
"""Of those for benchmarks (RFC 2544): nobody has them."""

INSIDE_ADDRESS = "192.168.1.2"
"""Of everybody who is behind a NAT."""

MakeNat: TypeAlias = Callable[[str], Nat | None]
"""The NAT of a far end, given its public address; None if there is none in front of it."""

Lost: TypeAlias = Callable[[str, str, str, str, int], None]
"""Told what is lost beside links, firewalls and black holes: far end and its virtual network (both empty if it is
nobody's), reason, way, size. As elsewhere, the size of a UDP datagram is that of its payload."""

_CARRIED = frozenset({UDP, TCP, ICMP, ICMPV6})
_UDP_HEADER = 8
_SYN = 0x02
_VIEW = Struct("!BxH5xBxx4s4s")


class FarEnd:
    """One side of a path. `address` is that of its device, `public` what the PoP sees."""

    def __init__(self, name: str, vnet: str, path: LinkPair, make_nat: MakeNat) -> None:
        self.name = name
        self.vnet = vnet
        self.path = path
        self.make_nat = make_nat
        self.napt: Napt | None = None
        self.address = self.public = b""
        self.up = Way(self, path.up, up=True)
        self.down = Way(self, path.down, up=False)  # to the address that it has now

    @property
    def is_open(self) -> bool:
        """Whether no firewall and no black hole looks at packets."""
        return self.path.swallow is None and not self.path.blocked


class Internet:
    """Carries packets between the device of each far end and that of the PoP. `now` never goes back.

    Whoever has called ``from_end`` or ``from_pop`` calls ``poll``, and again at ``poll_timeout``. It takes packets over
    and may change them. Only UDP, TCP and ICMP pass, and nothing between far ends.
    """

    def __init__(self, on_lost: Lost | None = None) -> None:
        self.on_lost = on_lost
        self.counters: Counter[str] = Counter()
        """Packets that were lost, by reason; what the links, firewalls and black holes of a path take, those count."""
        self.carried: Counter[str] = Counter()
        """Packets by the device that they went into."""
        self._ends: dict[str, FarEnd] = {}
        self._by_public: dict[bytes, FarEnd] = {}
        self._pop: frozenset[bytes] = frozenset()
        self._next_address = IPv4Address(FIRST_ADDRESS)
        self._in_flight: InFlight[FarEnd] = InFlight()
        self._out: dict[str, list[bytearray]] = {}

    # -- addresses

    def attach_pop(self, addresses: Iterable[str]) -> None:
        """The PoP has these, instead of any that it had."""
        self._pop = frozenset(ip_address(address).packed for address in addresses)

    def attach(self, name: str, path: LinkPair, nat: MakeNat, *, vnet: str = "") -> str:
        """A far end; returns the address of its device: one of its own, or INSIDE_ADDRESS behind a NAT."""
        if name == POP or name in self._ends:
            raise ValueError(f"{name} is attached already")
        end = self._ends[name] = FarEnd(name, vnet, path, nat)
        return self._place(end)

    def detach(self, name: str) -> None:
        """It is gone. What is on its way to it is lost."""
        end = self._ends.pop(name)
        del self._by_public[end.public]
        self._leave(end)

    def roam(self, name: str) -> str:
        """Another access network: a new address, and a new NAT if there was one; returns what ``attach`` does.

        The old address is nobody's: what is on its way to it, and what still comes from it, is lost.
        """
        end = self._ends[name]
        del self._by_public[end.public]
        self._leave(end)
        return self._place(end)

    def rebind(self, name: str) -> None:
        """The NAT in front of it forgets its mappings, as after a reboot; nothing happens without one."""
        napt = self._ends[name].napt
        if napt is not None:
            napt.rebind()

    def address(self, name: str) -> str:
        """What the PoP sees: its own address, or its NAT's."""
        return str(ip_address(self._ends[name].public))

    def _place(self, end: FarEnd) -> str:
        while self._next_address.packed in self._pop:
            self._next_address += 1
        host = str(self._next_address)
        self._next_address += 1
        napt = Napt.of(
            lambda: end.make_nat(host), INSIDE_ADDRESS, lambda reason, size: self._lose(end, "", reason, size)
        )
        address = host if napt is None else INSIDE_ADDRESS
        end.napt = napt
        end.address, end.public = ip_address(address).packed, ip_address(host).packed
        self._by_public[end.public] = end
        return address

    @staticmethod
    def _leave(end: FarEnd) -> None:
        """What is on its way there will not find it."""
        end.down = Way(end, end.path.down, up=False)

    # -- packets

    def from_end(self, name: str, packets: Iterable[bytearray], now: float) -> None:
        """What came out of the device of a far end."""
        self._release(now)
        end = self._ends.get(name)
        if end is None:
            return
        is_plain = end.napt is None and end.is_open
        going: list[bytearray] = []
        for packet in packets:
            if is_plain and (ends := _simple(packet)) and ends[0] == end.address and ends[1] in self._pop:
                going.append(packet)
            else:
                going += self._leaving(end, packet, now)
        self._carry(end.up, going, now)

    def from_pop(self, packets: Iterable[bytearray], now: float) -> None:
        """What came out of the device of the PoP."""
        self._release(now)
        way: Way[FarEnd] | None = None
        going: list[bytearray] = []  # that way
        for packet in packets:
            ends = _simple(packet)
            end = self._by_public.get(ends[1]) if ends else None
            if end is None or not end.is_open or ends is None or ends[0] not in self._pop:
                end = self._addressed(packet)
            if end is None:
                continue
            if way is not end.down:
                if way is not None:
                    self._carry(way, going, now)
                way, going = end.down, []
            going.append(packet)
        if way is not None:
            self._carry(way, going, now)

    def poll(self, now: float) -> list[tuple[str, list[bytearray]]]:
        """What goes into the devices now: name or POP, packets in order."""
        self._release(now)
        out, self._out = self._out, {}
        for name, packets in out.items():
            self.carried[name] += len(packets)
        return list(out.items())

    def poll_timeout(self) -> float:
        """When ``poll`` has something; NEVER if nothing is on its way."""
        return -NEVER if self._out else self._in_flight.due

    @property
    def in_flight(self) -> int:
        """Packets on their way, all paths together."""
        return self._in_flight.packets

    # -- who may go

    def _leaving(self, end: FarEnd, packet: bytearray, now: float) -> Sequence[bytearray]:
        """What of a packet gets onto the path to the PoP; more than one if fragments waited for it."""
        header = self._parse(end, "up", packet)
        if header is None:
            return ()
        if header.source != end.address:
            # RFC 2827: no access network lets that out. Connections from before a change of address do it.
            self._lose_packet(end, "up", "spoofed_source", packet)
            return ()
        whole: Sequence[Whole] = [(packet, header)]
        if end.napt is not None:
            outcome = end.napt.outbound(packet, header, now)
            if isinstance(outcome, Refusal):
                self._lose_packet(end, "up", outcome.reason, packet)
                if outcome.answer is not None:
                    self._out.setdefault(end.name, []).append(outcome.answer)
                return ()
            whole = outcome
        going = []
        for piece, view in whole:
            if view.destination not in self._pop:
                self._lose_packet(end, "up", "no_such_address", piece)
            elif _passes(end.path, piece, view, view.destination_port):
                going.append(piece)
        return going

    def _addressed(self, packet: bytearray) -> FarEnd | None:
        """The far end that gets a packet of the PoP, if it gets onto the path."""
        header = self._parse(None, "down", packet)
        if header is None:
            return None
        end = self._by_public.get(header.destination)
        if header.source not in self._pop:
            self._lose_packet(end, "down", "spoofed_source", packet)
        elif end is None:
            self._lose_packet(None, "down", "no_such_address", packet)
        elif _passes(end.path, packet, header, header.source_port):
            return end
        return None

    def _parse(self, end: FarEnd | None, way: str, packet: bytearray) -> Header | None:
        """The view of a packet that a router would carry; padding goes."""
        try:
            header = parse_untrusted(packet)
        except BadPacket:
            self._lose(end, way, "malformed", len(packet))
            return None
        del packet[header.total_length :]
        known = header.destination in self._pop or header.destination in self._by_public
        if not known and not is_ordinary(header):
            # Neighbours and groups: every kernel looks for them, nobody is there, and no trace needs to know.
            self.counters["link_local"] += 1
            return None
        if header.protocol not in _CARRIED:
            self._lose_packet(end, way, "unknown_protocol", packet)
            return None
        return header

    # -- the way

    def _carry(self, way: Way[FarEnd], packets: list[bytearray], now: float) -> None:
        link = way.link
        if not packets:
            return
        if link.clear(now):
            link.pass_through(len(packets), sum(map(len, packets)))
            self._arrive(way, packets, now)
            return
        together: list[bytearray] = []
        when = now
        for packet in packets:
            arrivals = link.carry(len(packet), now)
            copies = [packet] if len(arrivals) < 2 else [packet, bytearray(packet)]  # a NAT changes each
            for (at, corrupt), copy in zip(arrivals, copies, strict=False):
                if together and at != when:
                    self._send(way, when, together)
                    together = []
                when = at
                together.append(copy if corrupt is None else _damaged(copy, corrupt))
        if together:
            self._send(way, when, together)
        self._release(now)

    def _send(self, way: Way[FarEnd], at: float, packets: list[bytearray]) -> None:
        if not self._in_flight.push(at, way, packets):
            for packet in packets:
                self._lose_packet(way.end, "up" if way.up else "down", "queue_full", packet)

    def _release(self, now: float) -> None:
        while (batch := self._in_flight.pop(now)) is not None:
            self._arrive(*batch, now)

    def _arrive(self, way: Way[FarEnd], packets: list[bytearray], now: float) -> None:
        end = way.end
        if way.up:
            self._out.setdefault(POP, []).extend(packets)
        elif way is not end.down:
            for packet in packets:
                self._lose_packet(end, "down", "no_such_address", packet)
        elif end.napt is None:
            self._out.setdefault(end.name, []).extend(packets)
        else:
            out = self._out.setdefault(end.name, [])
            for packet in packets:
                out += self._entering(end, end.napt, packet, now)
            if not out:
                del self._out[end.name]

    def _entering(self, end: FarEnd, napt: Napt, packet: bytearray, now: float) -> Sequence[bytearray]:
        """What of a packet gets through the NAT."""
        header = self._parse(end, "down", packet)
        if header is None:
            return ()
        outcome = napt.inbound(packet, header, now)
        if isinstance(outcome, Refusal):
            self._lose_packet(end, "down", outcome.reason, packet)
            return ()
        return [piece for piece, _ in outcome]

    # -- losses

    def _lose_packet(self, end: FarEnd | None, way: str, reason: str, packet: bytearray) -> None:
        ends_in_udp = len(packet) >= 28 and packet[0] == 0x45 and packet[9] == UDP
        self._lose(end, way, reason, len(packet) - (28 if ends_in_udp else 0))

    def _lose(self, end: FarEnd | None, way: str, reason: str, size: int) -> None:
        self.counters[reason] += 1
        if self.on_lost is not None:
            name, vnet = ("", "") if end is None else (end.name, end.vnet)
            self.on_lost(name, vnet, reason, way, size)


def _simple(packet: bytearray) -> tuple[bytes, bytes] | None:
    """Source and destination of an IPv4 packet whose header needs no closer look; the kernel that gets it has one."""
    if len(packet) < 34:
        return None
    first, total, protocol, source, destination = _VIEW.unpack_from(packet)
    if first != 0x45 or total != len(packet):
        return None
    if protocol in (UDP, ICMP) or (protocol == TCP and not packet[33] & _SYN):
        return source, destination
    return None


def _passes(path: LinkPair, packet: bytearray, header: Header, port: int) -> bool:
    """Whether neither a firewall nor a black hole takes it; `port` is the PoP's. A later fragment has none."""
    if header.protocol == UDP and not header.fragment_offset:
        if path.swallow is None and not path.blocked:
            return True
        payload = bytes(memoryview(packet)[header.header_length + _UDP_HEADER :])
        return path.admits("udp", port, [payload]) and bool(
            path.passing([payload], len(packet) - len(payload))
        )
    if header.protocol == TCP:
        if not path.admits("tcp", port, [packet]):
            return False
        if header.tcp_flags & _SYN and (mtu := path.mtu) is not None:
            # The simulated far end's TCP knows the MTU of its path. A kernel has to be told, and nobody tells UDP.
            clamp_mss(packet, header, mtu)
    return path.passes(packet)


def _damaged(packet: bytearray, bit: int) -> bytearray:
    """A bit is flipped, as on the other fabrics: in what a program gets of a datagram, anywhere in other packets.

    The checksum of UDP follows, or the kernel would turn every damage into a loss and no program ever met one. That of
    TCP does not: it is the kernel's to notice, and to send the segment again.
    """
    try:
        header = parse_untrusted(packet)
    except BadPacket:
        return bytearray(flip(packet, bit))
    return packet if flip_payload(packet, header, bit) else bytearray(flip(packet, bit))
