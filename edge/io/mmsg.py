"""Many datagrams with one system call: recvmmsg(2) and sendmmsg(2), which Python's socket module does not have.

Where nothing can be merged, every packet is a read and a write of its own, and half of what those cost is the way into
the kernel and back. libc is called through ctypes; everything that the kernel reads and writes lies in arrays that are
made once, and is packed and unpacked for all datagrams together.
"""

from __future__ import annotations

import ctypes
import errno
import socket
from array import array
from collections.abc import Sequence
from struct import Struct
from typing import Any, TypeAlias

from edge.io.dialled import GONE, Dialled
from edge.proto.types import Address

ADDRESSES = 16384  # remembered in each direction: a stranger may come from as many as it likes

Read: TypeAlias = tuple[memoryview, int, Address]


class _Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class _Header(ctypes.Structure):
    """``struct msghdr``."""

    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("vector", ctypes.c_void_p),
        ("vectors", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Message(ctypes.Structure):
    """``struct mmsghdr``: `size` is how much was read or written."""

    _fields_ = [("header", _Header), ("size", ctypes.c_uint)]


_SIZE = ctypes.sizeof(_Message)
_NAME_SIZE = 28  # sockaddr_in6; a sockaddr_in is 16 of them
_CONTROL_SIZE = socket.CMSG_SPACE(4)  # the segment size, an int

# Of each message: bytes of ancillary data and of the datagram; of that ancillary data: the segment size.
_before, _after = _Header.control_length.offset, _Message.size.offset - _Header.control_length.offset - 8
_lengths = Struct(f"={_before}xQ{_after}xI{_SIZE - _Message.size.offset - 4}x")
_segment = Struct(f"={socket.CMSG_LEN(0)}xi{_CONTROL_SIZE - socket.CMSG_LEN(4)}x")
_controls = Struct(f"{Dialled.CONTROL_SIZE}s")
_name = Struct(f"{_NAME_SIZE}s")
_family = Struct("=H").unpack_from
_pack4 = Struct("=H2s4s20x").pack
_pack6 = Struct("=H2s4x16s4x").pack
_NOWHERE = b"\xff" * _NAME_SIZE  # of a family that no kernel has: refused, as what is no address should be


def available() -> bool:
    """Whether libc and kernel have both calls, in the layout that is written down here."""
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    try:
        calls = _recvmmsg(), _sendmmsg()
    except (AttributeError, OSError):
        return False
    for call, arguments in zip(calls, ((-1, None, 0, 0, None), (-1, None, 0, 0)), strict=True):
        call(*arguments)
        if ctypes.get_errno() != errno.EBADF:  # what a call says that exists
            return False
    return True


def _recvmmsg() -> Any:
    function = ctypes.CDLL(None, use_errno=True).recvmmsg
    function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
    return function


def _sendmmsg() -> Any:
    function = ctypes.CDLL(None, use_errno=True).sendmmsg
    function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int)
    return function


class _Messages:
    """`count` message headers, each with a name, a vector of one piece and `control_size` bytes of ancillary data."""

    def __init__(self, count: int, *, name_size: int, control_size: int = 0) -> None:
        headers = (_Message * count)()
        vectors = (_Vector * count)()
        names = ctypes.create_string_buffer(_NAME_SIZE * count)
        controls = ctypes.create_string_buffer(max(1, control_size * count))
        for number, message in enumerate(headers):
            header = message.header
            header.name = ctypes.addressof(names) + number * _NAME_SIZE
            header.name_length = name_size
            header.vector = ctypes.addressof(vectors) + number * ctypes.sizeof(_Vector)
            header.vectors = 1
            if control_size:
                header.control = ctypes.addressof(controls) + number * control_size
                header.control_length = control_size
        self.count = count
        self.at = ctypes.addressof(headers)
        # A view keeps what it shows alive.
        self.headers, self.vectors, self.names, self.controls = (
            memoryview(each).cast("B") for each in (headers, vectors, names, controls)
        )


