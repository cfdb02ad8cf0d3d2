"""Ping (RFC 792, RFC 4443 4)."""

from __future__ import annotations

from typing import NamedTuple

from edge.proto.ip.addresses import is_ordinary
from edge.proto.ip.header import Header
from edge.proto.ip.icmp.messages import (
    ECHO_REPLY,
    ECHO_REQUEST,
    V6_ECHO_REPLY,
    V6_ECHO_REQUEST,
    build_message,
)

_REQUEST_AND_REPLY = {4: (ECHO_REQUEST, ECHO_REPLY), 6: (V6_ECHO_REQUEST, V6_ECHO_REPLY)}


class Echo(NamedTuple):
    """A ping or its answer."""

    is_request: bool
    ident: int
    sequence: int
    payload: memoryview


def build_icmp_echo(
    source: bytes,
    destination: bytes,
    *,
    ident: int,
    sequence: int,
    payload: bytes | bytearray | memoryview,
    reply: bool = False,
    ttl: int = 64,
) -> bytearray:
    """A ping or its answer, of the family of the addresses."""
    kind = _REQUEST_AND_REPLY[4 if len(source) == 4 else 6][reply]
    return build_message(source, destination, kind, 0, ident << 16 | sequence, payload, ttl)


def echo(packet: bytes | bytearray | memoryview, header: Header) -> Echo | None:
    """The ping or its answer in an unfragmented packet, None if it is something else."""
    kinds = _REQUEST_AND_REPLY[header.version]
    if header.icmp_type not in kinds or header.icmp_code or header.is_fragment:
        return None
    view = memoryview(packet)[header.header_length : header.total_length]
    ident, sequence = view[4] << 8 | view[5], view[6] << 8 | view[7]
    return Echo(header.icmp_type == kinds[0], ident, sequence, view[8:])


def echo_reply(packet: bytes | bytearray | memoryview, header: Header) -> bytearray | None:
    """The answer of the addressed host to a ping, None if it is none or may not be answered."""
    ping = echo(packet, header)
    if ping is None or not ping.is_request or not is_ordinary(header):
        return None
    return build_icmp_echo(
        header.destination,
        header.source,
        ident=ping.ident,
        sequence=ping.sequence,
        payload=ping.payload,
        reply=True,
    )


def echo_identifier(packet: bytes | bytearray | memoryview, header: Header) -> int | None:
    """What pings and answers of one conversation have in common (RFC 5508 3.1); also of a first fragment."""
    return _identifier(packet, header.header_length, header)


def quoted_echo_identifier(
    packet: bytes | bytearray | memoryview, header: Header, quoted: Header
) -> int | None:
    """The same of a ping that the ICMP error `packet` quotes; `quoted` is its header."""
    return _identifier(packet, header.header_length + 8 + quoted.header_length, quoted)


def _identifier(packet: bytes | bytearray | memoryview, at: int, header: Header) -> int | None:
    if header.icmp_type not in _REQUEST_AND_REPLY[header.version]:
        return None
    return packet[at + 4] << 8 | packet[at + 5]
