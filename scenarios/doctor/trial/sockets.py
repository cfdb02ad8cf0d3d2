"""What the sockets of this machine can do: on 127.0.0.1, without a privilege."""

from __future__ import annotations

import errno
import socket
from struct import Struct

SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104  # include/uapi/linux/udp.h
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
BUFFER = 4 << 20  # what a UDP port asks for, in bytes
SIZE, COUNT = 1200, 10
PATIENCE = 1.0  # seconds for what is there at once

_segment = Struct("=H")
_read_segment = Struct("=i")


def _pair() -> tuple[socket.socket, socket.socket]:
    """A receiver, and a sender that is connected to it."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(PATIENCE)
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.connect(receiver.getsockname())
    return receiver, sender


def udp() -> str:
    receiver, sender = _pair()
    with receiver, sender:
        sender.send(b"there")
        receiver.recv(64)
    return "UDP on 127.0.0.1"


def gso() -> str:
    receiver, sender = _pair()
    with receiver, sender:
        _send_segments(sender)
        sizes = [len(receiver.recv(65536)) for _ in range(COUNT)]
    if sizes != [SIZE] * COUNT:
        raise OSError(errno.EIO, f"arrived as {sizes}")
    return f"one write of {SIZE * COUNT:,} bytes arrived as {COUNT} datagrams"


def gro() -> str:
    receiver, sender = _pair()
    with receiver, sender:
        receiver.setsockopt(SOL_UDP, UDP_GRO, 1)
        _send_segments(sender)
        data, ancillary, *_ = receiver.recvmsg(65536, socket.CMSG_SPACE(4))
    if not ancillary or _read_segment.unpack(ancillary[0][2])[0] != SIZE:
        raise OSError(errno.EOPNOTSUPP, "taken, and nothing was merged")
    return f"{len(data) // SIZE} datagrams came in one read"


def _send_segments(sender: socket.socket) -> None:
    sender.sendmsg([bytes(SIZE * COUNT)], [(SOL_UDP, UDP_SEGMENT, _segment.pack(SIZE))])


def buffers() -> str:
    """As the PoP asks for one: by privilege, or as much as the system's limit allows."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 2  # socket(7): the kernel doubles it
    return f"{size:,} bytes" if size >= BUFFER else f"limited: {size:,} bytes: bursts are lost at high load"


def icmp() -> str:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()
    return "an ordinary socket may ping"
