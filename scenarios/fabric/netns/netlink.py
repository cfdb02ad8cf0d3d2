"""What a machine asks of its kernel: links, addresses, routes and rules, as messages (netlink(7), rtnetlink(7)).

One socket and one system call for each request, so that hundreds of machines are up within a second.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from enum import IntEnum
from struct import Struct, pack, unpack_from

_NETLINK_ROUTE, _SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 0, 270, 10, 11
_REQUEST, _ACK = 0x01, 0x04
_ERROR = 2  # the type of an answer: zero is none
_CAPPED, _WITH_ATTRIBUTES = 0x100, 0x200  # of an error
_MESSAGE = 1  # the attribute of an error that says more
_LARGEST = 1 << 16

_header = Struct("=IHHII")
_attribute = Struct("=HH")
_link = Struct("=BxHiII")
_address = Struct("=BBBBI")
_route = Struct("=8BI")
_next_hop = Struct("=HBBi")  # struct rtnexthop: its length with its attributes, flags, weight, interface


class Do(IntEnum):
    """Types of requests."""

    ADD_LINK, DELETE_LINK, GET_LINK, SET_LINK = 16, 17, 18, 19
    ADD_ADDRESS, DELETE_ADDRESS = 20, 21
    ADD_ROUTE, GET_ROUTE = 24, 26
    ADD_RULE, DELETE_RULE = 32, 33


class How(IntEnum):
    """Whether what is there already is in the way."""

    ANY = 0
    REPLACE = 0x500
    CREATE = 0x600


class Netlink:
    """Of the namespace in which the calling thread is now, wherever it is later. Every request may raise OSError."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ROUTE)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def request(self, kind: Do, body: bytes, how: How = How.ANY) -> bytes:
        """The body of the answer; empty where there is none but that it is done."""
        self._sequence += 1
        size = _header.size + len(body)
        self._socket.send(_header.pack(size, kind, _REQUEST | _ACK | how, self._sequence, 0) + body)
        answer = b""
        while True:
            data = self._socket.recv(_LARGEST)
            at = 0
            while at < len(data):
                length, found, flags, sequence, _ = _header.unpack_from(data, at)
                message = data[at + _header.size : at + length]
                at += _padded(length)
                if sequence != self._sequence:
                    continue
                if found != _ERROR:
                    answer = message
                    continue
                (code,) = unpack_from("=i", message)
                if code:
                    raise OSError(-code, _words(-code, flags, message))
                return answer


def _words(code: int, flags: int, message: bytes) -> str:
    said = os.strerror(code)
    if flags & _WITH_ATTRIBUTES and flags & _CAPPED:
        more = attributes(message[4 + _header.size :]).get(_MESSAGE, b"")
        if more:
            said += f" ({more.rstrip(bytes(1)).decode(errors='replace')})"
    return said


def _padded(length: int) -> int:
    return (length + 3) & ~3


def attribute(kind: int, value: bytes | str | int) -> bytes:
    """Type, length and value; a number has four octets, a text ends with a NUL."""
    if isinstance(value, int):
        value = pack("=I", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    length = _attribute.size + len(value)
    return _attribute.pack(length, kind) + value + bytes(_padded(length) - length)


def attributes(data: bytes) -> dict[int, bytes]:
    """Those that `data` holds, by type."""
    return dict(_split(data))


def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _attribute.size <= len(data):
        length, kind = _attribute.unpack_from(data, at)
        yield kind & 0x3FFF, data[at + _attribute.size : at + length]
        at += _padded(max(length, _attribute.size))


def link(index: int = 0, *, up: bool = False, flags: int = 0) -> bytes:
    """The fixed part of a message about an interface, with flags to be set; 0: a new one, or one by name."""
    flags |= int(up)
    return _link.pack(socket.AF_UNSPEC, 0, index, flags, flags)


LINK_SIZE = _link.size


def index_of(answer: bytes) -> int:
    """Of the interface that an answer is about."""
    index: int = _link.unpack_from(answer)[2]
    return index


def address(family: int, length: int, index: int) -> bytes:
    """The fixed part of a message about an address of an interface."""
    return _address.pack(family, length, 0, 0, index)


def route(
    family: int,
    length: int,
    *,
    table: int = 0,
    protocol: int = 0,
    scope: int = 0,
    kind: int = 0,
    flags: int = 0,
) -> bytes:
    """The fixed part of a message about a route or, with its action as `kind`, a rule."""
    return _route.pack(family, length, 0, 0, table, protocol, scope, kind, flags)


ROUTE_SIZE = _route.size


def kind_of_route(answer: bytes) -> int:
    """Of the route that an answer is about: RTN_UNICAST and so on."""
    return answer[7]


def first_next_hop(several: bytes) -> tuple[int, dict[int, bytes]]:
    """The interface and the attributes of the first of the next hops of a route."""
    length, _, _, index = _next_hop.unpack_from(several)
    return index, attributes(several[_next_hop.size : length])


def destination_length(answer: bytes) -> int:
    """Of the route that an answer is about."""
    return answer[1]
