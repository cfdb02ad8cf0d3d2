"""TCP ports and dials on the loopback interface, and that nothing of them is left over."""

from __future__ import annotations

import os
import resource
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import pytest
import trio

from edge.errors import Refused
from edge.io.streams import (
    INBOX_LIMIT,
    NOT_SENT,
    READ_SIZE,
    RESERVED_FILES,
    SEND_BUFFER,
    TCP_NOTSENT_LOWAT,
    StreamDial,
    StreamPort,
)
from edge.proto.types import Octets, Opened, Written


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


class Core:
    """Takes what a port brings. ``until`` waits, as the one task of a relay does."""

    def __init__(self, port: StreamPort | StreamDial) -> None:
        self.port = port
        self.opened: list[int] = []
        self.octets: dict[int, bytes] = {}
        self.ended: dict[int, str] = {}
        self.taken: dict[int, int] = {}
        self._woken = trio.Event()

    def wake(self) -> None:
        self._woken.set()

    def look(self) -> None:
        for event in self.port.receive():
            number = event.connection_id
            if isinstance(event, Opened):
                self.opened.append(number)
            elif isinstance(event, Octets):
                self.octets[number] = self.octets.get(number, b"") + event.data
            elif isinstance(event, Written):
                self.taken[number] = self.taken.get(number, 0) + event.octets
            else:
                self.ended[number] = event.reason

    async def until(self, done) -> None:
        with trio.fail_after(5):
            while not done(self):
                self.look()
                if done(self):
                    break
                await self._woken.wait()
                self._woken = trio.Event()


@asynccontextmanager
async def serving(port: StreamPort | StreamDial) -> AsyncIterator[Core]:
    core = Core(port)
    async with trio.open_nursery() as nursery:
        await nursery.start(port.serve, core.wake)
        yield core
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(**kwargs) -> AsyncIterator[tuple[Core, Core]]:
    """A port and a dial to it, both up."""
    port = StreamPort.bind(("127.0.0.1", 0), **kwargs)
    async with serving(port) as server, serving(StreamDial(port.address)) as client:
        await server.until(lambda core: core.opened)
        await client.until(lambda core: core.opened)
        yield server, client


@pytest.fixture(autouse=True)
def _no_file_is_left():
    before = open_files()
    yield
    assert open_files() == before


async def test_octets_go_both_ways_and_the_end_is_told():
    async with connected() as (server, client):
        client.port.send([(1, b"hello ", False), (1, b"there", False)])
        await server.until(lambda core: core.octets.get(1) == b"hello there")
        await client.until(lambda core: core.taken.get(1) == 11)
        server.port.send([(1, b"goodbye", True)])
        await client.until(lambda core: core.ended)
        assert client.octets == {1: b"goodbye"}
        assert client.ended == {1: ""}
        client.port.send([(1, b"", True)])
        with trio.fail_after(5):
            while len(server.port) or len(client.port):
                await trio.sleep(0.01)


async def test_much_arrives_whole_and_in_order_and_is_reported():
    blob = b"".join(n.to_bytes(4) for n in range(1 << 20))  # far more than the kernel takes at once
    async with connected() as (server, client):
        client.port.send([(1, blob[n : n + 100_000], False) for n in range(0, len(blob), 100_000)])
        client.port.send([(1, b"", True)])
        await server.until(lambda core: core.ended)
        assert server.octets[1] == blob
        server.port.send([(1, b"", True)])


async def test_what_the_kernel_took_is_what_was_written():
    async with connected() as (server, client):
        client.port.send([(1, bytes(1 << 20), False)])
        client.look()
        first = client.taken.get(1, 0)
        assert 0 < first < 1 << 20  # the rest waits for the reader
        await server.until(lambda core: len(core.octets.get(1, b"")) == 1 << 20)
        await client.until(lambda core: core.taken[1] == 1 << 20)


