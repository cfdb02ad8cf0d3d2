"""Machines of the kernel: interfaces, addresses, routes, and what they keep to themselves."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import subprocess
from array import array
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from scenarios.fabric.netns.wiring import ETHERNET, FoundRoute, Machine
from tests.scenarios.fabric.netns.needs import needs

pytestmark = needs()

MARK = b"hello"


class Office:
    """A switch and machines at it."""

    def __init__(self) -> None:
        self.switch = Machine("switch")
        self.switch.bridge()
        self.machines: list[Machine] = []

    def machine(self, name: str, *addresses: str, forwards: bool = False) -> Machine:
        machine = Machine(name, forwards=forwards)
        self.switch.plug(machine, f"port{len(self.machines)}")
        self.machines.append(machine)
        for address in addresses:
            machine.address(ETHERNET, address)
        return machine

    def close(self) -> None:
        for machine in (*self.machines, self.switch):
            machine.close()


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office()
    yield office
    office.close()


def udp(machine: Machine, address: str = "", port: int = 0) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with machine.space.inside():
        sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(5)
    try:
        if address:
            sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock


def reaches(one: Machine, other: Machine, address: str) -> bool:
    with udp(other, address, 7) as there, udp(one, "::" if ":" in address else "0.0.0.0") as here:
        here.sendto(MARK, (address, 7))
        there.settimeout(2)
        try:
            return there.recv(100) == MARK
        except TimeoutError:
            return False


@pytest.mark.parametrize(
    ("one", "other", "length"), [("10.0.50.1", "10.0.50.2", 24), ("fd00:50::1", "fd00:50::2", 64)]
)
def test_neighbours_reach_each_other_at_once(office: Office, one: str, other: str, length: int) -> None:
    pbx, desk = office.machine("pbx", f"{one}/{length}"), office.machine("desk", f"{other}/{length}")
    assert reaches(desk, pbx, one)
    assert reaches(pbx, desk, other)


def test_routes_are_what_the_kernel_says(office: Office) -> None:
    machine = office.machine("pbx", "10.0.50.60/24", "fd00:50::60/64")
    machine.route("10.9.0.0/16", via="10.0.50.1", interface=ETHERNET)
    machine.route("10.8.0.0/16", interface=ETHERNET)
    machine.route("0.0.0.0/0", via="169.254.0.1", interface=ETHERNET, onlink=True)
    machine.route("fd00:60::/64", via="fd00:50::1", interface=ETHERNET)
    machine.route("::/0", via="fe80::1", interface=ETHERNET, onlink=True)
    assert machine.route_to("10.9.1.1") == FoundRoute("10.9.0.0/16", ETHERNET, "10.0.50.1")
    assert machine.route_to("10.8.1.1") == FoundRoute("10.8.0.0/16", ETHERNET, None)
    assert machine.route_to("192.0.2.1") == FoundRoute("0.0.0.0/0", ETHERNET, "169.254.0.1")
    assert machine.route_to("10.0.50.2") == FoundRoute("10.0.50.0/24", ETHERNET, None)
    assert machine.route_to("fd00:60::5") == FoundRoute("fd00:60::/64", ETHERNET, "fd00:50::1")
    assert machine.route_to("fd00:99::5") == FoundRoute("::/0", ETHERNET, "fe80::1")


def test_a_route_takes_the_place_of_one_before(office: Office) -> None:
    machine = office.machine("pbx", "10.0.50.60/24")
    for via in ("10.0.50.1", "10.0.50.2"):
        machine.route("10.9.0.0/16", via=via, interface=ETHERNET)
    assert machine.route_to("10.9.1.1") == FoundRoute("10.9.0.0/16", ETHERNET, "10.0.50.2")


def test_a_route_by_metric_gives_way_to_a_better_one(office: Office) -> None:
    machine = office.machine("pbx", "10.0.50.60/24")
    machine.nowhere(4)
    assert machine.route_to("192.0.2.1") is None
    machine.route("0.0.0.0/0", via="10.0.50.1", interface=ETHERNET, metric=100)
    found = machine.route_to("192.0.2.1")
    assert found is not None and found.via == "10.0.50.1"


@pytest.mark.parametrize(("version", "address"), [(4, "192.0.2.1"), (6, "2001:db8::1")])
def test_nowhere_is_silent(office: Office, version: int, address: str) -> None:
    machine = office.machine("pbx", "10.0.50.60/24", "fd00:50::60/64")
    machine.nowhere(version)
    assert machine.route_to(address) is None
    with (
        udp(machine, "::" if version == 6 else "0.0.0.0") as sock,
        pytest.raises(OSError, match="Invalid argument"),
    ):
        sock.sendto(MARK, (address, 9))


def test_an_address_is_its_own_while_it_has_it(office: Office) -> None:
    machine = office.machine("pbx", "10.0.50.60/24", "fd00:50::60/64")
    machine.settle()
    for text in ("10.0.50.60", "fd00:50::60"):
        assert machine.has(ip_address(text).packed)
    for text in ("10.0.50.61", "192.0.2.1", "fd00:50::61", "2001:db8::1"):
        assert not machine.has(ip_address(text).packed)
    machine.address(ETHERNET, "10.0.50.61/24")
    assert machine.has(ip_address("10.0.50.61").packed)
    machine.forget_address(ETHERNET, "10.0.50.61/24")
    assert not machine.has(ip_address("10.0.50.61").packed)


def test_of_a_route_that_a_program_has_split_the_first_way_is_told(office: Office) -> None:
    machine = office.machine("pbx", "10.0.50.60/24")
    hops = "nexthop via 10.0.50.1 dev eth0 nexthop via 10.0.50.2 dev eth0"
    with machine.space.inside():
        subprocess.run(["ip", "route", "add", "10.9.0.0/16", *hops.split()], check=True)
    assert machine.route_to("10.9.1.1") == FoundRoute("10.9.0.0/16", ETHERNET, "10.0.50.1")


def test_no_way_is_none(office: Office) -> None:
    assert office.machine("pbx", "10.0.50.60/24").route_to("192.0.2.1") is None


def test_what_cannot_be_is_an_error_that_names_it(office: Office) -> None:
    machine = office.machine("pbx", "10.0.50.60/24")
    with pytest.raises(OSError, match=r"pbx.*File exists"):
        machine.address(ETHERNET, "10.0.50.60/24")
    with pytest.raises(OSError, match=r"pbx.*unreachable|pbx.*invalid gateway"):
        machine.route("10.9.0.0/16", via="172.16.0.1", interface=ETHERNET)
    with pytest.raises(OSError, match="pbx has no poplab0"):
        machine.up("poplab0")


def test_an_address_can_be_forgotten(office: Office) -> None:
    pbx, desk = office.machine("pbx", "10.0.50.60/24"), office.machine("desk", "10.0.50.61/24")
    pbx.address(ETHERNET, "10.0.50.1/24")
    assert reaches(desk, pbx, "10.0.50.1")
    pbx.forget_address(ETHERNET, "10.0.50.1/24")
    pbx.forget_address(ETHERNET, "10.0.50.1/24")
    with pytest.raises(OSError, match="Cannot assign"):
        udp(pbx, "10.0.50.1", 7)
    assert reaches(desk, pbx, "10.0.50.60")


def test_an_address_alone_in_its_network_reaches_others_by_routes(office: Office) -> None:
    pbx, desk = office.machine("pbx", "10.0.50.60/32"), office.machine("desk", "172.16.9.9/32")
    pbx.route("172.16.9.9/32", interface=ETHERNET)
    desk.route("10.0.50.60/32", interface=ETHERNET)
    assert reaches(desk, pbx, "10.0.50.60")


def test_routers_forward_and_others_do_not(office: Office) -> None:
    for forwards in (True, False):
        suffix = int(forwards)
        router = office.machine("router", f"10.{suffix}.0.1/24", f"10.{suffix + 8}.0.1/24", forwards=forwards)
        assert router.name == "router"
        near = office.machine("near", f"10.{suffix}.0.2/24")
        far = office.machine("far", f"10.{suffix + 8}.0.2/24")
        near.route("0.0.0.0/0", via=f"10.{suffix}.0.1", interface=ETHERNET)
        far.route("0.0.0.0/0", via=f"10.{suffix + 8}.0.1", interface=ETHERNET)
        assert reaches(near, far, f"10.{suffix + 8}.0.2") is forwards


def test_offloads_are_off(office: Office) -> None:
    machine = office.machine("pbx", "10.0.50.60/24")
    with machine.space.inside(), socket.socket() as sock:
        for question in (0x16, 0x1E, 0x23, 0x2B):  # ETHTOOL_GTXCSUM, GTSO, GGSO, GGRO
            value = array("B", struct.pack("II", question, 1))
            fcntl.ioctl(sock, 0x8946, struct.pack("16sP16x", ETHERNET.encode(), value.buffer_info()[0]))
            assert struct.unpack("II", value.tobytes())[1] == 0, hex(question)


@pytest.mark.parametrize(
    ("address", "other", "length"), [("10.0.50.1", "10.0.50.2", 24), ("fd00:50::1", "fd00:50::2", 64)]
)
def test_a_silent_kernel_answers_neighbours_and_nothing_else(
    office: Office, address: str, other: str, length: int
) -> None:
    ours, real = office.machine("ours", f"{address}/{length}"), office.machine("real", f"{other}/{length}")
    ours.silence(ETHERNET)
    with udp(ours, address, 7) as there, udp(real, other, 9) as here:
        here.sendto(MARK, (address, 7))
        here.sendto(MARK, (address, 8))
        here.settimeout(0.5)
        there.settimeout(0.5)
        with pytest.raises(TimeoutError):
            there.recv(100)
        with pytest.raises(TimeoutError):
            here.recv(100)  # no port unreachable either
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with real.space.inside():
        tcp = socket.socket(family)
        ping = socket.socket(
            family, socket.SOCK_RAW, socket.IPPROTO_ICMPV6 if ":" in address else socket.IPPROTO_ICMP
        )
    with tcp, ping:
        tcp.settimeout(0.5)
        with pytest.raises(TimeoutError):
            tcp.connect((address, 80))
        request = bytes.fromhex("8000000000010001" if ":" in address else "0800f7fd00010001")
        ping.sendto(request, (address, 0))
        ping.settimeout(0.5)
        with pytest.raises(TimeoutError):
            while True:
                data = ping.recv(200)
                kind = data[0] if ":" in address else data[20]
                assert kind not in (0, 129), "the kernel answered a ping"
    assert state_of(real, address) == "REACHABLE"


def state_of(machine: Machine, address: str) -> str:
    """That of a neighbour: REACHABLE, if it has answered."""
    with machine.space.inside():
        said = subprocess.run(["ip", "neigh", "show", address], capture_output=True, text=True, check=True)
    words = said.stdout.split()
    return "REACHABLE" if "lladdr" in words else " ".join(words)


def test_a_silent_kernel_still_sends_for_its_host(office: Office) -> None:
    ours, real = office.machine("ours", "10.0.50.1/24"), office.machine("real", "10.0.50.2/24")
    ours.silence(ETHERNET)
    assert reaches(ours, real, "10.0.50.2")


def test_closing_closes_every_file() -> None:
    before = os.listdir("/proc/self/fd")
    office = Office()
    office.machine("pbx", "10.0.50.60/24").silence(ETHERNET)
    office.close()
    assert os.listdir("/proc/self/fd") == before
