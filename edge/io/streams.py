"""TCP for a core that has one task and never waits: octets in and out of many connections (a port), or of one (a dial).

Two tasks per connection wait for its socket and do nothing else. The core's task takes what came, hands over what shall
go, and learns what went. Both directions are bounded: a connection is not read while what came from it has not been
taken, and what is handed over is counted until the kernel has it.
"""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count

import trio

from edge.io.binding import refusal
from edge.proto.types import Address, Eof, Octets, Opened, StreamEvent, Written

TCP_NOTSENT_LOWAT = 25  # tcp(7); the socket module does not name it

READ_SIZE = 65536
READ_COST = 2048  # octets that a read counts for at least: small ones must not be many either
INBOX_LIMIT = 4 << 20  # octets that came and have not been taken, of all connections
SEND_BUFFER = (
    256 << 10
)  # of the kernel. What lies there can no longer be dropped, so seconds of it are too much
NOT_SENT = 128 << 10  # of that, what the congestion window holds back
BACKLOG = 1024
ACCEPTS = 8  # in a row: each costs as much as a few packets, which must not wait for a flood of them
LAST_WORDS = 5.0  # seconds for what is left to be written when the core has closed
LINGER = (
    1.0  # seconds for the peer to read it: with octets unread, closing would be a reset, which destroys it
)
RESERVED_FILES = 64  # that the process may open beside the connections of a port: metrics, state, a reload
NO_FILES_PAUSE = 0.1  # seconds, when the process may open no more files
NO_FILES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
DIAL_TIMEOUT = 10.0


class _Stream:
    """One connection: its socket, and what waits to be written."""

    __slots__ = ("closing", "ended", "number", "outbox", "scope", "sock", "taken", "unread", "work")

    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self.sock = sock
        self.outbox: deque[memoryview] = deque()
        self.closing = False  # once the outbox is empty
        self.taken = 0  # octets that the kernel took since the core last asked
        self.unread = 0  # what waits in the inbox
        self.work = trio.Event()  # there is something to write, or to close
        self.ended = trio.Event()  # nothing more will come
        self.scope = trio.CancelScope()

    def write(self) -> None:
        """As much as the kernel takes now. What is for a broken connection is thrown away: its reader tells why."""
        outbox, sock = self.outbox, self.sock
        while outbox:
            try:
                size = sock.send(outbox[0])
            except BlockingIOError:
                return
            except OSError:
                outbox.clear()
                return
            self.taken += size
            if size < len(outbox[0]):
                outbox[0] = outbox[0][size:]
            else:
                outbox.popleft()


class _Streams:
    """What a port and a dial have in common."""

    def __init__(self) -> None:
        self._streams: dict[int, _Stream] = {}
        self._inbox: list[StreamEvent] = []
        self._unread = 0
        self._room = trio.Event()  # of those who wait for the inbox to be taken
        self._waiting = False  # whether there are such
        self._took: dict[_Stream, None] = {}  # whose kernel has taken something
        self._wake: Callable[[], None] = _nobody
        self._over = False

    def __len__(self) -> int:
        """Open connections, those included that are about to be closed."""
        return len(self._streams)

    def receive(self) -> list[StreamEvent]:
        """What came, and what the kernel took, since the last call, in order for each connection."""
        inbox, self._inbox = self._inbox, []
        if self._took:
            inbox += [Written(took.number, took.taken) for took in self._took if took.taken]
            for took in self._took:
                took.taken = 0
            self._took.clear()
        self._unread = 0
        for event in inbox:
            stream = self._streams.get(event.connection_id)
            if stream is not None:
                stream.unread = 0
        if self._waiting:
            self._waiting = False
            self._room.set()
            self._room = trio.Event()
        return inbox

    def send(self, writes: Iterable[tuple[int, bytes, bool]]) -> None:
        """Connection, octets, and whether to close it after them. Who is not known is ignored."""
        for number, data, close in writes:
            stream = self._streams.get(number)
            if stream is None or stream.closing:
                continue
            idle = not stream.outbox
            if data:
                stream.outbox.append(memoryview(data))
                if idle:  # mostly the kernel takes all of it, and no task need wake up
                    stream.write()
                    self._took[stream] = None
            if close:
                stream.closing = True
                stream.scope.deadline = trio.current_time() + LAST_WORDS
            if stream.outbox or close:
                stream.work.set()

    @property
    def over(self) -> bool:
        """Whether ``serve`` has ended and everything was received."""
        return self._over and not self._inbox

    def drop(self, number: int) -> None:
        """Close at once, whatever waits; nothing more comes of it."""
        stream = self._streams.get(number)
        if stream is not None:
            stream.closing = True
            stream.scope.cancel()

    async def _carry(self, stream: _Stream) -> None:
        """Until it is closed. The socket is closed in any case."""
        try:
            with stream.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read, stream)
                    await self._write(stream)
                    nursery.cancel_scope.cancel()
        finally:
            self._forget(stream)

    def _add(self, stream: _Stream, peer: Address) -> None:
        self._streams[stream.number] = stream
        self._inbox.append(Opened(stream.number, peer))
        self._wake()

    def _forget(self, stream: _Stream) -> None:
        if stream.sock.fileno() < 0:
            return  # done before
        trio.lowlevel.notify_closing(stream.sock)
        stream.sock.close()
        self._streams.pop(stream.number, None)
        self._took.pop(stream, None)

    async def _read(self, stream: _Stream) -> None:
        sock, reason = stream.sock, ""
        while True:
            await trio.lowlevel.wait_readable(sock)
            while (stream.unread >= READ_SIZE or self._unread >= INBOX_LIMIT) and not stream.closing:
                self._waiting = True
                await self._room.wait()
            try:
                data = sock.recv(READ_SIZE)
            except BlockingIOError:
                continue
            except OSError as error:
                data, reason = b"", error.strerror or "broken"
            if not data:
                break
            if stream.closing:
                continue  # nobody wants it any more, but see LINGER
            self._inbox.append(Octets(stream.number, data))
            cost = max(len(data), READ_COST)
            stream.unread += cost
            self._unread += cost
            self._wake()
        if not stream.closing:
            self._inbox.append(Eof(stream.number, reason))
            self._wake()
        stream.ended.set()

    async def _write(self, stream: _Stream) -> None:
        while True:
            while stream.outbox:
                await trio.lowlevel.wait_writable(stream.sock)
                stream.write()
                self._took[stream] = None
                self._wake()
            if stream.closing:
                break
            await stream.work.wait()
            stream.work = trio.Event()
        try:
            stream.sock.shutdown(socket.SHUT_WR)
        except OSError:
            return  # broken
        with trio.move_on_after(LINGER):
            await stream.ended.wait()


