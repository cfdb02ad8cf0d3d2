"""As much of rtnetlink(7) and nf_tables as it takes to ask a kernel whether it would."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from struct import Struct

NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_CREATE, NLM_F_EXCL = 0x400, 0x200
NLA_F_NESTED = 0x8000
NLA_TYPE_MASK = 0x3FFF
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
PATIENCE = 2.0  # seconds for an answer that takes microseconds

_header = Struct("=IHHII")
_attribute = Struct("=HH")
_error = Struct("=i")


def attribute(kind: int, payload: bytes | str | int) -> bytes:
    """One attribute, padded; an int is 32 bits, a str ends with a zero."""
    if isinstance(payload, int):
        payload = payload.to_bytes(4, sys.byteorder)
    elif isinstance(payload, str):
        payload = payload.encode() + b"\0"
    size = _attribute.size + len(payload)
    return _attribute.pack(size, kind) + payload + bytes(-size % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | NLA_F_NESTED, b"".join(attributes))


def message(kind: int, flags: int, body: bytes, sequence: int = 1) -> bytes:
    return _header.pack(_header.size + len(body), kind, flags | NLM_F_REQUEST, sequence, 0) + body


class Netlink:
    """One conversation with the kernel. Every method raises OSError with what the kernel says."""

    def __init__(self, protocol: int = NETLINK_ROUTE) -> None:
        self._sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._sock.settimeout(PATIENCE)

    def change(self, kind: int, body: bytes, flags: int = NLM_F_CREATE | NLM_F_EXCL) -> None:
        self.send(message(kind, flags | NLM_F_ACK, body))

    def send(self, messages: bytes) -> None:
        """Send what ends with a request that is acknowledged, and wait for that."""
        self._sock.send(messages)
        for answer, body in self._answers():
            if answer == NLMSG_ERROR:
                code = -_error.unpack_from(body)[0]
                if code:
                    raise OSError(code, os.strerror(code))
                return

    def dump(self, kind: int, body: bytes) -> list[bytes]:
        """The bodies of all there are."""
        self._sock.send(message(kind, NLM_F_DUMP, body))
        bodies = []
        for answer, found in self._answers():
            if answer == NLMSG_ERROR:
                code = -_error.unpack_from(found)[0]
                raise OSError(code, os.strerror(code))
            if answer == NLMSG_DONE:
                break
            bodies.append(found)
        return bodies

    def _answers(self) -> Iterator[tuple[int, bytes]]:
        while True:
            data = self._sock.recv(65536)
            while len(data) >= _header.size:
                size, kind, *_ = _header.unpack_from(data)
                yield kind, data[_header.size : size]
                data = data[(size + 3) & ~3 :]


def attributes(body: bytes, offset: int) -> dict[int, bytes]:
    """What follows the fixed part of `offset` bytes."""
    found = {}
    while offset + _attribute.size <= len(body):
        size, kind = _attribute.unpack_from(body, offset)
        if size < _attribute.size:
            break
        found[kind & NLA_TYPE_MASK] = body[offset + _attribute.size : offset + size]
        offset += (size + 3) & ~3
    return found
