"""Types of ICMP (RFC 792) and ICMPv6 (RFC 4443), which are errors or forbidden, and how to build one."""

from __future__ import annotations

from struct import Struct

from edge.proto.ip.build import build_packet
from edge.proto.ip.checksum import checksum, transport_checksum
from edge.proto.ip.header import Header
from edge.proto.ip.transport import ICMP, ICMPV6

DESTINATION_UNREACHABLE = 3
SOURCE_QUENCH = 4
REDIRECT = 5
TIME_EXCEEDED = 11
PARAMETER_PROBLEM = 12
ECHO_REQUEST = 8
ECHO_REPLY = 0
FRAGMENTATION_NEEDED = 4  # a code of DESTINATION_UNREACHABLE

V6_DESTINATION_UNREACHABLE = 1
V6_PACKET_TOO_BIG = 2
V6_TIME_EXCEEDED = 3
V6_PARAMETER_PROBLEM = 4
V6_ECHO_REQUEST = 128
V6_ECHO_REPLY = 129
V6_REDIRECT = 137

ERRORS = frozenset({DESTINATION_UNREACHABLE, SOURCE_QUENCH, REDIRECT, TIME_EXCEEDED, PARAMETER_PROBLEM})
"""ICMP types that quote a packet. In ICMPv6 all types below 128 do (RFC 4443 2.1)."""

_MESSAGE = Struct("!BBHI")
# Source quench (RFC 6633), redirect, alternate host, router advertisement and solicitation, address masks
# (RFC 6918).
_FORBIDDEN = frozenset({4, 5, 6, 9, 10, 17, 18})
# RFC 4890 4.3.3 and 4.3.4, messages for one link, which a router never carries: multicast listener discovery,
# router and neighbour discovery with redirect, router renumbering, node information, inverse discovery, SEND,
# multicast router discovery.
_FORBIDDEN_V6 = frozenset({*range(130, 144), 148, 149, 151, 152, 153})


def is_error(header: Header) -> bool:
    """Whether the packet is an ICMP or ICMPv6 error message."""
    if header.protocol == ICMP:
        return header.icmp_type in ERRORS
    return header.protocol == ICMPV6 and 0 <= header.icmp_type < 128


def is_forbidden(header: Header) -> bool:
    """Whether the packet is control traffic of a link: it has no business in a tunnel."""
    if header.protocol == ICMP:
        return header.icmp_type in _FORBIDDEN
    return header.protocol == ICMPV6 and header.icmp_type in _FORBIDDEN_V6


def build_message(
    source: bytes,
    destination: bytes,
    kind: int,
    code: int,
    rest: int,
    payload: bytes | bytearray | memoryview,
    ttl: int = 64,
    traffic_class: int = 0,
) -> bytearray:
    """A message of the family of the addresses; `rest` is the second word of its header."""
    message = bytearray(_MESSAGE.pack(kind, code, 0, rest))
    message += payload
    if len(source) == 4:
        protocol = ICMP
        value = checksum(message)
    else:
        protocol = ICMPV6
        value = transport_checksum(source, destination, ICMPV6, message)
    message[2:4] = value.to_bytes(2, "big")
    return build_packet(source, destination, protocol, message, ttl=ttl, traffic_class=traffic_class)
