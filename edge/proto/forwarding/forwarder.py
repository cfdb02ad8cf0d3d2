"""From ingress to egress: source check, flow, TTL, checksum, MTU. The third of the four verbs.

The fast path is one ``struct`` unpack, one dict lookup and a handful of integer operations per packet. It knows a
packet by its *shape*: fragment bits, TTL, protocol, addresses and ports together. A shape is cached per ingress
tunnel only after the slow path has found the packet valid, its source true and the flow allowed, so a hit implies all
of that. What the cache does not know goes the slow way: parse, source, fragments, ICMP, FIB, policy, hooks.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct, error
from typing import NamedTuple

from edge.proto.forwarding.attachment import CACHE_LIMIT, Attachment
from edge.proto.forwarding.flows import Direction, FlowEntry, FlowKey
from edge.proto.forwarding.policy import Action, Flow
from edge.proto.forwarding.vnet import VirtualNetwork
from edge.proto.ip import (
    ICMP,
    ICMPV6,
    MINIMUM_MTU,
    TCP,
    UDP,
    FragmentKind,
    Header,
    Unreachable,
    admin_prohibited,
    check_addresses,
    decrement_ttl,
    echo_identifier,
    echo_reply,
    fragment_ipv4,
    is_error,
    is_forbidden,
    packet_length,
    parse_untrusted,
    quoted_echo_identifier,
    quoted_untrusted,
    reported_mtu,
    tcp_reset,
    time_exceeded,
    too_big,
    unreachable,
)
from edge.proto.types import BadPacket, DropReason

ECHO_REQUEST, V6_ECHO_REQUEST = 8, 128

# version+IHL+TOS, total length, identification, fragment bits + TTL + protocol, checksum, both addresses, both ports
_unpack4 = Struct(">HHHIHQI").unpack_from
# version+class+flow label, payload length + next header + hop limit, addresses, both ports
_unpack6 = Struct(">IIQQQQI").unpack_from


class _Denial(NamedTuple):
    """Why the first fragment of a datagram died, and so do the others."""

    reason: DropReason
    rule: str


class Forwarder:
    """Forwards for all virtual networks of a PoP; all state is theirs, only the turn's output is here."""

    def __init__(self) -> None:
        self._touched: list[Attachment] = []

    def take(self) -> list[tuple[Attachment, list[bytearray]]]:
        """What was decided since the last call, grouped by egress tunnel, in order."""
        out = []
        for attachment in self._touched:
            pending = attachment.pending
            attachment.pending = []
            attachment.packets_out += len(pending)
            attachment.bytes_out += sum(map(len, pending))
            out.append((attachment, pending))
        self._touched.clear()
        return out

    def forward(self, runs: Iterable[tuple[Attachment, list[bytearray]]], now: float) -> None:
        """Decide every packet: it goes to an egress tunnel's list or dies counted. Changes packets in place.

        A run is what one tunnel brought at once, in order.
        """
        for ingress, packets in runs:
            generation = ingress.vnet.generation
            cache = ingress.cache
            octets_in = octets = count = mtu = minimum = 0
            last: Direction | None = (
                None  # packets come in trains of one flow: its counters are kept here meanwhile
            )
            last_bits = last_addresses = last_ports = -1
            egress = ingress
            append = egress.pending.append
            for packet in packets:
                try:
                    word0, total, ident, bits, check, addresses, ports = _unpack4(packet)
                except error:
                    octets_in += len(packet)
                    self._slow(ingress, packet, now)
                    continue
                if ports != last_ports or addresses != last_addresses or bits != last_bits:
                    direction = cache.get((bits, addresses, ports))
                    if direction is None or direction.generation != generation or direction.egress is None:
                        octets_in += self._forward_other(ingress, packet, now)
                        continue
                    if last is not None:
                        last.packets += count
                        last.bytes += octets
                        octets_in += octets
                        count = octets = 0
                    last = direction
                    last_bits, last_addresses, last_ports = bits, addresses, ports
                    mtu, minimum = direction.mtu, direction.minimum
                    egress = direction.egress
                size = len(packet)
                if (
                    word0 >> 8 != 0x45
                    or (word0 + total + ident + bits + check + addresses) % 65535
                    or total > mtu
                    or total < minimum
                    or total > size
                ):
                    octets_in += self._forward_other(ingress, packet, now)
                    continue
                # TTL - 1; the checksum grows by 0x0100 with end-around carry (RFC 1624 eqn 3).
                packet[8] -= 1
                if check < 0xFE00:
                    packet[10] += 1
                else:
                    check += 0x0100
                    check = (check & 0xFFFF) + (check >> 16)
                    if check == 0xFFFF:
                        check = 0
                    packet[10] = check >> 8
                    packet[11] = check & 0xFF
                if total != size:
                    del packet[total:]
                if not count:
                    if not egress.pending:
                        self._touched.append(egress)
                    append = egress.pending.append
                append(packet)
                octets += total
                count += 1
            if last is not None:
                last.packets += count
                last.bytes += octets
            ingress.packets_in += len(packets)
            ingress.bytes_in += octets_in + octets

    def _forward_other(self, ingress: Attachment, packet: bytearray, now: float) -> int:
        """What the IPv4 fast path does not know; returns the packet's length without padding."""
        if packet[0] >> 4 == 6:
            return self._forward6(ingress, packet, now)
        length = min(packet_length(packet), len(packet))
        self._slow(ingress, packet, now)
        return length

    def _forward6(self, ingress: Attachment, packet: bytearray, now: float) -> int:
        """The fast path for IPv6; returns the packet's length without padding."""
        try:
            _, word1, source_a, source_b, destination_a, destination_b, ports = _unpack6(packet)
        except error:
            self._slow(ingress, packet, now)
            return len(packet)
        total: int = (word1 >> 16) + 40
        direction = ingress.cache.get(
            (word1 & 0xFFFF, source_a, source_b, destination_a, destination_b, ports)
        )
        if (
            direction is None
            or direction.generation != ingress.vnet.generation
            or (egress := direction.egress) is None
            or total > direction.mtu
            or total < direction.minimum + 20
            or total > len(packet)
        ):
            self._slow(ingress, packet, now)
            return min(total, len(packet))
        packet[7] -= 1
        del packet[total:]
        direction.packets += 1
        direction.bytes += total
        self._emit(egress, packet)
        return total

    def originate(self, egress: Attachment, packet: bytearray) -> None:
        """Send a packet of the PoP's own."""
        egress.vnet.packets_generated += 1
        self._emit(egress, packet)

    # -- the slow path --

    def _slow(self, ingress: Attachment, packet: bytearray, now: float) -> None:
        vnet = ingress.vnet
        try:
            header = parse_untrusted(packet)
            del packet[header.total_length :]
            check_addresses(header)
            owner = vnet.owner(header.source)
            if (owner is not ingress and owner is not ingress.group) or header.source in vnet.gateways:
                raise BadPacket(DropReason.SPOOFED_SOURCE)
            if header.is_fragment:
                self._fragment(ingress, packet, header, now)
            else:
                self._decide(ingress, packet, header, now)
        except BadPacket as bad:
            vnet.drop(ingress, packet, bad.reason, bad.rule)

    def _decide(self, ingress: Attachment, packet: bytearray, header: Header, now: float) -> None:
        """An unfragmented packet with a true source."""
        vnet = ingress.vnet
        if header.destination in vnet.gateways:
            self._local(ingress, packet, header, now)
        if header.ttl <= 1:
            if own := self._own(vnet, header):
                self._answer(ingress, time_exceeded(packet, header, own), now)
            raise BadPacket(DropReason.TTL_EXCEEDED)
        if is_forbidden(header):
            raise BadPacket(DropReason.ICMP_FORBIDDEN)
        if is_error(header):
            self._forward_error(ingress, packet, header)
            return
        direction = self._direction(ingress, packet, header, now)
        egress = self._allowed(ingress, direction, packet, header, now)
        if header.total_length <= direction.mtu:
            self._remember(ingress, packet, header, direction)
        direction.packets += 1
        direction.bytes += header.total_length
        self._egress(ingress, egress, packet, header, now)

    def _direction(self, ingress: Attachment, packet: bytearray, header: Header, now: float) -> Direction:
        """Find or make the flow entry and bring it to the present generation."""
        vnet = ingress.vnet
        key = flow_key(packet, header)
        direction = vnet.flows.find(key)
        if direction is not None and direction.generation == vnet.generation:
            return direction
        if direction is not None:
            entry = direction.flow
            vnet.flows.remove(entry)
            if vnet.owner(entry.key[1]) is entry.initiator and self._settle(vnet, entry):
                vnet.flows.add(entry)
                return direction
            # Whoever began it no longer owns the address, or one end has no route: this packet begins a new flow.
        initiator, target = vnet.owner(header.source), vnet.owner(header.destination)
        assert initiator is not None
        if target is None:
            if own := self._own(vnet, header):
                self._answer(ingress, unreachable(packet, header, own, Unreachable.NO_ROUTE), now)
            raise BadPacket(DropReason.NO_ROUTE)
        if target.group is ingress.group:
            raise BadPacket(DropReason.HAIRPIN)
        entry = FlowEntry(key, initiator, (header.icmp_type, header.icmp_code), now)
        self._settle(vnet, entry)
        if not vnet.flows.add(entry):
            raise BadPacket(DropReason.FLOW_LIMIT)
        return entry.forward

    @staticmethod
    def _settle(vnet: VirtualNetwork, entry: FlowEntry) -> bool:
        """Decide a flow under the present policy and routes. False if it has no route any more."""
        protocol, source, source_port, destination, destination_port = entry.key
        initiator = entry.initiator
        target = vnet.owner(destination)
        if target is None or target.group is initiator.group:
            return False
        is_icmp = protocol in (ICMP, ICMPV6)
        entry.verdict = vnet.policy.decide(
            Flow(
                vnet=vnet.name,
                protocol=protocol,
                source=source,
                destination=destination,
                source_port=0 if is_icmp else source_port,
                destination_port=0 if is_icmp else destination_port,
                icmp_type=entry.icmp[0],
                icmp_code=entry.icmp[1],
                ingress=initiator.party,
                egress=target.party,
            )
        )
        allowed = entry.verdict.action is Action.ALLOW
        entry.both = entry.both or allowed
        for direction, towards in ((entry.forward, target), (entry.reverse, initiator)):
            direction.egress = towards.egress if allowed else None
            direction.mtu = towards.mtu
            direction.generation = vnet.generation
        return True

    def _allowed(
        self, ingress: Attachment, direction: Direction, packet: bytearray, header: Header, now: float
    ) -> Attachment:
        """The egress of an allowed flow; otherwise the packet dies here, and `reject` tells its sender."""
        if direction.egress is not None:
            return direction.egress
        verdict = direction.flow.verdict
        if verdict.action is Action.ALLOW:
            raise BadPacket(DropReason.TUNNEL_DOWN)  # to a site of which no replica is alive
        if verdict.action is Action.REJECT:
            if header.protocol == TCP and not header.is_fragment:
                self._answer(ingress, tcp_reset(packet, header), now)
            elif own := self._own(ingress.vnet, header):
                self._answer(ingress, admin_prohibited(packet, header, own), now)
        raise BadPacket(verdict.reason or DropReason.POLICY_BLOCKED, rule=verdict.rule)

    def _egress(
        self, ingress: Attachment, egress: Attachment, packet: bytearray, header: Header, now: float
    ) -> None:
        """Size, TTL, out."""
        if len(packet) <= egress.mtu:
            decrement_ttl(packet)
            self._emit(egress, packet)
            return
        if header.version == 6 or header.dont_fragment:
            if own := self._own(ingress.vnet, header):
                self._answer(ingress, too_big(packet, header, own, egress.mtu), now)
            raise BadPacket(DropReason.TOO_BIG)
        decrement_ttl(packet)
        pieces = fragment_ipv4(packet, egress.mtu)
        ingress.vnet.packets_generated += len(pieces) - 1
        for piece in pieces:
            self._emit(egress, piece)

    def _emit(self, egress: Attachment, packet: bytearray) -> None:
        if not egress.pending:
            self._touched.append(egress)
        egress.pending.append(packet)

    @staticmethod
    def _remember(ingress: Attachment, packet: bytearray, header: Header, direction: Direction) -> None:
        """Let the fast path know this shape: TCP and UDP without options or extension headers."""
        if header.protocol not in (TCP, UDP):
            return
        cache = ingress.cache
        if len(cache) >= CACHE_LIMIT:
            cache.clear()
        if header.version == 4:
            if header.header_length == 20:
                _, _, _, bits, _, addresses, ports = _unpack4(packet)
                cache[bits, addresses, ports] = direction
        elif header.header_length == 40:
            _, word1, source_a, source_b, destination_a, destination_b, ports = _unpack6(packet)
            cache[word1 & 0xFFFF, source_a, source_b, destination_a, destination_b, ports] = direction

    # -- fragments --

    def _fragment(self, ingress: Attachment, packet: bytearray, header: Header, now: float) -> None:
        """The first fragment is decided like a packet; the others share its fate (RFC 1858, RFC 5722)."""
        vnet = ingress.vnet
        decision = vnet.fragments.admit(packet, header, ingress, now)
        vnet.count_dead(decision.dead)
        if decision.kind is FragmentKind.DROP:
            raise BadPacket(decision.reason or DropReason.OTHER)
        if decision.kind is FragmentKind.HELD:
            return
        if decision.kind is FragmentKind.FOLLOW:
            self._follow(ingress, decision.verdict, packet, header, now)
            return
        fate: _Denial | Direction
        try:
            if header.ttl <= 1:
                if own := self._own(vnet, header):
                    self._answer(ingress, time_exceeded(packet, header, own), now)
                raise BadPacket(DropReason.TTL_EXCEEDED)
            if header.destination in vnet.gateways:
                raise BadPacket(DropReason.LOCAL)
            if is_error(header) or is_forbidden(header):
                raise BadPacket(DropReason.ICMP_FORBIDDEN)
            direction = self._direction(ingress, packet, header, now)
            self._allowed(ingress, direction, packet, header, now)
            fate = direction
        except BadPacket as bad:
            fate = _Denial(bad.reason, bad.rule)
        self._follow_counted(ingress, fate, packet, header, now)
        for later, later_header in vnet.fragments.settle(header, fate, ingress, now):
            self._follow_counted(ingress, fate, later, later_header, now)

    def _follow_counted(
        self, ingress: Attachment, fate: object, packet: bytearray, header: Header, now: float
    ) -> None:
        try:
            self._follow(ingress, fate, packet, header, now)
        except BadPacket as bad:
            ingress.vnet.drop(ingress, packet, bad.reason, bad.rule)

    def _follow(
        self, ingress: Attachment, fate: object, packet: bytearray, header: Header, now: float
    ) -> None:
        if isinstance(fate, _Denial):
            raise BadPacket(fate.reason, rule=fate.rule)
        assert isinstance(fate, Direction)
        if fate.egress is None or fate.generation != ingress.vnet.generation:
            raise BadPacket(DropReason.FRAGMENT_ORPHAN)  # the decision changed under the datagram
        if header.ttl <= 1:
            raise BadPacket(DropReason.TTL_EXCEEDED)
        fate.packets += 1
        fate.bytes += header.total_length
        self._egress(ingress, fate.egress, packet, header, now)

    # -- ICMP --

    def _forward_error(self, ingress: Attachment, packet: bytearray, header: Header) -> None:
        """Pass an ICMP error only if it is about a live flow of this network that goes to its sender (RFC 5927)."""
        vnet = ingress.vnet
        quoted = quoted_untrusted(packet, header)
        assert quoted is not None
        direction = vnet.flows.find(_quoted_key(packet, header, quoted))
        if direction is None or direction.generation != vnet.generation or direction.egress is None:
            raise BadPacket(DropReason.ICMP_UNSOLICITED)
        target = vnet.owner(quoted.destination)
        if target is not ingress and target is not ingress.group:
            raise BadPacket(DropReason.ICMP_UNSOLICITED)
        claimed = reported_mtu(packet, header)
        if claimed is not None and claimed < MINIMUM_MTU[header.version]:
            raise BadPacket(DropReason.ICMP_UNSOLICITED)  # forged or broken
        owner = vnet.owner(header.destination)
        if owner is None:
            raise BadPacket(DropReason.NO_ROUTE)
        egress = owner.egress
        if egress is None:
            raise BadPacket(DropReason.TUNNEL_DOWN)
        if len(packet) > egress.mtu:
            raise BadPacket(DropReason.TOO_BIG)  # and no error about an error
        decrement_ttl(packet)
        self._emit(egress, packet)

    def _local(self, ingress: Attachment, packet: bytearray, header: Header, now: float) -> None:
        """To the PoP itself: it answers pings on its gateway address, takes answers to its own, and nothing else."""
        if ingress.replica is not None:
            ingress.replica.handle_echo(packet, header, now)
        self._answer(ingress, echo_reply(packet, header), now)
        raise BadPacket(DropReason.LOCAL)

    def _answer(self, ingress: Attachment, answer: bytearray | None, now: float) -> None:
        """Send something of our own back to where a packet came from, within the tunnel's rate."""
        if answer is None or len(answer) > ingress.mtu or not ingress.icmp_rate.allow(now):
            return
        ingress.vnet.packets_generated += 1
        self._emit(ingress, answer)

    @staticmethod
    def _own(vnet: VirtualNetwork, header: Header) -> bytes | None:
        return vnet.gateway4 if header.version == 4 else vnet.gateway6


