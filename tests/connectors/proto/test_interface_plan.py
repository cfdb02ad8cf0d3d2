"""Routes that do not send the tunnel into itself, and what a machine already uses."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

import pytest

from connectors.proto.interface_plan import InterfacePlan, Lookup, Neighbour, Rule, clashes, plan

OWN = ip_address("100.96.0.2")
POP = ip_address("192.0.2.1")
LAN = Neighbour("eth0", ip_interface("192.168.1.10/24"))


def planned(*include: str, exclude: tuple[str, ...] = (), pops=(POP,)) -> InterfacePlan:
    return plan([OWN], map(ip_network, include), map(ip_network, exclude), pops, mtu=1280)


def test_a_split_tunnel_needs_no_rules():
    wanted = planned("100.96.0.0/12", "10.0.50.0/24")
    assert wanted.main == (ip_network("10.0.50.0/24"), ip_network("100.96.0.0/12"))
    assert wanted.own == () and wanted.rules == ()
    assert wanted.source(4) == OWN and wanted.source(6) is None


def test_a_full_tunnel_goes_around_the_pop():
    wanted = planned("0.0.0.0/0")
    assert wanted.main == () and wanted.own == (ip_network("0.0.0.0/0"),)
    assert wanted.rules == (
        Rule(4, 0, Lookup.MAIN, to=POP),
        Rule(4, 1, Lookup.NOWHERE, to=POP),  # rather than into the tunnel, while the machine has no way to it
        Rule(4, 2, Lookup.MAIN, ignore_length=0),
        Rule(4, 3, Lookup.OWN),
    )


def test_only_what_holds_the_pop_has_a_table_of_its_own():
    wanted = planned("10.0.0.0/8", "172.16.0.0/12", pops=(ip_address("10.9.9.9"),))
    assert wanted.main == (ip_network("172.16.0.0/12"),) and wanted.own == (ip_network("10.0.0.0/8"),)
    assert [rule.ignore_length for rule in wanted.rules] == [None, None, 8, None]


def test_each_ip_version_has_rules_of_its_own():
    wanted = planned("0.0.0.0/0", "::/0", pops=(POP, ip_address("2001:db8::1")))
    assert [(rule.version, rule.to) for rule in wanted.rules if rule.step == 0] == [
        (4, POP),
        (6, ip_address("2001:db8::1")),
    ]


@pytest.mark.parametrize("pop", ["192.0.2.1", "::1", "fe80::1"])
def test_where_nothing_can_loop_a_default_route_is_still_beside_the_machines_own(pop: str):
    wanted = planned("::/0", "2000::/3", pops=(ip_address(pop),))
    assert wanted.main == () and wanted.own == (ip_network("::/0"),)
    assert wanted.rules == (Rule(6, 2, Lookup.MAIN, ignore_length=0), Rule(6, 3, Lookup.OWN))
    assert clashes(wanted, [LAN], [ip_network("::/0")]) == []


def test_a_pop_on_this_machine_is_never_routed():
    wanted = planned("128.0.0.0/1", "0.0.0.0/1", pops=(ip_address("127.0.0.1"),))
    assert wanted.pops == ()
    assert planned("127.0.0.0/8", pops=(ip_address("127.0.0.1"),)).rules == ()


def test_excluded_is_excluded():
    assert planned("0.0.0.0/0", exclude=("128.0.0.0/1",)).routes == (ip_network("0.0.0.0/1"),)


@pytest.mark.parametrize(
    ("route", "words"),
    [
        ("192.168.1.0/24", "eth0 of this machine is in it"),
        ("192.168.1.128/25", "192.168.1.0/24, which holds it"),
        ("10.8.0.0/16", "another route"),
    ],
)
def test_a_route_that_is_in_the_way(route: str, words: str):
    [clash] = clashes(planned(route), [LAN], [ip_network("10.8.0.0/16")])
    assert clash.route == ip_network(route) and words in clash.message and f"--exclude {route}" in clash.fix


@pytest.mark.parametrize("route", ["192.168.0.0/16", "0.0.0.0/0", "10.0.0.0/8"])
def test_a_wider_route_leaves_the_lan_alone(route: str):
    assert clashes(planned(route), [LAN], [ip_network("0.0.0.0/0"), ip_network("192.168.1.0/24")]) == []


@pytest.mark.parametrize(
    ("address", "words"),
    [("100.96.0.2/32", "is on tun7 already"), ("100.96.0.9/16", "lies in 100.96.0.0/16")],
)
def test_an_address_that_is_taken(address: str, words: str):
    [clash] = clashes(planned("10.0.0.0/8"), [Neighbour("tun7", ip_interface(address))])
    assert words in clash.message and clash.route is None


def test_single_addresses_are_no_network():
    neighbours = [Neighbour("lo", ip_interface("10.0.50.1/32")), LAN]
    assert clashes(planned("10.0.50.0/24"), neighbours) == []


def test_the_same_tunnel_twice_is_said_once_without_advice_to_cut_it_off() -> None:
    twin = plan([ip_address("100.96.0.20")], [ip_network("100.96.0.0/12")], [], [], mtu=1420)
    there = Neighbour("poplab0", ip_interface("100.96.0.20/12"))
    [clash] = clashes(twin, [there], [ip_network("100.96.0.0/12")])
    assert clash.message.endswith("is on poplab0 already")
    assert "--exclude" not in clash.fix
