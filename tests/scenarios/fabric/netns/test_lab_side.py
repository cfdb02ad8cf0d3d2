"""The device of a connector that somebody looks on at. A list stands for the device and its kernel."""

from __future__ import annotations

from contextlib import contextmanager
from ipaddress import ip_address, ip_network

import pytest
import trio

from connectors.proto.border import Border
from edge.proto.ip import build_udp
from edge.proto.types import DropReason
from scenarios.fabric.netns.lab_side import LabSide
from scenarios.proto.lan import Lan
from scenarios.proto.premises import Premises

INSIDE, OWN, OUTSIDE = "10.0.50.7", "100.96.0.2", "10.9.0.1"


class Device:
    """What the kernel has for the tunnel, and what it got."""

    def __init__(self) -> None:
        self.outbox: list[bytearray] = []
        self.got: list[bytearray] = []

    def fileno(self) -> int:
        return -1

    def receive(self) -> list[bytearray]:
        out, self.outbox = self.outbox, []
        return out

    def send(self, packets: list[bytearray]) -> None:
        self.got += packets


class Onlooker:
    def __init__(self) -> None:
        self.told: list[tuple[str, bytes, str, float]] = []

    def came(self, packet: bytes, reason: str, now: float) -> None:
        self.told.append(("came", packet, reason, now))

    def went(self, packet: bytes, reason: str, now: float) -> None:
        self.told.append(("went", packet, reason, now))

    def missed(self, packets: int) -> None:
        raise AssertionError


def udp(source: str, destination: str) -> bytearray:
    return build_udp(ip_address(source).packed, ip_address(destination).packed, 4000, 5000, b"hello")


@pytest.mark.parametrize("zombie", [False, True])
async def test_every_packet_at_the_device_is_told_in_order_with_its_fate(
    zombie: bool, autojump_clock: object
) -> None:
    device, onlooker = Device(), Onlooker()

    @contextmanager
    def opened():
        yield device

    premises = Premises(Lan("hq", []), ["hq"])
    border = Border([ip_network("10.0.50.0/24"), ip_network(f"{OWN}/32")])
    own = [ip_address(OWN).packed]
    caught: list[tuple[float, int]] = []
    side = LabSide(
        opened,
        border,
        premises.ports["hq"],
        own,
        onlooker,
        lambda now: caught.append((now, len(onlooker.told))),
    )
    side.zombie = zombie
    dead = "zombie" if zombie else ""
    with side.attached():
        came = [udp(OUTSIDE, INSIDE), udp(OUTSIDE, "10.0.51.7"), udp(OUTSIDE, OWN)]
        side.handle_packets(came, 5.0)
        assert onlooker.told == [
            ("came", came[0], dead, 5.0),
            ("came", came[1], dead or DropReason.NO_ROUTE, 5.0),
            ("came", came[2], "", 5.0),
        ]
        assert device.got == ([came[2]] if zombie else [came[0], came[2]])
        onlooker.told.clear()
        mine, foreign, chatter = udp(INSIDE, OUTSIDE), udp("1.2.3.4", OUTSIDE), udp("1.2.3.4", "224.0.0.22")
        device.outbox += [mine, foreign, chatter]
        await trio.sleep(1.0)
        side.gather()
        assert side.poll_packets() == ([] if zombie else [mine])
        now = trio.current_time()
        assert onlooker.told == [("went", foreign, DropReason.SPOOFED_SOURCE, now), ("went", mine, dead, now)]
        assert caught[0] == (now, 0), "whoever sent it comes first"


def test_spoofed_sources_are_counted_though_nobody_looks_on() -> None:
    device, premises = Device(), Premises(Lan("hq", []), ["hq"])
    border = Border([ip_network("10.0.50.0/24")])
    side = LabSide(contextmanager(lambda: iter([device])), border, premises.ports["hq"], [], None, print)
    assert side.on_zombie is None
    with side.attached():
        device.outbox += [udp("1.2.3.4", OUTSIDE), udp("1.2.3.4", "224.0.0.22"), udp(INSIDE, OUTSIDE)]
        side.gather()
        assert side.poll_packets() == [udp(INSIDE, OUTSIDE)]
        side.handle_packets([udp(OUTSIDE, "10.0.51.7")], 5.0)
    assert premises.counters == {"spoofed_source": 1}, "neither the chatter of kernels nor what comes in"
