"""What every simulated host sent, so that what arrives can be compared with it.

The virtual networks of one world may use the same addresses, so a packet alone does not tell where it comes
from. The ledger remembers each packet as its sender wrote it until it arrives; a packet that arrives must be one of
those, unchanged but for the fields that a router may touch (time to live and the IPv4 header checksum).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address
from itertools import chain
from typing import TypeAlias

from edge.proto.ip import TCP, Header, build_icmp_echo, echo, parse_untrusted
from edge.proto.ip.tcp import RST

MAX_PACKET_LIFE = 240.0
"""Seconds after which a packet that did not arrive never will: it may be forgotten.

A tunnel keeps packets while it tries to reach its peer, which is 90 s, and the PoP may do so once more.
"""

DUPLICATE_LIFE = 1.0
"""Seconds after its arrival in which a packet may arrive once more: networks do that, and it is no offence."""

MAX_FINDINGS = 100
"""Findings kept with their text; further ones are only counted."""


class Offence(StrEnum):
    """What a packet that nobody sent like this says about the network."""

    CROSSED = "crossed"  # sent in another virtual network
    REWRITTEN = "rewritten"  # sent in this one, with other addresses or ports
    FORGED = "forged"  # sent by nobody, or by somebody who does not own the source
    MISDELIVERED = "misdelivered"  # for an address that is not the receiver's


@dataclass(frozen=True, slots=True)
class Finding:
    """One packet that must not have arrived, as a sentence with names."""

    offence: Offence
    vnet: str
    host: str
    at: float
    text: str


_Sent: TypeAlias = tuple[float, str, int]
"""A packet on its way: when the last one like it was sent, by whom, and how many there are."""


class _Book:
    """What one virtual network has on its way, and what has arrived there, both by essence.

    Arrived are two generations: the present one and the one before, which is forgotten as a whole.
    """

    __slots__ = ("arrived", "before", "underway")

    def __init__(self) -> None:
        self.underway: dict[bytes, _Sent] = {}  # the last sent last
        self.arrived: dict[bytes, _Sent] = {}
        self.before: dict[bytes, _Sent] = {}

    def find(self, key: bytes) -> _Sent | None:
        return self.underway.get(key) or self.arrived.get(key) or self.before.get(key)

    def items(self) -> Iterable[tuple[bytes, _Sent]]:
        return chain(self.underway.items(), self.arrived.items(), self.before.items())

    def repeating(self, key: bytes, at: int) -> Iterator[bytes]:
        """What has the addresses of `key` and what it has from `at` on."""
        return (sent for sent, _ in self.items() if sent.endswith(key[at:]) and _same_addresses(sent, key))

    def arrive(self, key: bytes) -> bool:
        """A packet has come to its end; False if it, or as many as were equal, had before."""
        sent = self.underway.pop(key, None)
        if sent is None:
            return False
        self.arrived[key] = sent
        at, host, copies = sent
        if copies > 1:
            self.underway[key] = (at, host, copies - 1)
        return True

    def sweep(self, lost: float) -> None:
        """Forget what was sent before `lost`, and what arrived before the last sweep."""
        self.before, self.arrived = self.arrived, {}
        gone = []
        for key, (at, _, _) in self.underway.items():
            if at >= lost:
                break
            gone.append(key)
        for key in gone:
            del self.underway[key]


def _essence(packet: bytes | bytearray) -> bytes:
    """The packet with zeros for what a router changes (IPv4: TTL and checksum; IPv6: hop limit)."""
    copy = bytearray(packet)
    if copy[0] >> 4 == 4:
        copy[8] = copy[10] = copy[11] = 0
    else:
        copy[7] = 0
    return bytes(copy)


def _same_addresses(one: bytes, other: bytes) -> bool:
    at, end = (12, 20) if one[0] >> 4 == 4 else (8, 40)
    return one[0] >> 4 == other[0] >> 4 and one[at:end] == other[at:end]


def _same_flow(one: bytes, other: bytes) -> bool:
    """Whether two essences without options have equal addresses and ports: then one repeats the other."""
    at, ports = (12, 24) if one[0] >> 4 == 4 else (8, 44)
    return one[0] >> 4 == other[0] >> 4 and one[at:ports] == other[at:ports]


class Ledger:
    """One for each world; hosts write into it what they send and ask it about what they receive."""

    def __init__(self) -> None:
        self.sent_packets = 0
        self.received_packets = 0
        self.duplicates = 0
        self.offences: dict[Offence, int] = dict.fromkeys(Offence, 0)
        self.findings: list[Finding] = []
        self.unseen: Callable[[str], int] = _nothing
        """How many packets hosts of a virtual network have sent so far that nobody could write down here."""
        self.unjudged: dict[Offence, int] = dict.fromkeys(Offence, 0)
        """What would be offences, were it not for those."""
        self.routers: dict[str, set[bytes]] = {}
        """By virtual network, addresses that are no host's and answer pings."""
        self._books: dict[str, _Book] = {}  # by virtual network
        self._swept_at = 0.0

    def sent(self, vnet: str, host: str, packet: bytes | bytearray, now: float) -> None:
        """`host` of `vnet` puts `packet` on the wire."""
        self.sent_packets += 1
        if now >= self._swept_at + DUPLICATE_LIFE:
            self._sweep(now)
        book = self._books.get(vnet)
        if book is None:
            book = self._books[vnet] = _Book()
        key = _essence(packet)
        equal = book.underway.pop(key, None)
        book.underway[key] = (now, host, 1 if equal is None else equal[2] + 1)

    def received(self, vnet: str, host: str, packet: bytes | bytearray, now: float) -> Finding | None:
        """`host` of `vnet` got `packet`, a whole valid one; None if somebody in that network sent exactly this.

        None, too, if nobody can know.
        """
        self.received_packets += 1
        key = _essence(packet)
        book = self._books.get(vnet)
        if book is None:
            return self._investigate(vnet, host, key, packet, parse_untrusted(packet), now)
        if not book.arrive(key):
            if key not in book.arrived and key not in book.before:
                return self._investigate(vnet, host, key, packet, parse_untrusted(packet), now)
            self.duplicates += 1
        return None

    def _sweep(self, now: float) -> None:
        self._swept_at = now
        for book in self._books.values():
            book.sweep(now - MAX_PACKET_LIFE)

    def misdelivered(self, vnet: str, host: str, header: Header, now: float) -> Finding:
        """`host` got a packet for an address that it does not have."""
        text = f"{_flow(header)} reached {host}, which does not have that address"
        return self._report(Finding(Offence.MISDELIVERED, vnet, host, now, text))

    def _investigate(
        self, vnet: str, host: str, key: bytes, packet: bytes | bytearray, header: Header, now: float
    ) -> Finding | None:
        flow = _flow(header)
        if header.source in self.routers.get(vnet, ()) and self._pinged(vnet, host, packet, header, now):
            return None
        for other, book in self._books.items():
            if other != vnet and (entry := book.find(key)) is not None:
                text = f"{flow}, sent by {entry[1]} in vnet {other}, reached {host} in vnet {vnet}"
                return self._suspect(Finding(Offence.CROSSED, vnet, host, now, text))
        ports = 4 if header.protocol in (6, 17) else 0
        payload = bytes(packet[header.header_length + ports :])
        # The checksum covers the addresses: skip it too (UDP: length and checksum, the rest must be equal).
        tail = payload[4:] if header.protocol == 17 else payload
        if len(tail) >= 8:
            for other, book in self._books.items():
                for sent, entry in book.items():
                    if sent.endswith(tail) and not (other == vnet and _same_flow(sent, key)):
                        text = (
                            f"{flow} reached {host}, but {entry[1]} sent that with other addresses or ports"
                        )
                        offence = Offence.REWRITTEN if other == vnet else Offence.CROSSED
                        return self._suspect(Finding(offence, vnet, host, now, text))
        if header.tcp_flags & RST and self._asked(vnet, host, header):
            return None
        return self._suspect(
            Finding(
                Offence.FORGED,
                vnet,
                host,
                now,
                f"{flow} reached {host}, but nobody sent it, or not that often",
            )
        )

    def _pinged(self, vnet: str, host: str, packet: bytes | bytearray, header: Header, now: float) -> bool:
        """Whether this answers a ping of `host`, word for word. What its system wrote into the IP header besides the
        addresses is its own business."""
        answer = echo(packet, header)
        if answer is None or answer.is_request:
            return False
        request = build_icmp_echo(
            header.destination,
            header.source,
            ident=answer.ident,
            sequence=answer.sequence,
            payload=answer.payload,
        )
        book = self._books.get(vnet)
        if book is None:
            return False
        asked = _essence(request)
        candidates = chain([asked], book.repeating(asked, 20 if header.version == 4 else 40))
        key = next((key for key in candidates if (entry := book.find(key)) and entry[1] == host), None)
        if key is None:
            return False
        if not book.arrive(key):
            self.duplicates += 1
        return True

    def _asked(self, vnet: str, host: str, header: Header) -> bool:
        """Whether a reset answers a segment of `host`: a router that rejects a flow sends it in the other's name."""
        asked = (
            header.destination
            + header.source
            + header.destination_port.to_bytes(2, "big")
            + header.source_port.to_bytes(2, "big")
        )
        at, protocol = (12, 9) if header.version == 4 else (8, 6)  # in a packet without options
        book = self._books.get(vnet)
        return book is not None and any(
            entry[1] == host and key[protocol] == TCP and key[at : at + len(asked)] == asked
            for key, entry in book.items()
        )

    def _suspect(self, finding: Finding) -> Finding | None:
        """Nobody in that network has sent it, as far as is known."""
        if self.unseen(finding.vnet):
            self.unjudged[finding.offence] += 1
            return None
        return self._report(finding)

    def _report(self, finding: Finding) -> Finding:
        self.offences[finding.offence] += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
        return finding


def _nothing(vnet: str) -> int:
    return 0


def _flow(header: Header) -> str:
    source, destination = ip_address(header.source), ip_address(header.destination)
    if header.source_port or header.destination_port:
        return f"{source}:{header.source_port} -> {destination}:{header.destination_port}"
    return f"{source} -> {destination} (protocol {header.protocol})"