async def test_who_is_not_taken_from_is_not_read():
    async with connected() as (server, client):
        size = 64 << 20  # more than all buffers of kernel and ports
        client.port.send([(1, bytes(size), False)])
        last = -1
        with trio.fail_after(10):
            while client.taken.get(1, 0) != last:  # until it stands still
                last = client.taken.get(1, 0)
                await trio.sleep(0.1)
                client.look()
        held = sum(len(event.data) for event in server.port.receive() if isinstance(event, Octets))
        assert held <= 2 * READ_SIZE
        assert client.taken[1] < size
        with trio.fail_after(5):
            while client.taken[1] == last:  # it goes on
                server.look()
                client.look()
                await trio.sleep(0.01)
        client.port.drop(1)


async def test_all_together_are_not_read_beyond_a_limit():
    async with serving(StreamPort.bind(("127.0.0.1", 0))) as server:
        with ExitStack() as stack:
            for _ in range(2 * INBOX_LIMIT // READ_SIZE):
                sock = stack.enter_context(socket.create_connection(server.port.address))
                sock.setblocking(False)
                sock.send(bytes(READ_SIZE))
            await trio.sleep(0.3)
            held = [event for event in server.port.receive() if isinstance(event, Octets)]
            assert INBOX_LIMIT // 2 <= sum(len(event.data) for event in held) <= INBOX_LIMIT + READ_SIZE
            await server.until(lambda core: core.octets)  # there is room for others


async def test_tiny_reads_are_not_many():
    async with connected() as (server, client):
        for _ in range(100):
            client.port.send([(1, b"x", False)])
            await trio.sleep(0.001)
        await trio.sleep(0.05)
        assert 1 <= len(server.port.receive()) <= 32
        client.port.drop(1)


async def test_a_connection_too_many_is_closed_and_counted():
    async with connected(limit=1) as (server, _client):
        async with serving(StreamDial(server.port.address)) as other:
            await other.until(lambda core: core.ended)
        assert server.port.refused == 1
        assert len(server.port) == 1


async def test_connections_do_not_take_every_file_that_the_process_may_open(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (RESERVED_FILES + 1, 4096))
    async with connected() as (server, _client):
        async with serving(StreamDial(server.port.address)) as other:
            await other.until(lambda core: core.ended)
        assert server.port.refused == 1


async def test_a_reset_ends_only_its_own_connection():
    async with connected() as (server, client):
        with socket.create_connection(server.port.address) as rude:
            await server.until(lambda core: len(core.opened) == 2)
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await server.until(lambda core: core.ended)
        assert server.ended == {2: "Connection reset by peer"}
        server.port.send([(2, b"for nobody", False), (2, b"", True)])
        client.port.send([(1, b"still here", False)])
        await server.until(lambda core: core.octets.get(1) == b"still here")
        with trio.fail_after(5):
            while len(server.port) > 1:
                await trio.sleep(0.01)


async def test_the_last_words_reach_a_peer_that_is_still_writing():
    """Closing a socket with octets unread in it is a reset, which takes with it what has not been sent yet."""
    size = 100_000  # more than the peer's buffer, less than ours
    async with serving(StreamPort.bind(("127.0.0.1", 0))) as server:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(server.port.address)
            sock.setblocking(False)
            sock.send(bytes(1 << 20))
            await server.until(lambda core: core.octets)
            await trio.sleep(0.05)  # now there is more of it than the port reads
            server.port.send([(1, bytes(size), True)])
            await trio.sleep(0.05)
            got = 0
            with trio.fail_after(5):
                while got < size:
                    await trio.lowlevel.wait_readable(sock)
                    got += len(sock.recv(1 << 16))


async def test_who_takes_nothing_does_not_hold_its_connection_for_ever(autojump_clock):
    async with serving(StreamPort.bind(("127.0.0.1", 0))) as server:
        with socket.create_connection(server.port.address):
            await server.until(lambda core: core.opened)
            server.port.send([(1, bytes(64 << 20), True)])
            with trio.fail_after(60):
                while len(server.port):
                    await trio.sleep(0.5)


async def test_dropped_is_closed_at_once_and_nothing_comes_of_it():
    async with connected() as (server, client):
        server.port.send([(1, bytes(64 << 20), False)])
        server.port.drop(1)
        client.port.send([(1, b"unheard", False)])
        await client.until(lambda core: core.ended)
        assert len(server.port) == 0
        assert server.port.receive() == []


async def test_close_and_write_before_any_task_has_run():
    async with serving(StreamPort.bind(("127.0.0.1", 0))) as server:
        with socket.create_connection(server.port.address) as sock:
            sock.setblocking(False)
            while not server.port.receive():
                await trio.lowlevel.checkpoint()
            server.port.send([(1, bytes(8 << 20), False), (1, b"!", True)])
            got = 0
            with trio.fail_after(5):
                while got < (8 << 20) + 1:
                    await trio.lowlevel.wait_readable(sock)
                    got += len(sock.recv(1 << 20))


async def test_a_dial_to_nobody_says_why():
    with socket.socket() as placeholder:
        placeholder.bind(("127.0.0.1", 0))  # and does not listen
        async with serving(StreamDial(placeholder.getsockname())) as client:
            await client.until(lambda core: core.ended)
            assert client.ended == {1: "Connection refused"}
            assert not client.opened


async def test_a_dial_gives_up(autojump_clock):
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):  # the backlog is full: SYNs are not answered
            async with serving(StreamDial(full.getsockname(), timeout=3)) as client:
                await client.until(lambda core: core.ended)
                assert client.ended == {1: "no answer"}