class Receiver:
    """Reads of a non-blocking datagram socket, as many as there are `buffers`."""

    def __init__(
        self, sock: socket.socket, buffers: Sequence[bytearray], *, control_size: int = _CONTROL_SIZE
    ) -> None:
        self._call = _recvmmsg()
        self._sock = sock
        self._views = [memoryview(buffer) for buffer in buffers]
        self._messages = _Messages(len(buffers), name_size=_NAME_SIZE, control_size=control_size)
        pieces = array("Q")
        for buffer in buffers:
            pieces.extend((ctypes.addressof(ctypes.c_char.from_buffer(buffer)), len(buffer)))
        self._messages.vectors[:] = memoryview(pieces).cast("B")
        self._blank = bytes(self._messages.headers)
        self._addresses: dict[bytes, Address] = {}

    def receive(self, limit: int) -> list[Read]:
        """What is there now, up to `limit` reads; empty if nothing is."""
        used, messages = self._fill(limit), self._messages
        reads: list[Read] = []
        addresses = self._addresses
        for view, (ancillary, size), (segment,), (name,) in zip(
            self._views,
            _lengths.iter_unpack(messages.headers[: used * _SIZE]),
            _segment.iter_unpack(messages.controls[: used * _CONTROL_SIZE]),
            _name.iter_unpack(messages.names[: used * _NAME_SIZE]),
            strict=False,
        ):
            if size:
                source = addresses.get(name) or self._remember(name)
                reads.append((view[:size], segment if ancillary else size, source))
        return reads

    def _fill(self, limit: int) -> int:
        """How many messages came."""
        messages = self._messages
        # The kernel writes the lengths that it filled into the headers.
        messages.headers[:] = self._blank
        count = -1
        for _ in range(limit):
            count = self._call(self._sock.fileno(), messages.at, limit, socket.MSG_DONTWAIT, None)
            if count >= 0 or ctypes.get_errno() in (errno.EAGAIN, errno.EBADF):
                break  # else an ICMP error of an earlier send, reported here; the socket is fine
        return max(count, 0)

    def _remember(self, name: bytes) -> Address:
        if len(self._addresses) >= ADDRESSES:
            self._addresses.clear()
        (family,) = _family(name)
        packed = name[4:8] if family == socket.AF_INET else name[8:24]
        address = (socket.inet_ntop(family, packed), int.from_bytes(name[2:4], "big"))
        self._addresses[name] = address
        return address


class DialledReceiver(Receiver):
    """The same, for a socket that tells what was dialled."""

    def __init__(self, sock: socket.socket, buffers: Sequence[bytearray], dialled: Dialled) -> None:
        super().__init__(sock, buffers, control_size=dialled.CONTROL_SIZE)
        self._came = dialled.came

    def receive(self, limit: int) -> list[Read]:
        used, messages = self._fill(limit), self._messages
        reads: list[Read] = []
        addresses, came = self._addresses, self._came
        for view, (ancillary, size), (control,), (name,) in zip(
            self._views,
            _lengths.iter_unpack(messages.headers[: used * _SIZE]),
            _controls.iter_unpack(messages.controls[: used * Dialled.CONTROL_SIZE]),
            _name.iter_unpack(messages.names[: used * _NAME_SIZE]),
            strict=False,
        ):
            if size:
                source = addresses.get(name) or self._remember(name)
                reads.append((view[:size], came(source, control[:ancillary]) or size, source))
        return reads


class Sender:
    """Writes of a non-blocking datagram socket, `count` at once at most."""

    def __init__(self, sock: socket.socket, count: int, *, control_size: int = 0) -> None:
        self._call = _sendmmsg()
        self._sock = sock
        self._inet6 = sock.family == socket.AF_INET6
        name_size = _NAME_SIZE if self._inet6 else 16
        self._messages = _Messages(count, name_size=name_size, control_size=control_size)
        self._names: dict[Address, bytes] = {}

    def send(self, batches: Sequence[tuple[Address, Sequence[bytes]]]) -> int:
        """Send the one datagram of each batch, in order.

        Returns how many went before one was refused; if that is the first, minus its error number.
        """
        datagrams = [datagram for _, (datagram,) in batches]
        whole = b"".join(datagrams)
        at = ctypes.cast(ctypes.c_char_p(whole), ctypes.c_void_p).value or 0
        pieces = array("Q")
        for datagram in datagrams:
            length = len(datagram)
            pieces.extend((at, length))
            at += length
        names = self._names
        messages = self._messages
        messages.vectors[: len(pieces) * 8] = memoryview(pieces).cast("B")
        messages.names[: len(batches) * _NAME_SIZE] = b"".join(
            [names.get(address) or self._remember(address) for address, _ in batches]
        )
        sent = self._call(self._sock.fileno(), messages.at, len(batches), socket.MSG_DONTWAIT)
        return sent if sent >= 0 else -ctypes.get_errno()

    def _remember(self, address: Address) -> bytes:
        if len(self._names) >= ADDRESSES:
            self._names.clear()
        try:
            port = address[1].to_bytes(2, "big")
            if self._inet6:
                name = _pack6(socket.AF_INET6, port, socket.inet_pton(socket.AF_INET6, address[0]))
            else:
                name = _pack4(socket.AF_INET, port, socket.inet_pton(socket.AF_INET, address[0]))
        except (OSError, OverflowError):
            name = _NOWHERE
        self._names[address] = name
        return name


class DialledSender(Sender):
    """The same, from the address that each destination has dialled."""

    def __init__(self, sock: socket.socket, count: int, dialled: Dialled) -> None:
        super().__init__(sock, count, control_size=dialled.control_size)
        self._dialled = dialled

    def send(self, batches: Sequence[tuple[Address, Sequence[bytes]]]) -> int:
        control = self._dialled.control
        whole = b"".join([control(address) for address, _ in batches])
        self._messages.controls[: len(whole)] = whole
        sent = super().send(batches)
        if -sent not in GONE:
            return sent
        address, (datagram,) = batches[0]
        try:
            self._sock.sendto(datagram, address)
        except OSError:
            return sent
        self._dialled.forget(address)
        return 1
