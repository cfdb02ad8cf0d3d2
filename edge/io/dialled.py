"""Which of this machine's addresses each peer has dialled, so that answers leave from that one.

A socket bound to all addresses sends from the one that the route to the peer prefers. QUIC clients (RFC 9000 9) and
stateful firewalls know only the one that was dialled. The kernel tells it with each datagram and takes it back with
each answer as ancillary data: IP_PKTINFO of ip(7), IPV6_PKTINFO of RFC 3542 6.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from struct import Struct
from typing import TypeAlias

from edge.proto.types import Address

IP_PKTINFO = 8  # include/uapi/linux/in.h; the socket module does not name it
SOL_UDP = 17
UDP_GRO = 104

HEARD = 4096  # peers that were not answered yet, or not heard since: whoever forges sources fills only these
KNOWN = 16384  # peers that have spoken again after an answer, in each of two generations
PARSED = 4096  # strangers choose the segment size, which is in the ancillary data, too
GONE = (errno.EINVAL, errno.ENETUNREACH, errno.EADDRNOTAVAIL)
"""What a send says from an address that the machine no longer has, or for other reasons: who knows tries without."""

Ancillary: TypeAlias = Iterable[tuple[int, int, bytes]]

_cmsg = Struct("=Qii")  # struct cmsghdr where a pointer is 8 bytes; only there are messages packed here
_segment = Struct("=i").unpack_from

# Of netlink(7), rtnetlink(7): to ask for addresses, and what comes.
_message = Struct("=IHHII")
_address = Struct("=BBBBI")
RTM_NEWADDR, RTM_GETADDR, NLM_F_REQUEST_DUMP, NLMSG_ERROR, NLMSG_DONE = 20, 22, 0x301, 2, 3


def ask(sock: socket.socket, make_socket: Callable[[int, int], socket.socket]) -> None:
    """Let the bound `sock` tell what was dialled, if it is bound to all addresses of a machine that has several.

    It costs a part of a microsecond per datagram, so it is decided once: where the second address comes after the
    port was bound, answers leave as the route prefers until the next start. `make_socket`, of family and type, makes
    sockets in the network namespace of `sock`. Linux only.
    """
    if sys.platform != "linux" or sock.getsockname()[0] not in ("0.0.0.0", "::"):
        return
    try:
        several = _has_several(sock, make_socket)
    except OSError:  # it may not be asked: better slower than from the wrong address
        several = True
    if several:
        tell(sock)


def tell(sock: socket.socket) -> None:
    """Let `sock` tell which address was dialled."""
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)


def tells(sock: socket.socket) -> bool:
    """Whether `sock`, or what it is a duplicate of, was asked for it."""
    if sys.platform != "linux":
        return False
    if sock.family == socket.AF_INET6:
        return bool(sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO))
    return bool(sock.getsockopt(socket.IPPROTO_IP, IP_PKTINFO))


def _has_several(sock: socket.socket, make_socket: Callable[[int, int], socket.socket]) -> bool:
    """Global addresses of one version of IP in which datagrams can come."""
    both = sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    found = {int(sock.family): 0} | ({int(socket.AF_INET): 0} if both else {})
    with make_socket(socket.AF_NETLINK, socket.SOCK_RAW) as netlink:
        netlink.settimeout(1.0)
        size = _message.size + _address.size
        netlink.send(
            _message.pack(size, RTM_GETADDR, NLM_F_REQUEST_DUMP, 1, 0) + _address.pack(0, 0, 0, 0, 0)
        )
        while max(found.values()) < 2:
            answer, at = netlink.recv(65536), 0
            while at < len(answer):
                length, kind, *_ = _message.unpack_from(answer, at)
                if kind in (NLMSG_ERROR, NLMSG_DONE):
                    return False
                family, _, _, scope, _ = _address.unpack_from(answer, at + _message.size)
                if kind == RTM_NEWADDR and scope == 0 and family in found:  # RT_SCOPE_UNIVERSE
                    found[family] += 1
                at += max(length + 3 & ~3, _message.size)
    return True


class Dialled:
    """What peers of one socket have dialled. Bounded, and whoever forges sources drives out no peer that talks.

    Who has spoken again after an answer is kept apart from the rest. Of those, two generations: who is heard or
    answered while the younger fills up is carried over. It is not known here who a peer is: a forged datagram from its
    very address and port to another address of ours turns the answers there, until the peer's next one. Who is silent
    in both directions while others fill both generations is forgotten, until it speaks.
    """

    CONTROL_SIZE = socket.CMSG_SPACE(20) + socket.CMSG_SPACE(4)
    """Octets of ancillary data that come with a datagram, at most."""

    def __init__(self, family: int) -> None:
        self._inet6 = family == socket.AF_INET6
        self._level = socket.IPPROTO_IPV6 if self._inet6 else socket.IPPROTO_IP
        self._kind = socket.IPV6_PKTINFO if self._inet6 else IP_PKTINFO
        self._size = 20 if self._inet6 else 12  # struct in6_pktinfo, struct in_pktinfo
        self.control_size = socket.CMSG_SPACE(self._size)
        self._any = self._pack(bytes(16))  # as the route says. To a mapped peer an error: see GONE
        self._parsed: dict[bytes, tuple[int, bytes]] = {}
        self._heard: dict[Address, bytes] = {}  # not answered
        self._answered: dict[Address, bytes] = {}  # not heard since
        self._known: dict[Address, bytes] = {}
        self._former: dict[Address, bytes] = {}

    def came(self, source: Address, control: bytes) -> int:
        """A datagram, with its ancillary data. Returns the segment size, 0 if it came alone."""
        segment, local = self._parsed.get(control) or self._parse(control)
        if self._known.get(source) != local:
            self._learn(source, local)
        return segment

    def came_with(self, source: Address, ancillary: Ancillary) -> None:
        """The same, as the socket module gives it."""
        for level, kind, data in ancillary:
            if (level, kind) == (self._level, self._kind):
                local = self._local(data)
                if self._known.get(source) != local:
                    self._learn(source, local)

    def control(self, peer: Address) -> bytes:
        """Ancillary data, of ``control_size``, with which a datagram to `peer` leaves from what it dialled."""
        return self._known.get(peer) or self._less_known(peer)

    def ancillary(self, peer: Address) -> tuple[int, int, bytes]:
        """The same for the socket module."""
        return self._level, self._kind, self.control(peer)[_cmsg.size : _cmsg.size + self._size]

    def forget(self, peer: Address) -> None:
        """What it dialled is gone."""
        for peers in (self._heard, self._answered, self._known, self._former):
            peers.pop(peer, None)

    def _less_known(self, peer: Address) -> bytes:
        if local := self._former.get(peer):
            self._keep(peer, local)
        elif local := self._heard.pop(peer, b""):
            _put(self._answered, peer, local)
        return local or self._answered.get(peer, self._any)

    def _learn(self, peer: Address, local: bytes) -> None:
        if not local:
            return
        if self._answered.pop(peer, None) or peer in self._known or peer in self._former:
            self._keep(peer, local)
        else:
            _put(self._heard, peer, local)

    def _keep(self, peer: Address, local: bytes) -> None:
        if len(self._known) >= KNOWN and peer not in self._known:
            self._former, self._known = self._known, {}
        self._known[peer] = local

    def _parse(self, control: bytes) -> tuple[int, bytes]:
        segment, local, at = 0, b"", 0
        while at + _cmsg.size <= len(control):
            length, level, kind = _cmsg.unpack_from(control, at)
            data = control[at + _cmsg.size : at + length]
            if (level, kind) == (self._level, self._kind):
                local = self._local(data)
            elif (level, kind) == (SOL_UDP, UDP_GRO):
                segment = _segment(data)[0]
            at += max(length + 7 & ~7, _cmsg.size)
        if len(self._parsed) >= PARSED:
            self._parsed.clear()
        self._parsed[control] = segment, local
        return segment, local

    def _local(self, data: bytes) -> bytes:
        """Of a datagram's pktinfo, that of its answers: without the interface, which the route chooses."""
        return self._pack(data[:16]) if self._inet6 else self._pack(data[4:8])  # ipi6_addr, ipi_spec_dst

    def _pack(self, address: bytes) -> bytes:
        data = address + bytes(4) if self._inet6 else bytes(4) + address[:4] + bytes(4)
        return (_cmsg.pack(_cmsg.size + self._size, self._level, self._kind) + data).ljust(
            self.control_size, b"\0"
        )