async def test_a_port_that_is_taken_is_refused_with_the_remedy():
    async with serving(StreamPort.bind(("127.0.0.1", 0))) as server:
        with pytest.raises(Refused) as refused:
            StreamPort.bind(server.port.address)
        text = str(refused.value)
        assert "fix:" in text and "ss -tlpn" in text


async def test_a_port_is_free_again_at_once():
    async with connected() as (server, client):
        server.port.send([(1, b"", True)])  # who closes first waits in TIME_WAIT
        await client.until(lambda core: core.ended)
        client.port.send([(1, b"", True)])
        with trio.fail_after(5):
            while len(server.port):
                await trio.sleep(0.01)
    StreamPort.bind(server.port.address).close()


def options(here: tuple[str, int]) -> list[tuple[int, int]]:
    """TCP_NODELAY and TCP_NOTSENT_LOWAT of the connections of this process from `here`."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        file = f"/proc/self/fd/{name}"
        if not os.path.lexists(file) or not os.readlink(file).startswith("socket:"):
            continue
        with socket.socket(fileno=os.dup(int(name))) as sock:
            if sock.family == socket.AF_INET and sock.getsockname() == here and not is_listening(sock):
                delay = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                found.append((delay, sock.getsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT)))
    return found


def is_listening(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


async def test_packets_leave_as_they_are_written_and_little_waits_in_the_kernel():
    async with connected() as (server, client):
        assert options(server.port.address) == [(1, NOT_SENT)]
        client.port.send([(1, bytes(64 << 20), False)])
        await trio.sleep(0.1)
        client.look()
        size = client.taken[1]
        await trio.sleep(0.1)
        client.look()
        assert client.taken[1] < size + SEND_BUFFER  # it has stopped
        client.port.drop(1)


async def test_the_socket_of_a_dial_may_be_made_by_somebody_else():
    made: list[socket.socket] = []

    def make(family: int, kind: int) -> socket.socket:
        made.append(socket.socket(family, kind))
        return made[-1]

    port = StreamPort.bind(("127.0.0.1", 0))
    async with serving(port) as server, serving(StreamDial(port.address, make_socket=make)):
        await server.until(lambda core: core.opened)
        assert [sock.getpeername() for sock in made] == [port.address]
