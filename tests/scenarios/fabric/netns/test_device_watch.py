"""Looking on at a device that somebody else holds: what passes it, both ways, and when it did."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
import trio

from edge.proto.ip import build_udp, parse_untrusted
from scenarios.fabric.netns.device_watch import DeviceWatch
from scenarios.fabric.netns.veth_wire import VethWire
from scenarios.fabric.netns.wiring import Machine
from tests.scenarios.fabric.netns.needs import needs

pytestmark = needs()

HERE, THERE = "10.0.50.80", "100.96.0.12"
LATE = 0.3
"""Seconds that nobody reads."""
PATIENCE = 20


class Onlooker:
    def __init__(self) -> None:
        self.told: list[tuple[str, bytes, float]] = []
        self.unseen = 0
        self.caught_up = 0
        """So much had been told when hosts were last asked what they have sent."""

    def catch_up(self, now: float) -> None:
        self.caught_up = len(self.told)

    def came(self, packet: bytes, reason: str, now: float) -> None:
        assert reason == ""
        self.told.append(("came", packet, now))

    def went(self, packet: bytes, reason: str, now: float) -> None:
        assert reason == ""
        self.told.append(("went", packet, now))

    def missed(self, packets: int) -> None:
        self.unseen += packets


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine("hq")
    yield made
    made.close()


@pytest.fixture
def device(machine: Machine) -> Iterator[VethWire]:
    hub = Machine("hub")
    with machine.veth_wire("poplab0", hub, mtu=1280) as made:
        machine.up("poplab0", mtu=1280)
        machine.address("poplab0", f"{HERE}/32")
        machine.route("0.0.0.0/0", interface="poplab0")
        yield made
    hub.close()


def packet(payload: bytes = b"in") -> bytearray:
    return build_udp(ip_address(THERE).packed, ip_address(HERE).packed, 7, 7, payload)


async def test_packets_of_both_ways_are_told_with_the_times_that_they_had(
    machine: Machine, device: VethWire
) -> None:
    onlooker = Onlooker()
    watch = DeviceWatch(machine.space, "poplab0", onlooker, onlooker.catch_up)
    with trio.fail_after(PATIENCE):
        while True:
            onlooker.told.clear()
            device.send([packet()])
            with machine.space.inside(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.sendto(b"out", (THERE, 7))
                sock.sendto(b"to all on the link", ("224.0.0.1", 7))
            sent = trio.current_time()
            await trio.sleep(LATE)
            with trio.move_on_after(0.1):
                await watch.run()
            watch = DeviceWatch(machine.space, "poplab0", onlooker, onlooker.catch_up)
            told = [each for each in onlooker.told if parse_untrusted(each[1]).destination_port == 7]
            # A new link may lose what comes at once, and a kernel takes a moment until it stamps what comes.
            if len(told) == 2 and all(at < sent + LATE / 2 for _, _, at in told):
                break
    with trio.move_on_after(0):
        await watch.run()
    assert [(way, data) for way, data, _ in told[:1]] == [("came", bytes(packet()))], "not when it was read"
    assert [(way, data[28:]) for way, data, _ in told[1:]] == [("went", b"out")]
    assert onlooker.caught_up == 1, "what hosts have sent is told before it is told that it went on"
    assert onlooker.unseen == 0


async def test_what_the_kernel_had_no_room_for_is_counted(machine: Machine, device: VethWire) -> None:
    onlooker = Onlooker()
    watch = DeviceWatch(machine.space, "poplab0", onlooker, onlooker.catch_up)
    count = 20_000
    for _ in range(count // 100):
        device.send([packet(bytes(900))] * 100)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        with trio.fail_after(10):
            while not onlooker.unseen:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    came = sum(way == "came" for way, _, _ in onlooker.told)
    assert came and came + onlooker.unseen <= count


async def test_an_interface_that_goes_is_no_harm_and_one_that_is_not_there_is_an_error(
    machine: Machine, device: VethWire
) -> None:
    watch = DeviceWatch(machine.space, "poplab0", Onlooker(), print)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        device.close()
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    with pytest.raises(OSError):
        DeviceWatch(machine.space, "poplab0", Onlooker(), print)