class StreamPort(_Streams):
    """Listens. More than `limit` connections at a time are closed as they come, and counted as ``refused``."""

    def __init__(self, sock: socket.socket, *, limit: int = 10_000) -> None:
        super().__init__()
        sock.setblocking(False)
        self._listener = sock
        self._limit = limit
        self._numbers = count(1)
        self.refused = 0
        host, port = sock.getsockname()[:2]
        self.address: Address = (host, port)

    @classmethod
    def bind(cls, address: Address, *, limit: int = 10_000, setting: str = "") -> StreamPort:
        """Listen on `address` (port 0: any). Refused with the remedy if that cannot be had.

        `setting` is where the address was chosen. The limit is lower where the process may not open so many files.
        """
        sock = socket.socket(_family(address), socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
            sock.bind(address)
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            raise refusal(error, "tcp", address, setting) from error
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if files != resource.RLIM_INFINITY:
            limit = min(limit, max(1, files - RESERVED_FILES))
        return cls(sock, limit=limit)

    def close(self) -> None:
        """Listen no longer. ``serve`` does so at its end."""
        self._listener.close()

    async def serve(
        self, wake: Callable[[], None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Until cancelled. `wake` is called when there is something to ``receive``."""
        self._wake = wake
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    await trio.lowlevel.wait_readable(self._listener)
                    if not self._accept(nursery):
                        await trio.sleep(NO_FILES_PAUSE)
        finally:
            trio.lowlevel.notify_closing(self._listener)
            self._listener.close()

    def _accept(self, nursery: trio.Nursery) -> bool:
        """Take who waits; False if the process can open no more files."""
        for _ in range(ACCEPTS):
            try:
                sock, peer = self._listener.accept()
            except BlockingIOError:
                break
            except OSError as error:  # mostly somebody who did not wait
                if error.errno in NO_FILES:
                    return False
                continue
            if len(self._streams) >= self._limit:
                self.refused += 1
                sock.close()
                continue
            _prepare(sock)
            stream = _Stream(next(self._numbers), sock)
            self._add(stream, peer[:2])
            nursery.start_soon(self._carry, stream)
        return True


class StreamDial(_Streams):
    """One connection, number 1, to `address`. If it does not come about, all there is of it is an ``Eof``.

    `make_socket`, of family and type, may make the socket in another network namespace, or mark it.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout: float = DIAL_TIMEOUT,
        make_socket: Callable[[int, int], socket.socket] = socket.socket,
    ) -> None:
        super().__init__()
        self._address = address
        self._timeout = timeout
        self._make_socket = make_socket

    async def serve(
        self, wake: Callable[[], None], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Until the connection is closed, or cancelled. `wake` as in ``StreamPort``."""
        self._wake = wake
        task_status.started()
        stream = _Stream(1, self._make_socket(_family(self._address), socket.SOCK_STREAM))
        try:
            failed = await self._connect(stream.sock)
            if failed:
                self._inbox.append(Eof(stream.number, failed))
                wake()
                return
            self._add(stream, self._address)
            await self._carry(stream)
        finally:
            self._forget(stream)
            self._over = True

    async def _connect(self, sock: socket.socket) -> str:
        """Empty, or why it did not come about."""
        _prepare(sock)
        with trio.move_on_after(self._timeout):
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
                try:
                    sock.connect(self._address)
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(sock)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            except OSError as failed:
                return failed.strerror or "failed"
            return os.strerror(error) if error else ""
        return "no answer"


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def _prepare(sock: socket.socket) -> None:
    """A packet leaves when it is written, and no more is with the kernel than can leave soon."""
    sock.setblocking(False)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT, NOT_SENT)
    except OSError:
        pass  # it is gone already, or the kernel does not know: slower, not wrong


def _nobody() -> None:
    """Until somebody serves."""
