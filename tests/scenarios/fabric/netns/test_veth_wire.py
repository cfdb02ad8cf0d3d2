"""A veth pair in place of a TUN device: the same packets go both ways, and nothing else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from edge.proto.ip import build_udp, parse_untrusted, udp_payload
from edge.proto.types import DropReason
from scenarios.fabric.netns.veth_wire import VethWire
from scenarios.fabric.netns.wiring import Machine
from scenarios.proto.host import checksum_right
from tests.scenarios.fabric.netns.needs import needs

pytestmark = needs()

HERE = {4: "100.96.0.12", 6: "fd00::12"}
THERE = {4: "10.0.50.80", 6: "fd00:50::80"}
ANY = {4: "0.0.0.0/0", 6: "::/0"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine("alice")
    yield made
    made.close()


@pytest.fixture
def wire(machine: Machine) -> Iterator[VethWire]:
    hub = Machine("hub")
    with machine.veth_wire("poplab0", hub, mtu=1280) as made:
        machine.up("poplab0", mtu=1280)
        hub.settle()
        for version in (4, 6):
            machine.address("poplab0", f"{HERE[version]}/{32 if version == 4 else 128}")
            machine.route(ANY[version], interface="poplab0")
        machine.settle()
        yield made
    hub.close()


def arrived(wire: VethWire, version: int) -> list[bytearray]:
    """UDP that the kernel has sent; it also talks of itself, as on every interface."""
    return [
        packet
        for packet in wire.receive()
        if packet[0] >> 4 == version and parse_untrusted(packet).destination_port == 7
    ]


def socket_of(machine: Machine, version: int) -> socket.socket:
    with machine.space.inside():
        sock = socket.socket(FAMILY[version], socket.SOCK_DGRAM)
    sock.bind((HERE[version], 7))
    sock.settimeout(5)
    return sock


@pytest.mark.parametrize("version", [4, 6])
def test_what_a_kernel_routes_there_comes_out_whole(machine: Machine, wire: VethWire, version: int) -> None:
    with socket_of(machine, version) as sock:
        sock.sendto(b"out", (THERE[version], 7))
    (packet,) = arrived(wire, version)  # at once: nobody had to be asked for an address
    header = parse_untrusted(packet)
    assert header.destination == ip_address(THERE[version]).packed
    assert bytes(udp_payload(packet, header)) == b"out" and checksum_right(packet, header)


@pytest.mark.parametrize("version", [4, 6])
def test_what_is_given_to_it_the_kernel_receives(machine: Machine, wire: VethWire, version: int) -> None:
    source, target = ip_address(THERE[version]).packed, ip_address(HERE[version]).packed
    with socket_of(machine, version) as sock:
        wire.send([build_udp(source, target, 9, 7, b"in")])
        assert sock.recv(100) == b"in"
    assert arrived(wire, version) == []  # what we have given does not come back


def test_a_packet_that_is_too_large_is_a_counted_drop(wire: VethWire) -> None:
    source, target = ip_address(THERE[4]).packed, ip_address(HERE[4]).packed
    wire.send([build_udp(source, target, 9, 7, bytes(1400))])
    assert wire.drops == {DropReason.OTHER: 1}


@pytest.mark.parametrize("version", [4, 6])
def test_the_first_packet_is_not_lost(version: int) -> None:
    """The kernel is ready a moment after it has said so: often enough that one of fifty shows it."""
    source, target = ip_address(THERE[version]).packed, ip_address(HERE[version]).packed
    for _ in range(50):
        machine, hub = Machine("alice"), Machine("hub")
        with machine.veth_wire("poplab0", hub, mtu=1280) as wire:
            machine.up("poplab0")
            machine.address("poplab0", f"{HERE[version]}/{8 * len(target)}")
            machine.route(ANY[version], interface="poplab0")
            machine.settle()
            hub.settle()
            with socket_of(machine, version) as sock:
                wire.send([build_udp(source, target, 9, 7, b"in")])
                assert sock.recv(100) == b"in"
        machine.close()
        hub.close()


def test_closed_it_is_gone(machine: Machine, wire: VethWire) -> None:
    wire.close()
    assert machine.index("poplab0") is None
    assert machine.route_to(THERE[4]) is None
    wire.close()