def flow_key(packet: bytearray, header: Header) -> FlowKey:
    """The conversation that a packet belongs to."""
    if header.protocol in (ICMP, ICMPV6):
        return _icmp_key(header, echo_identifier(packet, header))
    return header.protocol, header.source, header.source_port, header.destination, header.destination_port


def _quoted_key(packet: bytearray, header: Header, quoted: Header) -> FlowKey:
    """The flow that an ICMP error speaks about."""
    if quoted.protocol in (ICMP, ICMPV6):
        return _icmp_key(quoted, quoted_echo_identifier(packet, header, quoted))
    return quoted.protocol, quoted.source, quoted.source_port, quoted.destination, quoted.destination_port


def _icmp_key(header: Header, identifier: int | None) -> FlowKey:
    """A ping and its answers are one conversation (RFC 5508 3.1), which only requests of its own side continue.

    The identifier stands where a client's port would: the answer's key is the request's reversed, while a request
    from the other side is another flow. Every other type is a conversation of its own, beyond the identifiers.
    """
    if identifier is None:
        port = 0x10000 + header.icmp_type
        return header.protocol, header.source, port, header.destination, port
    if header.icmp_type in (ECHO_REQUEST, V6_ECHO_REQUEST):
        return header.protocol, header.source, identifier, header.destination, 0x10000
    return header.protocol, header.source, 0x10000, header.destination, identifier
