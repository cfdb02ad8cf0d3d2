"""What every simulated host sent, so that what arrives can be compared with it.

The virtual networks of one world may use the same addresses, so a packet alone does not tell where it comes
from. The ledger remembers each packet as its sender wrote it until it arrives; a packet that arrives must be one of
those, unchanged but for the fields that a router may touch (time to live and the IPv4 header checksum).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address

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


class _Sent:
    """One packet on its way, or several that are equal; `at` is when the last was sent, or all had arrived."""

    __slots__ = ("at", "copies", "host")

    def __init__(self, at: float, host: str) -> None:
        self.at = at
        self.host = host
        self.copies = 1


def _essence(packet: bytes | bytearray) -> bytes:
    """The packet without what a router changes (IPv4: TTL and checksum; IPv6: hop limit)."""
    if packet[0] >> 4 == 4:
        return bytes(packet[:8] + packet[9:10] + packet[12:])
    return bytes(packet[:7] + packet[8:])


def _same_flow(one: bytes, other: bytes) -> bool:
    """Whether two essences without options have equal addresses and ports: then one repeats the other."""
    at, ports = (9, 21) if one[0] >> 4 == 4 else (7, 43)
    return one[0] >> 4 == other[0] >> 4 and one[at:ports] == other[at:ports]


class Ledger:
    """One for each world; hosts write into it what they send and ask it about what they receive."""

    def __init__(self) -> None:
        self.sent_packets = 0
        self.received_packets = 0
        self.duplicates = 0
        self.offences: dict[Offence, int] = dict.fromkeys(Offence, 0)
        self.findings: list[Finding] = []
        self.received_by_vnet: dict[str, int] = {}
        self.routers: dict[str, bytes] = {}
        """By virtual network, an address that is no host's and answers pings."""
        self._sent: dict[str, dict[bytes, _Sent]] = {}  # what has not arrived yet
        self._swept_at = 0.0

    def sent(self, vnet: str, host: str, packet: bytes | bytearray, now: float) -> None:
        """`host` of `vnet` puts `packet` on the wire."""
        self.sent_packets += 1
        if now >= self._swept_at + DUPLICATE_LIFE:
            self._sweep(now)
        way = self._sent.get(vnet)
        if way is None:
            way = self._sent[vnet] = {}
        key = _essence(packet)
        equal = way.get(key)
        if equal is None:
            way[key] = _Sent(now, host)
        else:
            equal.at, equal.host = now, host  # the latest
            equal.copies += 1

    def received(self, vnet: str, host: str, packet: bytes | bytearray, now: float) -> Finding | None:
        """`host` of `vnet` got `packet`, a whole valid one; None if somebody in that network sent exactly this."""
        self.received_packets += 1
        self.received_by_vnet[vnet] = self.received_by_vnet.get(vnet, 0) + 1
        key = _essence(packet)
        way = self._sent.get(vnet)
        entry = None if way is None else way.get(key)
        if way is None or entry is None:
            return self._investigate(vnet, host, key, packet, parse_untrusted(packet), now)
        if entry.copies:
            entry.copies -= 1
            if not entry.copies:
                entry.at = now
        else:
            self.duplicates += 1
        return None

    def _sweep(self, now: float) -> None:
        """Forget what can arrive no more, and what has arrived."""
        self._swept_at = now
        lost, arrived = now - MAX_PACKET_LIFE, now - DUPLICATE_LIFE
        for vnet, way in self._sent.items():
            self._sent[vnet] = {
                key: entry for key, entry in way.items() if entry.at >= (lost if entry.copies else arrived)
            }

    def misdelivered(self, vnet: str, host: str, header: Header, now: float) -> Finding:
        """`host` got a packet for an address that it does not have."""
        text = f"{_flow(header)} reached {host}, which does not have that address"
        return self._report(Finding(Offence.MISDELIVERED, vnet, host, now, text))

    def _investigate(
        self, vnet: str, host: str, key: bytes, packet: bytes | bytearray, header: Header, now: float
    ) -> Finding | None:
        flow = _flow(header)
        if header.source == self.routers.get(vnet) and self._pinged(vnet, host, packet, header, now):
            return None
        for other, entries in self._sent.items():
            if other != vnet and (entry := entries.get(key)) is not None:
                text = f"{flow}, sent by {entry.host} in vnet {other}, reached {host} in vnet {vnet}"
                return self._report(Finding(Offence.CROSSED, vnet, host, now, text))
        ports = 4 if header.protocol in (6, 17) else 0
        payload = bytes(packet[header.header_length + ports :])
        # The checksum covers the addresses: skip it too (UDP: length and checksum, the rest must be equal).
        tail = payload[4:] if header.protocol == 17 else payload
        if len(tail) >= 8:
            for other, entries in self._sent.items():
                for sent, entry in entries.items():
                    if sent.endswith(tail) and not (other == vnet and _same_flow(sent, key)):
                        text = (
                            f"{flow} reached {host}, but {entry.host} sent that with other addresses or ports"
                        )
                        offence = Offence.REWRITTEN if other == vnet else Offence.CROSSED
                        return self._report(Finding(offence, vnet, host, now, text))
        if header.tcp_flags & RST and self._asked(vnet, host, header):
            return None
        return self._report(
            Finding(
                Offence.FORGED,
                vnet,
                host,
                now,
                f"{flow} reached {host}, but nobody sent it, or not that often",
            )
        )

    def _pinged(self, vnet: str, host: str, packet: bytes | bytearray, header: Header, now: float) -> bool:
        """Whether this answers a ping of `host`, word for word."""
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
        entry = self._sent.get(vnet, {}).get(_essence(request))
        if entry is None or entry.host != host:
            return False
        if entry.copies:
            entry.copies -= 1
            entry.at = now
        else:
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
        at, protocol = (9, 8) if header.version == 4 else (7, 6)  # in the essence of a packet without options
        return any(
            entry.host == host and key[protocol] == TCP and key[at : at + len(asked)] == asked
            for key, entry in self._sent.get(vnet, {}).items()
        )

    def _report(self, finding: Finding) -> Finding:
        self.offences[finding.offence] += 1
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
        return finding


def _flow(header: Header) -> str:
    source, destination = ip_address(header.source), ip_address(header.destination)
    if header.source_port or header.destination_port:
        return f"{source}:{header.source_port} -> {destination}:{header.destination_port}"
    return f"{source} -> {destination} (protocol {header.protocol})"
