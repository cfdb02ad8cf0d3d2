"""IPv6 extension headers (RFC 8200 section 4): find the upper layer, or refuse to guess."""

from __future__ import annotations

from typing import NamedTuple

from edge.proto.types import BadPacket, DropReason

HOP_BY_HOP = 0
ROUTING = 43
FRAGMENT = 44
AUTHENTICATION = 51
NO_NEXT_HEADER = 59
DESTINATION_OPTIONS = 60
MOBILITY = 135
HIP = 139
SHIM6 = 140

EXTENSIONS = frozenset(
    {HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS, MOBILITY, HIP, SHIM6}
)
"""Everything else is an upper-layer protocol as far as a router can tell, known or not."""

MAX_EXTENSIONS = 8
MAX_HOP_BY_HOP_OPTIONS = 16
"""A router may bound both (RFC 7045, RFC 9673); a header full of one-byte options would cost 2,000 steps."""

_JUMBO_PAYLOAD = 0xC2
_MESSAGES = (MOBILITY, HIP, SHIM6)


class Chain(NamedTuple):
    """Where the walk ended. `at` is the upper-layer header, or the data of a later fragment."""

    protocol: int
    at: int
    fragment_start: int  # where the data of this fragment begins; 0 without a fragment header
    fragment_offset: int  # in bytes
    more_fragments: bool
    fragment_id: int


def walk_untrusted(packet: bytes | bytearray | memoryview, protocol: int, end: int) -> Chain:
    """Follow next headers from the fixed header of `packet`, which ends at `end`."""
    at = 40
    count = start = offset = identification = 0
    more = fragmented = False
    while protocol in EXTENSIONS:
        count += 1
        if count > MAX_EXTENSIONS:
            raise BadPacket(DropReason.HEADER_CHAIN, "too many extension headers")
        if at + 8 > end:
            # RFC 7112: the whole chain is in the first fragment, or the datagram is not for us.
            raise BadPacket(DropReason.HEADER_CHAIN, "chain ends early")
        following = packet[at]
        if protocol == FRAGMENT:
            if fragmented:
                raise BadPacket(DropReason.HEADER_CHAIN, "fragment header twice")
            fragmented = True
            word = packet[at + 2] << 8 | packet[at + 3]
            offset = word & 0xFFF8
            more = bool(word & 1)
            identification = int.from_bytes(packet[at + 4 : at + 8], "big")
            at += 8
            start = at
            if offset:
                # Only the first fragment tells the upper layer; this value may name another extension header.
                return Chain(following, at, start, offset, more, identification)
            # With offset 0 and no more to come this is an atomic fragment: a whole packet (RFC 6946).
            protocol = following
            continue
        if protocol == ROUTING:
            # RFC 5095 for type 0; the sender does not choose the way through our network with any other type.
            raise BadPacket(DropReason.SOURCE_ROUTE, "routing header")
        length = (packet[at + 1] + 2) * 4 if protocol == AUTHENTICATION else (packet[at + 1] + 1) * 8
        if at + length > end:
            raise BadPacket(DropReason.HEADER_CHAIN, "extension header ends after the packet")
        if protocol == HOP_BY_HOP:
            if at != 40:
                raise BadPacket(DropReason.HEADER_CHAIN, "hop-by-hop options are not first")
            _check_hop_by_hop(packet, at + 2, at + length)
        if following == NO_NEXT_HEADER and protocol in _MESSAGES:
            break  # a message carried in the header itself: that is the protocol to decide on
        at += length
        protocol = following
    return Chain(protocol, at, start, offset, more, identification)


def _check_hop_by_hop(packet: bytes | bytearray | memoryview, at: int, end: int) -> None:
    """Options are well formed and none of them says that the length field of the packet is not its length."""
    for _ in range(MAX_HOP_BY_HOP_OPTIONS):
        if at >= end:
            break
        kind = packet[at]
        if kind == 0:  # Pad1 is the one option without a length
            at += 1
            continue
        if at + 1 >= end:
            raise BadPacket(DropReason.BAD_HEADER, "hop-by-hop option")
        if kind == _JUMBO_PAYLOAD:
            raise BadPacket(DropReason.BAD_LENGTH, "jumbogram")  # RFC 2675
        at += 2 + packet[at + 1]
    if at < end:
        raise BadPacket(DropReason.HEADER_CHAIN, "too many hop-by-hop options")
    if at > end:
        raise BadPacket(DropReason.BAD_HEADER, "hop-by-hop option")
