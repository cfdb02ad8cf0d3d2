"""Kernels that talk through our Internet, and the same with sockets in the place of TUN devices."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from random import Random
from typing import Self

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from edge.proto.ip import Echo, build_icmp_echo, echo, parse_untrusted
from edge.proto.types import DropReason
from scenarios.fabric.netns.wires import Wires
from scenarios.proto.internet import POP, Internet
from scenarios.proto.link_pair import LinkPair
from scenarios.proto.link_profile import LinkProfile, PathProfile
from scenarios.proto.nat import NATS, Nat
from tests.scenarios.fabric.netns.spaces import Space, missing
from tests.scenarios.proto.test_internet import POP_HOST, udp

NAT = "port-restricted"
BODY = Random(1).randbytes(300_000)


def make_path(**profile) -> LinkPair:
    return LinkPair.of(PathProfile.both(LinkProfile(**profile)), Random("up"), Random("down"))


def make_nat(kind: str | None):
    return lambda host: None if kind is None else Nat(host, NATS[kind], Random("nat"))


# -- without a kernel


class Pair:
    """One end is a device, the other stands for the kernel behind it."""

    def __init__(self) -> None:
        self.drops: Counter[DropReason] = Counter()
        self.near, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.near.setblocking(False)
        self.kernel.setblocking(False)
        self.is_gone = self.is_full = False

    def fileno(self) -> int:
        return self.near.fileno()

    def receive(self) -> list[bytearray]:
        if self.is_gone:
            raise OSError(errno.EBADFD, "the interface was deleted")
        packets = []
        try:
            while len(packets) < 4:
                packets.append(bytearray(self.near.recv(65536)))
        except BlockingIOError:
            pass
        return packets

    def send(self, packets: Sequence[bytearray]) -> None:
        if self.is_full:
            self.drops[DropReason.QUEUE_FULL] += len(packets)
            return
        for packet in packets:
            self.near.send(packet)

    def close(self) -> None:
        self.near.close()

    def heard(self) -> list[bytes]:
        packets = []
        try:
            while True:
                packets.append(self.kernel.recv(65536))
        except BlockingIOError:
            return packets

    @property
    def is_closed(self) -> bool:
        return self.near.fileno() < 0


class Bench:
    """Wires between the PoP and one far end."""

    def __init__(self, **profile) -> None:
        self.internet = Internet()
        self.internet.attach_pop([POP_HOST])
        self.address = self.internet.attach("alice", make_path(**profile), make_nat(None))
        self.wires = Wires(self.internet)
        self.pop, self.alice = Pair(), Pair()
        self.wires.plug(POP, self.pop)
        self.wires.plug("alice", self.alice)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wires.close()
        for pair in (self.pop, self.alice):
            pair.close()
            pair.kernel.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    with Bench(delay=0.02) as bench:
        yield bench


async def test_packets_come_out_when_they_are_due(autojump_clock: MockClock, bench: Bench) -> None:
    sent = [udp(bench.address, POP_HOST, payload=bytes([n])) for n in range(20)]  # more than one read brings
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.wires.run)
        for packet in sent:
            bench.alice.kernel.send(packet)
        bench.pop.kernel.send(udp(POP_HOST, bench.address))
        await trio.sleep(0.019)
        assert bench.pop.heard() == bench.alice.heard() == []
        await trio.sleep(0.002)
        assert bench.pop.heard() == sent and len(bench.alice.heard()) == 1
        nursery.cancel_scope.cancel()
    assert bench.pop.is_closed and bench.alice.is_closed
    bench.wires.close()


async def test_a_change_from_outside_is_heeded_at_once(autojump_clock: MockClock, bench: Bench) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.wires.run)
        await wait_all_tasks_blocked()
        bench.internet.from_end("alice", [udp(bench.address, POP_HOST)], trio.current_time())
        bench.wires.wake()
        await trio.sleep(0.021)
        assert len(bench.pop.heard()) == 1
        nursery.cancel_scope.cancel()


async def test_devices_come_and_go(autojump_clock: MockClock, bench: Bench) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.wires.run)
        bob, taken = Pair(), Pair()
        address = bench.internet.attach("bob", make_path(), make_nat(None))
        bench.wires.plug("bob", bob)
        with pytest.raises(ValueError, match="plugged in already"):
            bench.wires.plug("bob", taken)
        assert taken.is_closed
        bob.kernel.send(udp(address, POP_HOST))
        await trio.sleep(0.1)
        assert len(bench.pop.heard()) == 1
        bench.wires.unplug("bob")
        bench.wires.unplug("bob")
        assert bob.is_closed
        bench.pop.kernel.send(udp(POP_HOST, address))
        await trio.sleep(0.1)
        assert bench.wires.drops == {DropReason.TUNNEL_DOWN: 1}
        nursery.cancel_scope.cancel()
    for pair in (bob, taken):
        pair.kernel.close()


async def test_a_device_that_is_gone_takes_no_other_with_it(autojump_clock: MockClock, bench: Bench) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.wires.run)
        bench.alice.is_gone = True
        bench.alice.kernel.send(b"wake up")
        address = bench.internet.attach("bob", make_path(), make_nat(None))
        await trio.sleep(0.1)
        assert bench.wires.gone == ["alice"] and bench.alice.is_closed
        bench.internet.from_end("bob", [udp(address, POP_HOST)], trio.current_time())
        bench.wires.wake()
        await trio.sleep(0.1)
        assert len(bench.pop.heard()) == 1
        nursery.cancel_scope.cancel()


async def test_what_the_kernel_does_not_take_is_counted(autojump_clock: MockClock, bench: Bench) -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(bench.wires.run)
        bench.pop.is_full = True
        bench.alice.kernel.send(udp(bench.address, POP_HOST))
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert bench.wires.drops[DropReason.QUEUE_FULL] == 1


# -- with two


@pytest.fixture(scope="module")
def unavailable() -> str:
    return missing()


class Kernels:
    """A PoP and a far end, each in a namespace of its own."""

    def __init__(self, stack: ExitStack, kind: str | None, **profile) -> None:
        self.internet = Internet()
        self.internet.attach_pop([POP_HOST])
        self.path = make_path(**profile)
        self.address = self.internet.attach("alice", self.path, make_nat(kind))
        self.wires = Wires(self.internet)
        stack.callback(self.wires.close)
        self.pop, self.alice = stack.enter_context(Space()), stack.enter_context(Space())
        self.wires.plug(POP, self.pop.uplink(POP_HOST))
        self.wires.plug("alice", self.alice.uplink(self.address))
        self._stack = stack

    def socket(self, space: Space, kind: int, *, connect: int = 0, protocol: int = 0) -> socket.socket:
        """`connect`: to that port of the PoP; else it listens there on a port that it finds."""
        made = space.call(socket.socket, socket.AF_INET, kind, protocol)
        self._stack.callback(made.close)
        made.settimeout(20)
        if connect:
            made.connect((POP_HOST, connect))
        else:
            made.bind(("0.0.0.0", 0))
            if kind == socket.SOCK_STREAM:
                made.listen()
        return made


@pytest.fixture
def stack(unavailable: str) -> Iterator[ExitStack]:
    if unavailable:
        pytest.skip(unavailable)
    with ExitStack() as stack:
        yield stack


def echo_once(server: socket.socket) -> None:
    data, source = server.recvfrom(65536)
    server.sendto(data, source)


def pong(client: socket.socket, body: bytes) -> bytes:
    client.send(body)
    return client.recv(65536)


def serve(server: socket.socket) -> str:
    """The digest of what comes; then the same goes back."""
    connection, _ = server.accept()
    with connection:
        connection.settimeout(20)
        received = b"".join(iter(lambda: connection.recv(65536), b""))
        connection.sendall(received)
    return hashlib.sha256(received).hexdigest()


def fetch(client: socket.socket, port: int) -> str:
    client.connect((POP_HOST, port))
    client.sendall(BODY)
    client.shutdown(socket.SHUT_WR)
    return hashlib.sha256(b"".join(iter(lambda: client.recv(65536), b""))).hexdigest()


async def exchange(world: Kernels, body: bytes) -> bytes:
    """A datagram to the PoP and back."""
    server = world.socket(world.pop, socket.SOCK_DGRAM)
    client = world.socket(world.alice, socket.SOCK_DGRAM, connect=server.getsockname()[1])
    answers: list[bytes] = []
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(world.wires.run)
            async with trio.open_nursery() as both:
                both.start_soon(world.pop.run, echo_once, server)
                answers.append(await world.alice.run(pong, client, body))
            nursery.cancel_scope.cancel()
    return answers[0]


@pytest.mark.parametrize("kind", [None, NAT])
async def test_a_datagram_takes_the_time_that_the_path_takes(stack: ExitStack, kind: str | None) -> None:
    world = Kernels(stack, kind, delay=0.02)
    begin = trio.current_time()
    assert await exchange(world, b"hello") == b"hello"
    assert trio.current_time() - begin >= 0.04


def ping(raw: socket.socket) -> Echo:
    """The answer of the PoP's kernel to a ping of ours."""
    raw.connect((POP_HOST, 0))
    raw.send(build_icmp_echo(bytes(4), bytes(4), ident=77, sequence=1, payload=b"ping")[20:])
    answer = raw.recv(65536)
    found = echo(answer, parse_untrusted(answer))
    assert found is not None
    return found


