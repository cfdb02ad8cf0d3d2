"""The UDP port: a non-blocking socket with generic receive and segmentation offload (udp(7) UDP_GRO, UDP_SEGMENT).

One read brings up to 64 KiB of equal datagrams of one source, one write sends as much to one destination; where the
kernel lacks either, the same calls move one datagram at a time. There is no queue here: what the socket buffer cannot
take is a counted drop.
"""

from __future__ import annotations

import errno
import select
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from struct import Struct
from typing import TypeAlias

import trio

from edge.io import dialled, mmsg
from edge.io.binding import refusal
from edge.io.dialled import SOL_UDP, UDP_GRO
from edge.proto.types import Address, DropReason

# Linux numbers that the socket module does not name (include/uapi/linux/udp.h, asm-generic/socket.h).
UDP_SEGMENT = 103
SO_RCVBUFFORCE = 33
SO_SNDBUFFORCE = 32
IP_MTU_DISCOVER, IP_PMTUDISC_DONT = 10, 0

MAX_SEGMENTS = 64  # UDP_MAX_SEGMENTS of older kernels
MAX_SEND = 65000  # an IP packet with headers stays below 65,535
READ_SIZE = 65536
MAX_MESSAGES = 64  # of one sendmmsg
LARGE_READ = 16384  # after one of these
LARGE_READS = 8  # so many at once: what a turn reads, opens and seals stays in the processor's cache

_pack_segment = Struct("=H").pack
_unpack_segment = Struct("=i").unpack_from
_ANCILLARY = socket.CMSG_SPACE(4)

Read = mmsg.Read
"""One read: bytes, segment size (the last datagram may be shorter), source. Valid until the next ``receive``."""

Batch: TypeAlias = tuple[Address, Sequence[bytes]]
"""Datagrams to one destination."""


