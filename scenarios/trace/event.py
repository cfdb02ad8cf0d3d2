"""What happened, one line of a trace: plain data without ciphertext and without payload."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address
from typing import NamedTuple
from zlib import crc32

from edge.proto.ip import ICMP, ICMPV6, TCP, UDP, Header

EDGE = "edge"
"""The PoP among the places."""


class Kind(StrEnum):
    """Of an event. The first ones are about packets, in the order of a packet's life."""

    SENT = "sent"  # by a host
    OPENED = "opened"  # came out of a tunnel at the PoP
    FORWARDED = "forwarded"  # decided, towards a tunnel
    GENERATED = "generated"  # by the PoP itself: an answer, a piece of a packet
    HELD = "held"  # a fragment that waits for its first one
    DIVIDED = "divided"  # cut into pieces
    DROPPED = "dropped"  # with reason and rule
    RECEIVED = "received"  # by a host
    LOST = "lost"  # a datagram on the way between a tunnel's far end and the PoP
    REFUSED = "refused"  # datagrams that the PoP did not take for a packet
    TUNNEL = "tunnel"  # handshakes and what else changes about a tunnel
    FAULT = "fault"
    STEP = "step"
    CALL = "call"
    REGISTRATION = "registration"


class Event(NamedTuple):
    """`at` is seconds since the run began; empty strings and zeros are what an event does not have."""

    at: float
    kind: str
    place: str  # host, site, EDGE, or tunnel for what is lost on its path
    tunnel: str = ""
    vnet: str = ""
    protocol: int = 0
    source: str = ""
    sport: int = 0
    destination: str = ""
    dport: int = 0
    length: int = 0  # of the IP packet; of what is lost: of the outer datagram
    reason: str = ""
    rule: str = ""
    detail: str = ""
    check: int = 0
    """Over the packet but for TTL and header checksum: the same at every place that a packet passes."""


PROTOCOLS = {ICMP: "ICMP", TCP: "TCP", UDP: "UDP", ICMPV6: "ICMPv6"}
_ICMP_NAMES = {
    (ICMP, 0): "echo reply",
    (ICMP, 3): "unreachable",
    (ICMP, 8): "echo request",
    (ICMP, 11): "time exceeded",
    (ICMPV6, 1): "unreachable",
    (ICMPV6, 2): "too big",
    (ICMPV6, 3): "time exceeded",
    (ICMPV6, 128): "echo request",
    (ICMPV6, 129): "echo reply",
}
_FLAGS = ((0x02, "SYN"), (0x01, "FIN"), (0x04, "RST"), (0x08, "PSH"), (0x10, "ACK"))
_SIP = b"SIP/2.0"
_LONGEST = 80  # characters of a SIP start line


def packet_event(
    at: float, kind: Kind, place: str, vnet: str, packet: bytes, header: Header | None, *, tunnel: str = ""
) -> Event:
    """What there is to say about a packet; `header` is None if it cannot be read."""
    if header is None:
        return Event(at, kind.value, place, tunnel, vnet, length=len(packet), check=crc32(packet))
    return Event(
        at,
        kind.value,
        place,
        tunnel,
        vnet,
        header.protocol,
        str(ip_address(header.source)),
        header.source_port,
        str(ip_address(header.destination)),
        header.destination_port,
        len(packet),
        "",
        "",
        _about(packet, header),
        _check(packet),
    )


def _check(packet: bytes) -> int:
    if packet[0] >> 4 == 4:
        return crc32(packet[12:], crc32(packet[9:10], crc32(packet[:8])))
    return crc32(packet[8:], crc32(packet[:7]))


def _about(packet: bytes, header: Header) -> str:
    """The first word about what is inside."""
    if header.is_fragment:
        return f"fragment at {header.fragment_offset}"
    if header.protocol in (ICMP, ICMPV6):
        name = _ICMP_NAMES.get((header.protocol, header.icmp_type))
        return name or f"type {header.icmp_type} code {header.icmp_code}"
    if header.protocol == TCP:
        return " ".join(name for bit, name in _FLAGS if header.tcp_flags & bit)
    if header.protocol == UDP:
        line, _, _ = packet[header.header_length + 8 :].partition(b"\r\n")
        if _SIP in line[:300]:
            text = line.decode("ascii", "replace").removesuffix(" SIP/2.0")
            return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return ""