@pytest.mark.parametrize("kind", [None, NAT])
async def test_a_ping_takes_the_time_that_the_path_takes(stack: ExitStack, kind: str | None) -> None:
    world = Kernels(stack, kind, delay=0.02)
    raw = world.socket(world.alice, socket.SOCK_RAW, protocol=socket.IPPROTO_ICMP)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(world.wires.run)
            begin = trio.current_time()
            answer = await world.alice.run(ping, raw)
            assert trio.current_time() - begin >= 0.04
            nursery.cancel_scope.cancel()
    assert (answer.is_request, answer.ident, answer.payload) == (False, 77, b"ping")


async def test_who_roams_goes_on_from_the_new_address(stack: ExitStack) -> None:
    world = Kernels(stack, None, delay=0.001)
    old = world.address
    new = world.internet.roam("alice")
    world.alice.ip("address", "replace", f"{new}/32", "dev", "uplink0")
    world.alice.ip("address", "delete", f"{old}/32", "dev", "uplink0")
    assert await exchange(world, b"hello") == b"hello"
    assert world.internet.counters["spoofed_source"] == 0


@pytest.mark.parametrize("kind", [None, NAT])
async def test_fragments_reach_a_kernel(stack: ExitStack, kind: str | None) -> None:
    world = Kernels(stack, kind, delay=0.001)
    assert await exchange(world, BODY[:20_000]) == BODY[:20_000]