class UdpPort:
    """A bound UDP socket. `reads` is how many reads one ``receive`` brings at most (64 KiB of memory each).

    While the kernel merges much into a read, it brings fewer.
    """

    def __init__(self, sock: socket.socket, *, reads: int = 2, gro: bool = True, gso: bool = True) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._buffers = [bytearray(READ_SIZE) for _ in range(reads)]
        self._views = [memoryview(b) for b in self._buffers]
        self._receiver: mmsg.Receiver | None = None
        self._sender: mmsg.Sender | None = None
        self._each: socket.socket | dialled.DialledSocket = sock
        if dialled.tells(sock):
            known = dialled.Dialled(sock.family)
            self._each = dialled.DialledSocket(sock, known)
            if mmsg.available():
                self._receiver = mmsg.DialledReceiver(sock, self._buffers, known)
                self._sender = mmsg.DialledSender(sock, MAX_MESSAGES, known)
        elif mmsg.available():
            self._receiver = mmsg.Receiver(sock, self._buffers)
            self._sender = mmsg.Sender(sock, MAX_MESSAGES)
        self._limit = reads
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        self.gso = gso
        self.gro = gro and _try_option(sock, SOL_UDP, UDP_GRO, 1)
        self.drops: Counter[DropReason] = Counter()  # datagrams that could not be sent
        host, port = sock.getsockname()[:2]
        self.address: Address = (host, port)

    @classmethod
    def bind(
        cls,
        address: Address,
        *,
        reads: int = 2,
        buffer_bytes: int = 4 << 20,
        may_fragment: bool = False,
        is_dialled: bool = False,
        setting: str = "",
        make_socket: Callable[[int, int], socket.socket] = socket.socket,
    ) -> UdpPort:
        """Open a port on `address` (port 0: any). Refused with the remedy if that cannot be had.

        `may_fragment`: routers may cut what is too large for a link (IPv4). WireGuard's kernel modules do so, for where
        the ICMP errors get lost nothing else tells; QUIC must not (RFC 9000 14).

        `is_dialled`: peers speak first, and wait for answers from the address that they chose. Not for who dials
        itself: it may have to move to another of its addresses, and the routes say to which.

        `setting` is where the address was chosen, for the remedy.

        `make_socket`, of family and type, may make the socket in another network namespace, or mark it.
        """
        host, port = address
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = make_socket(family, socket.SOCK_DGRAM)
        try:
            for force, plain in ((SO_RCVBUFFORCE, socket.SO_RCVBUF), (SO_SNDBUFFORCE, socket.SO_SNDBUF)):
                # The forced form needs privilege; the plain one is clamped by the system's limit.
                if not _try_option(sock, socket.SOL_SOCKET, force, buffer_bytes):
                    _try_option(sock, socket.SOL_SOCKET, plain, buffer_bytes)
            if may_fragment and family == socket.AF_INET:
                _try_option(sock, socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT)
            sock.bind((host, port))
            if is_dialled:
                dialled.ask(sock, make_socket)
        except OSError as error:
            sock.close()
            raise refusal(error, "udp", address, setting) from error
        return cls(sock, reads=reads)

    def close(self) -> None:
        self._sock.close()

    def fileno(self) -> int:
        """For whoever waits on several ports at once."""
        return self._sock.fileno()

    def poll(self, seconds: float) -> bool:
        """Whether there is something to read within `seconds` (whole milliseconds). Blocks the thread."""
        return bool(self._poll.poll(seconds * 1000))

    async def wait_readable(self) -> None:
        await trio.lowlevel.wait_readable(self._sock)

    def receive(self) -> list[Read]:
        """What is there now, up to `reads` reads; empty if nothing is. Never waits."""
        if self._receiver is not None:
            reads = self._receiver.receive(self._limit)
        else:
            reads = self._receive_each(self._limit)
        large = reads and len(reads[-1][0]) > LARGE_READ
        self._limit = min(LARGE_READS, len(self._buffers)) if large else len(self._buffers)
        return reads

    def _receive_each(self, limit: int) -> list[Read]:
        reads: list[Read] = []
        receive = self._each.recvmsg_into
        for buffer, view in zip(self._buffers[:limit], self._views, strict=False):
            try:
                size, ancillary, _, source = receive([buffer], _ANCILLARY)
            except BlockingIOError:
                break
            except OSError:  # an ICMP error of an earlier send, reported here; the socket is fine
                continue
            if not size:
                continue
            segment = _unpack_segment(ancillary[0][2])[0] if ancillary else size
            reads.append((view[:size], segment, source if len(source) == 2 else source[:2]))
        return reads

    def send(self, batches: Sequence[Batch]) -> None:
        """Send datagrams grouped by destination. Never waits: what cannot be sent now is a counted loss."""
        single: list[Batch] = []  # batches of one datagram that follow each other
        for batch in batches:
            if len(batch[1]) == 1:
                single.append(batch)
                continue
            self._send_single(single)
            single = []
            self._send_many(*batch)
        self._send_single(single)

    def _send_single(self, batches: Sequence[Batch]) -> None:
        position = 0
        if self._sender is not None:
            while position < len(batches) - 1:
                sent = self._sender.send(batches[position : position + MAX_MESSAGES])
                if sent > 0:
                    position += sent
                else:
                    self._drop(-sent, 1)
                    position += 1
        for address, (datagram,) in batches[position:]:
            try:
                self._each.sendto(datagram, address)
            except OSError as error:
                self._drop(error.errno, 1)

    def _send_many(self, address: Address, datagrams: Sequence[bytes]) -> None:
        for size, group in groupby(datagrams, len):
            run = list(group)
            step = max(1, min(MAX_SEGMENTS, MAX_SEND // (size or 1))) if self.gso else 1
            for start in range(0, len(run), step):
                self._send_run(address, run[start : start + step], size)

    def _send_run(self, address: Address, run: Sequence[bytes], size: int) -> None:
        try:
            if len(run) == 1:
                self._each.sendto(run[0], address)
            else:
                self._each.sendmsg(run, [(SOL_UDP, UDP_SEGMENT, _pack_segment(size))], 0, address)
        except OSError as error:
            if len(run) == 1 or error.errno in (errno.EAGAIN, errno.ENOBUFS):
                self._drop(error.errno, len(run))
                return
            if error.errno in (errno.EIO, errno.ENOPROTOOPT):
                self.gso = False  # this interface or kernel cannot segment
            for datagram in run:  # else the run was refused as a whole, e.g. larger than the path MTU
                self._send_run(address, [datagram], size)

    def _drop(self, error: int | None, datagrams: int) -> None:
        full = error in (errno.EAGAIN, errno.ENOBUFS)
        self.drops[DropReason.QUEUE_FULL if full else DropReason.OTHER] += datagrams


def _try_option(sock: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True