class DialledSocket:
    """The calls of a socket that a port makes for one datagram or run of them."""

    def __init__(self, sock: socket.socket, dialled: Dialled) -> None:
        self._sock = sock
        self._dialled = dialled

    def recvmsg_into(
        self, buffers: Iterable[bytearray], size: int
    ) -> tuple[int, list[tuple[int, int, bytes]], int, Address]:
        """With no other ancillary data than was asked for in `size` octets."""
        count, ancillary, flags, source = self._sock.recvmsg_into(buffers, size + socket.CMSG_SPACE(20))
        source = source[:2]
        self._dialled.came_with(source, ancillary)
        return count, [each for each in ancillary if each[0] == SOL_UDP], flags, source

    def sendto(self, datagram: bytes, address: Address) -> int:
        try:
            return self._sock.sendmsg([datagram], [self._dialled.ancillary(address)], 0, address)
        except OSError as error:
            if error.errno not in GONE:
                raise
        size = self._sock.sendto(datagram, address)
        self._dialled.forget(address)
        return size

    def sendmsg(self, run: Sequence[bytes], ancillary: Ancillary, flags: int, address: Address) -> int:
        """What fails is sent datagram by datagram: see ``sendto``."""
        return self._sock.sendmsg(run, [*ancillary, self._dialled.ancillary(address)], flags, address)


def _put(peers: dict[Address, bytes], peer: Address, local: bytes) -> None:
    """The oldest goes."""
    if len(peers) >= HEARD and peer not in peers:
        del peers[next(iter(peers))]
    peers[peer] = local