async def test_damage_reaches_the_program(stack: ExitStack) -> None:
    answer = await exchange(Kernels(stack, NAT, corrupt=1.0), bytes(1000))
    assert len(answer) == 1000 and int.from_bytes(answer).bit_count() in (0, 2)  # one each way


@pytest.mark.parametrize(
    "profile", [{}, {"loss": 0.02, "delay": 0.002}, {"corrupt": 0.02}, {"mtu": 900}], ids=str
)
@pytest.mark.parametrize("kind", [None, NAT])
async def test_tcp_gets_through(stack: ExitStack, kind: str | None, profile: dict[str, float]) -> None:
    world = Kernels(stack, kind, **profile)
    server = world.socket(world.pop, socket.SOCK_STREAM)
    client = world.alice.call(socket.socket, socket.AF_INET, socket.SOCK_STREAM)
    stack.callback(client.close)
    client.settimeout(20)
    digests: list[str] = []
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(world.wires.run)
            async with trio.open_nursery() as both:

                @both.start_soon
                async def _serve() -> None:
                    digests.append(await world.pop.run(serve, server))

                digests.append(await world.alice.run(fetch, client, server.getsockname()[1]))
            nursery.cancel_scope.cancel()
    assert digests == [hashlib.sha256(BODY).hexdigest()] * 2
    lost = world.path.up.counters.lost + world.path.down.counters.lost
    assert bool(lost) is bool(profile.get("loss"))
    assert world.path.up.counters.too_big == world.path.down.counters.too_big == 0


@pytest.mark.parametrize("kind", [None, NAT])
async def test_an_error_of_a_kernel_reaches_the_program(stack: ExitStack, kind: str | None) -> None:
    world = Kernels(stack, kind)
    client = world.socket(world.alice, socket.SOCK_DGRAM, connect=9)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(world.wires.run)
            with pytest.raises(ConnectionRefusedError):
                await world.alice.run(pong, client, b"is anybody there?")
            nursery.cancel_scope.cancel()


async def test_an_interface_that_is_down_takes_nothing(stack: ExitStack) -> None:
    world = Kernels(stack, None)
    client = world.socket(world.alice, socket.SOCK_DGRAM, connect=9)
    world.pop.ip("link", "set", "uplink0", "down")
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(world.wires.run)
            client.send(b"hello")
            while not world.wires.drops:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()


async def test_an_interface_that_is_deleted_is_noticed(stack: ExitStack) -> None:
    world = Kernels(stack, None)
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(world.wires.run)
            world.alice.ip("link", "delete", "uplink0")
            while world.wires.gone != ["alice"]:
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()


async def test_nothing_is_left(stack: ExitStack) -> None:
    await exchange(Kernels(stack, None), b"warm up: what Python opens once stays open")
    stack.close()
    before = os.listdir("/proc/self/fd")
    world = Kernels(stack, NAT, delay=0.01)
    await exchange(world, b"hello")
    assert "uplink0" not in world.alice.ip("link") and "uplink0" not in world.pop.ip("link")
    stack.close()
    assert os.listdir("/proc/self/fd") == before
