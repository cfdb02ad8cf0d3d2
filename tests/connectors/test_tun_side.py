"""A device of the kernel behind a tunnel. Here a pair of sockets stands for the device and its kernel."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_network

import pytest
import trio
import trio.testing

from connectors.endpoint import Endpoint
from connectors.proto.border import Border
from connectors.tun_side import INBOX, TunSide
from edge.proto.ip import build_udp
from edge.proto.types import DropReason
from tests.edge.server.lab import PATIENCE, POP_PUBLIC, client, ip, key, pop, running, until


class Device:
    """One end is what an endpoint has, the other the kernel's. Closed by the endpoint, which counts."""

    def __init__(self) -> None:
        self.opened = self.closed = 0
        self.near: socket.socket | None = None
        self.kernel: socket.socket | None = None

    @contextmanager
    def open(self) -> Iterator[Device]:
        self.near, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.near.setblocking(False)
        self.kernel.setblocking(False)
        self.opened += 1
        try:
            yield self
        finally:
            self.closed += 1
            self.near.close()
            self.kernel.close()

    def fileno(self) -> int:
        assert self.near is not None
        return self.near.fileno()

    def receive(self) -> list[bytearray]:
        packets: list[bytearray] = []
        assert self.near is not None
        while len(packets) < 64:
            try:
                packets.append(bytearray(self.near.recv(65536)))
            except BlockingIOError:
                break
        return packets

    def send(self, packets: list[bytearray]) -> None:
        assert self.near is not None
        for packet in packets:
            self.near.send(packet)

    def route(self, *packets: bytearray) -> None:
        """The kernel sends these out of the device."""
        assert self.kernel is not None
        for packet in packets:
            self.kernel.send(packet)

    def taken(self) -> list[bytes]:
        """What the kernel has got."""
        assert self.kernel is not None
        found = []
        while True:
            try:
                found.append(self.kernel.recv(65536))
            except BlockingIOError:
                return found


def udp(source: str, destination: str, payload: bytes = b"hello") -> bytearray:
    return build_udp(ip(source), ip(destination), 4000, 5000, payload)


class Two:
    """Alice and Bob, each with a device, and the PoP between them."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery
        self.devices: dict[str, Device] = {}
        self.sides: dict[str, TunSide] = {}
        self.ends: dict[str, Endpoint] = {}

    def add(self, name: str, address: str, at: tuple[str, int]) -> None:
        device = self.devices[name] = Device()
        side = self.sides[name] = TunSide(device.open, Border([ip_network(address)]))
        self.ends[name] = Endpoint(name, key(name), POP_PUBLIC, at, side)

    async def start(self, name: str) -> None:
        await self.nursery.start(self.ends[name].run)
        with trio.fail_after(PATIENCE):
            await self.ends[name].wait_up()


ALICE, BOB = "100.96.0.2", "100.96.0.3"


@asynccontextmanager
async def two() -> AsyncIterator[Two]:
    async with running(pop(client("alice", ALICE), client("bob", BOB))) as lab:
        world = Two(lab.nursery)
        for name, address in (("alice", ALICE), ("bob", BOB)):
            world.add(name, address, lab.relay.address)
            await world.start(name)
        yield world


async def arrives(device: Device, *packets: bytearray) -> None:
    """TTL and header checksum are the PoP's to change."""
    found: list[bytes] = []

    def there() -> bool:
        found.extend(device.taken())
        return len(found) >= len(packets)

    await until(there)
    assert [bytes(p[12:]) for p in found] == [bytes(p[12:]) for p in packets]


async def test_packets_of_the_kernel_cross_and_come_back():
    async with two() as world:
        alice, bob = world.devices["alice"], world.devices["bob"]
        there = [udp(ALICE, BOB, bytes([n])) for n in range(200)]
        alice.route(*there)
        await arrives(bob, *there)
        bob.route(back := udp(BOB, ALICE))
        await arrives(alice, back)
        assert world.sides["alice"].packets_in == 200 and world.sides["bob"].packets_out == 200


async def test_foreign_sources_stay_out_of_the_tunnel():
    async with two() as world:
        world.devices["alice"].route(udp("10.0.0.1", BOB), good := udp(ALICE, BOB))
        await arrives(world.devices["bob"], good)
        assert world.sides["alice"].border.drops == {DropReason.SPOOFED_SOURCE: 1}


@pytest.mark.parametrize("graceful", [True, False])
async def test_the_device_lasts_as_long_as_a_run(graceful: bool):
    async with two() as world:
        alice = world.devices["alice"]
        world.ends["alice"].stop(graceful=graceful)
        await until(lambda: alice.closed == 1)
        await world.start("alice")
        assert (alice.opened, alice.closed) == (2, 1)
        alice.route(packet := udp(ALICE, BOB))
        await arrives(world.devices["bob"], packet)


async def test_a_stop_with_grace_sends_what_the_kernel_has_given():
    async with two() as world:
        last = [udp(ALICE, BOB, bytes([n])) for n in range(100)]
        world.devices["alice"].route(*last)
        world.ends["alice"].stop(graceful=True)
        await arrives(world.devices["bob"], *last)


async def test_a_device_is_closed_when_its_endpoint_is_cancelled():
    async with two() as world:
        device = world.devices["alice"]
    assert device.closed == 1


async def test_who_pauses_reads_nothing():
    async with two() as world:
        alice, bob = world.devices["alice"], world.devices["bob"]
        world.ends["alice"].pause()
        await trio.testing.wait_all_tasks_blocked()
        alice.route(packet := udp(ALICE, BOB))
        await trio.testing.wait_all_tasks_blocked()
        assert world.sides["alice"].packets_in == 0
        world.ends["alice"].resume()
        await arrives(bob, packet)


async def test_a_zombie_is_alive_and_forwards_nothing():
    async with two() as world:
        alice, bob = world.devices["alice"], world.devices["bob"]
        side = world.sides["alice"]
        side.zombie = True
        alice.route(udp(ALICE, BOB))
        await until(lambda: side.lost == 1)
        bob.route(udp(BOB, ALICE))
        await until(lambda: side.lost == 2)
        assert alice.taken() == [] and world.ends["alice"].up
        side.zombie = False
        alice.route(packet := udp(ALICE, BOB))
        await arrives(bob, packet)


def test_what_nobody_takes_is_not_read_without_end():
    device = Device()
    side = TunSide(device.open, Border([ip_network("0.0.0.0/0")]))
    sent = [udp(ALICE, BOB)] * 64
    with side.attached():
        for _ in range(INBOX // 64 + 1):
            device.route(*sent)
            side.gather()
        assert len(device.receive()) == 64  # left where it was
        assert len(side.poll_packets()) == INBOX
