"""The LAN of a plan, in kernels: who reaches whom, by which way, and whose the shared address is."""

from __future__ import annotations

import os
import socket
import subprocess
import time

import pytest

from scenarios.fabric.netns.site import SiteLan
from scenarios.fabric.netns.wiring import ETHERNET, FoundRoute, Machine
from tests.scenarios.fabric.netns.needs import needs
from tests.scenarios.fabric.netns.offices import HOSTS, HOSTS6, family_of, office, plan

pytestmark = needs()

TWO = "connectors: {one: {}, two: {}}, "


def reaches(one: Machine, other: Machine, address: str) -> bool:
    with other.space.inside():
        there = socket.socket(family_of(address), socket.SOCK_DGRAM)
    with one.space.inside():
        here = socket.socket(family_of(address), socket.SOCK_DGRAM)
    with here, there:
        there.bind((address, 7))
        there.settimeout(2)
        here.sendto(b"hello", (address, 7))
        try:
            return there.recv(100) == b"hello"
        except TimeoutError:
            return False


def neighbour(machine: Machine, address: str) -> str:
    """The Ethernet address that the kernel of `machine` has for `address`."""
    with machine.space.inside():
        said = subprocess.run(["ip", "neigh", "show", address], capture_output=True, text=True, check=True)
    words = said.stdout.split()
    return words[words.index("lladdr") + 1] if "lladdr" in words else ""


def own(machine: Machine) -> str:
    with machine.space.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((ETHERNET, 0))
        return str(sock.getsockname()[4].hex(":"))


def test_hosts_reach_each_other_and_their_gateway() -> None:
    with office() as lan:
        pbx, desk, connector = (lan.machines[name] for name in ("hq/pbx", "hq/desk", "hq"))
        assert reaches(desk, pbx, "10.0.50.60")
        assert reaches(pbx, connector, "10.0.50.1")
        assert pbx.route_to("10.0.60.5") == FoundRoute("0.0.0.0/0", ETHERNET, "10.0.50.1")


def test_all_of_it_in_ipv6() -> None:
    with office(HOSTS6) as lan:
        pbx, desk, connector = (lan.machines[name] for name in ("hq/pbx", "hq/desk", "hq"))
        assert reaches(desk, pbx, "fd00:50::60")
        assert reaches(pbx, connector, "fd00:50::1")
        assert pbx.route_to("fd00:60::5") == FoundRoute("::/0", ETHERNET, "fd00:50::1")


def test_a_router_sends_what_is_for_other_sites_to_the_connector_and_the_rest_nowhere() -> None:
    rest = "deploy: intermediate-gateway, gateway: 10.0.50.10, router: {ip: 10.0.50.254}, " + HOSTS
    with office(rest, "[10.0.50.0/24]") as lan:
        router = lan.machines["router:hq"]
        assert router.route_to("10.0.60.5") == FoundRoute("10.0.60.0/24", ETHERNET, "10.0.50.10")
        assert router.route_to("192.0.2.1") is None
        assert lan.machines["hq/pbx"].route_to("10.0.60.5") == FoundRoute(
            "0.0.0.0/0", ETHERNET, "10.0.50.254"
        )


def test_a_next_hop_to_which_another_route_makes_a_detour_is_taken_all_the_same() -> None:
    """The kernel's IPv6 would refuse it, and who simulates the same table would not."""
    routes = 'routes: [{to: "fd00:50::60/128", via: "fd00:50::7"}]'
    desk = f'desk: {{ip: "fd00:50::61", gateway: "fd00:50::60", {routes}}}'
    with office(f'hosts: {{pbx: {{ip: "fd00:50::60"}}, {desk}}}', '["fd00:50::/64"]') as lan:
        found = lan.machines["hq/desk"].route_to
        assert found("fd00:50::60") == FoundRoute("fd00:50::60/128", ETHERNET, "fd00:50::7")
        assert found("fd00:60::5") == FoundRoute("::/0", ETHERNET, "fd00:50::60")


def test_a_connector_puts_back_on_the_lan_what_is_for_a_neighbour() -> None:
    desk = "desk: {ip: 10.0.50.61, routes: [{to: 10.0.50.60/32, via: 10.0.50.1}]}"
    with office(f"hosts: {{pbx: {{ip: 10.0.50.60}}, {desk}}}", "[10.0.50.0/24]") as lan:
        assert reaches(lan.machines["hq/desk"], lan.machines["hq/pbx"], "10.0.50.60")


def test_a_lan_without_a_free_address_has_a_gateway_on_the_link() -> None:
    rest = "hosts: {pbx: {ip: 10.0.50.60}}"
    with office(rest, "[10.0.50.60/32]") as lan:
        pbx, connector = lan.machines["hq/pbx"], lan.machines["hq"]
        assert pbx.route_to("10.0.60.5") == FoundRoute("0.0.0.0/0", ETHERNET, "169.254.0.1")
        assert reaches(connector, pbx, "10.0.50.60")
        assert reaches(pbx, connector, "169.254.0.1")


@pytest.mark.parametrize(("hosts", "gateway"), [(HOSTS, "10.0.50.1"), (HOSTS6, "fd00:50::1")])
def test_neighbours_follow_the_shared_address_at_once(hosts: str, gateway: str) -> None:
    with office(TWO + hosts) as lan:
        pbx, one, two = (lan.machines[name] for name in ("hq/pbx", "one", "two"))
        lan.gateway_is("one")
        assert reaches(pbx, one, gateway)
        assert neighbour(pbx, gateway) == own(one)
        lan.gateway_is("two")
        assert neighbour(pbx, gateway) == own(two), "without asking again"
        assert reaches(pbx, two, gateway)
        lan.gateway_is(None)
        assert reaches(pbx, two, gateway), "nobody works: it stays"
        lan.gateway_is("one")
        assert reaches(pbx, one, gateway)
        with two.space.inside():
            sock = socket.socket(family_of(gateway), socket.SOCK_DGRAM)
        with sock, pytest.raises(OSError, match="Cannot assign"):
            sock.bind((gateway, 7))


def test_who_had_the_shared_address_is_ready_again_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with office(TWO + HOSTS6) as lan:
        lan.gateway_is("one")
        lan.gateway_is("two")

        def sleep(seconds: float) -> None:
            raise AssertionError("it waits for an address that it has no more")

        monkeypatch.setattr(time, "sleep", sleep)
        lan.machines["one"].settle()


def test_names_of_any_kind_and_length_are_none_of_the_kernels_business() -> None:
    name = "x" * 60
    with office(f"hosts: {{{name}: {{ip: 10.0.50.60}}, a-b_c: {{ip: 10.0.50.61}}}}") as lan:
        assert reaches(lan.machines[f"hq/{name}"], lan.machines["hq/a-b_c"], "10.0.50.61")


def test_what_fails_midway_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan(HOSTS)
    before, made = os.listdir("/proc/self/fd"), []

    def plug(self: Machine, other: Machine, port: str, *, mtu: int = 1500) -> None:
        made.append(port)
        if len(made) == 3:
            raise OSError(24, "Too many open files")

    monkeypatch.setattr(Machine, "plug", plug)
    monkeypatch.setattr(Machine, "address", lambda *_: None)
    with pytest.raises(OSError, match="Too many"):
        SiteLan(planned)
    assert os.listdir("/proc/self/fd") == before
