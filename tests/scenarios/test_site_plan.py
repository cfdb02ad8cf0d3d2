"""The LAN of a site as a scenario means it: who has which address, and every route table in full."""

from __future__ import annotations

import pytest

from scenarios.proto.route_table import Device, Hop
from scenarios.runner import check
from scenarios.site_plan import SitePlan, SitePlans, is_plain

FRAME = """\
version: 1
name: office
vnets: {{acme: {{}}, other: {{}}}}
topology:
  sites:
    hq: {{vnet: acme, routes: {routes}, {rest}}}
    branch: {{vnet: acme, routes: [10.0.60.0/24, "fd00:60::/64"]}}
    stranger: {{vnet: other, routes: [10.0.70.0/24]}}
steps: [{{wait: {{tunnels: up}}}}]
"""


def plan(rest: str, routes: str = "[10.0.50.0/24]", site: str = "hq") -> SitePlan:
    (script,) = check(FRAME.format(routes=routes, rest=rest))
    return SitePlans(script.scenario)[site]


def addresses(plan: SitePlan, machine: str) -> list[str]:
    return [str(each) for each in plan.by_name[machine].addresses]


def table(plan: SitePlan, machine: str) -> list[str]:
    return [str(route) for route in plan.by_name[machine].table]


def static(plan: SitePlan, machine: str) -> list[str]:
    return [str(route) for route in plan.by_name[machine].static]


HOSTS = "hosts: {pbx: {ip: 10.0.50.1}, desk: {ip: 10.0.50.60}}"


def test_the_connector_is_the_default_gateway_of_every_host() -> None:
    hq = plan(HOSTS)
    assert [str(each) for each in hq.shared] == ["10.0.50.2/24"], "the first that no host has"
    assert addresses(hq, "hq/desk") == ["10.0.50.60/24"]
    assert table(hq, "hq/desk") == ["10.0.50.0/24 dev lan", "default via 10.0.50.2 dev lan"]
    assert static(hq, "hq/desk") == ["default via 10.0.50.2 dev lan"]
    assert addresses(hq, "hq") == ["10.0.50.2/24"]
    assert table(hq, "hq") == ["10.0.50.0/24 dev lan", "default dev tunnel"]
    assert hq.router is None and hq.plain


def test_an_intermediate_gateway_sends_the_rest_of_the_vnet_to_the_connector_and_all_else_away() -> None:
    hq = plan("deploy: intermediate-gateway, gateway: 10.0.50.10, router: {ip: 10.0.50.254}, " + HOSTS)
    assert table(hq, "hq/desk") == ["10.0.50.0/24 dev lan", "default via 10.0.50.254 dev lan"]
    assert table(hq, "router:hq") == [
        "10.0.50.0/24 dev lan",
        "100.96.0.0/12 via 10.0.50.10 dev lan",
        "10.0.60.0/24 via 10.0.50.10 dev lan",
        "default dev internet",
    ]
    assert addresses(hq, "router:hq") == ["10.0.50.254/24"]
    assert not hq.plain


def test_with_routes_on_every_host_the_router_needs_none() -> None:
    hq = plan("deploy: per-host, gateway: 10.0.50.10, router: {ip: 10.0.50.254}, " + HOSTS)
    assert static(hq, "hq/desk") == [
        "100.96.0.0/12 via 10.0.50.10 dev lan",
        "10.0.60.0/24 via 10.0.50.10 dev lan",
        "default via 10.0.50.254 dev lan",
    ]
    assert static(hq, "router:hq") == ["default dev internet"]


def test_what_is_written_holds() -> None:
    hq = plan(
        "deploy: per-host, gateway: 10.0.50.10, router: {ip: 10.0.50.254, routes: [10.9.0.0/16]}, hosts: {"
        "none: {ip: 10.0.50.60, routes: []},"
        "odd: {ip: 10.0.50.61, gateway: 10.0.50.77, routes: [{to: 10.8.0.0/16, via: 10.0.50.60}]}}"
    )
    assert static(hq, "hq/none") == ["default via 10.0.50.254 dev lan"]
    assert static(hq, "hq/odd") == [
        "10.8.0.0/16 via 10.0.50.60 dev lan",
        "default via 10.0.50.77 dev lan",
    ]
    assert static(hq, "router:hq") == ["10.9.0.0/16 via 10.0.50.10 dev lan", "default dev internet"]


def test_a_router_of_intermediate_mode_without_routes_has_none() -> None:
    hq = plan("deploy: intermediate-gateway, router: {ip: 10.0.50.254, routes: []}")
    assert static(hq, "router:hq") == ["default dev internet"]


def test_each_ip_version_has_its_own_gateway_and_router_address() -> None:
    hq = plan(
        "deploy: intermediate-gateway, router: {ip: 10.0.50.254}, "
        'hosts: {old: {ip: 10.0.50.60}, new: {ip: "fd00:50::1"}}',
        routes='[10.0.50.0/24, "fd00:50::/64"]',
    )
    assert [str(each) for each in hq.shared] == ["10.0.50.1/24", "fd00:50::2/64"]
    assert addresses(hq, "router:hq") == ["10.0.50.254/24", "fd00:50::3/64"]
    assert table(hq, "hq/new") == ["fd00:50::/64 dev lan", "::/0 via fd00:50::3 dev lan"]
    assert "fd00:60::/64 via fd00:50::2 dev lan" in table(hq, "router:hq")
    assert hq.next_hop("router:hq", b"\x20\x01" + bytes(14)) == Hop(Device.INTERNET, None, (bytes(16), 0))


def test_replicas_share_the_gateway_and_have_an_address_each() -> None:
    hq = plan("connectors: {hq-a: {}, hq-b: {}}, " + HOSTS)
    assert [str(each) for each in hq.shared] == ["10.0.50.2/24"]
    assert [addresses(hq, name) for name in ("hq-a", "hq-b")] == [["10.0.50.3/24"], ["10.0.50.4/24"]]
    assert hq.gateways == [bytes([10, 0, 50, last]) for last in (2, 3, 4)]
    assert hq.by_address[bytes([10, 0, 50, 2])] == "hq-a"
    assert hq.by_address[bytes([10, 0, 50, 4])] == "hq-b"


def test_the_copies_of_a_site_have_gateways_and_next_hops_of_their_own() -> None:
    hq = plan(
        "count: 2, deploy: per-host, gateway: 10.0.50.10, router: {ip: 10.0.50.254}, hosts: {"
        "desk: {ip: 10.0.50.60, gateway: 10.0.50.9, routes: [{to: 10.8.0.0/16, via: 10.0.50.8}], count: 2}}",
        site="hq-1",
    )
    assert [str(each) for each in hq.shared] == ["10.0.51.10/24"]
    assert addresses(hq, "router:hq-1") == ["10.0.51.254/24"]
    assert addresses(hq, "hq-1/desk-1") == ["10.0.51.61/24"]
    assert static(hq, "hq-1/desk-1") == ["10.8.0.0/16 via 10.0.51.8 dev lan", "default via 10.0.51.9 dev lan"]
    assert "10.0.50.0/24" in map(str, hq.remote), "that of the other copy"


@pytest.mark.parametrize("routes", ["[10.0.50.7/32]", "[10.0.50.6/31]"])
def test_a_lan_without_a_free_address_has_a_gateway_that_is_on_the_link_all_the_same(routes: str) -> None:
    other = ", other: {ip: 10.0.50.6}" if "/31" in routes else ""
    hq = plan(f"hosts: {{only: {{ip: 10.0.50.7}}{other}}}", routes=routes)
    assert [str(each) for each in hq.shared] == ["169.254.0.1/32"]
    assert static(hq, "hq/only") == ["default via 169.254.0.1 dev lan onlink"]
    assert static(hq, "hq") == [f"{routes[1:-1]} dev lan", "default dev tunnel"]


@pytest.mark.parametrize(
    ("routes", "hosts"),
    [("[10.0.50.4/30]", "a: {ip: 10.0.50.5}, b: {ip: 10.0.50.6}"), ("[10.0.50.7/32]", "")],
)
def test_a_gateway_has_neither_the_broadcast_address_nor_the_only_one(routes: str, hosts: str) -> None:
    assert [str(each) for each in plan(f"hosts: {{{hosts}}}", routes=routes).shared] == ["169.254.0.1/32"]


def test_a_full_ipv6_lan_has_a_link_local_gateway() -> None:
    hq = plan('hosts: {only: {ip: "fd00:50::7"}}', routes='["fd00:50::7/128"]')
    assert [str(each) for each in hq.shared] == ["fe80::1/128"]
    assert static(hq, "hq/only") == ["::/0 via fe80::1 dev lan onlink"]


def test_what_is_right_on_a_full_lan_can_be_written_too() -> None:
    hq = plan(
        "count: 2, hosts: {a: {ip: 10.0.50.7, gateway: 169.254.0.1, routes: [{to: 10.0.0.0/8, via: 169.254.0.1}]}}",
        routes="[10.0.50.7/32]",
        site="hq-1",
    )
    assert static(hq, "hq-1/a") == [
        "10.0.0.0/8 via 169.254.0.1 dev lan onlink",
        "default via 169.254.0.1 dev lan onlink",
    ]


def test_of_two_addresses_both_are_hosts() -> None:
    assert plan("hosts: {a: {ip: 10.0.50.7}}", routes="[10.0.50.6/31]").gateway(4) == bytes([10, 0, 50, 6])


def test_a_router_without_an_address_of_a_version_forwards_none_of_it() -> None:
    hq = plan(
        'deploy: intermediate-gateway, router: {ip: 10.0.50.254}, hosts: {new: {ip: "fd00:50::7"}}',
        routes='[10.0.50.0/24, "fd00:50::7/128"]',
    )
    assert addresses(hq, "router:hq") == ["10.0.50.254/24"]
    assert not any(":" in str(route) for route in table(hq, "router:hq"))
    assert table(hq, "hq/new") == ["fd00:50::7/128 dev lan"], "nobody forwards for it"


def test_a_next_hop_is_reached_by_a_route_before_it() -> None:
    """Kernels take no route whose next hop they cannot reach yet."""
    hq = plan("gateway: 10.0.51.9, hosts: {a: {ip: 10.0.50.7}}", routes="[10.0.50.0/24, 10.0.51.0/24]")
    assert static(hq, "hq/a") == ["10.0.51.0/24 dev lan", "default via 10.0.51.9 dev lan"]


def test_all_routes_of_a_site_are_one_link() -> None:
    hq = plan("hosts: {a: {ip: 10.0.51.7}}", routes="[10.0.50.0/24, 10.0.51.0/24]")
    assert addresses(hq, "hq/a") == ["10.0.51.7/24"]
    assert static(hq, "hq/a") == ["10.0.50.0/24 dev lan", "default via 10.0.50.1 dev lan"]


def test_hosts_that_are_alike_share_a_table() -> None:
    hq = plan(HOSTS)
    assert hq.by_name["hq/pbx"].table is hq.by_name["hq/desk"].table


@pytest.mark.parametrize(
    ("rest", "plain"),
    [
        (HOSTS, True),
        ("gateway: 10.0.50.9", True),
        ("router: {ip: 10.0.50.254}", False),
        ("hosts: {a: {ip: 10.0.50.7, gateway: 10.0.50.9}}", False),
        ("hosts: {a: {ip: 10.0.50.7, routes: []}}", False),
    ],
)
def test_a_site_is_plain_while_no_table_can_send_anything_elsewhere(rest: str, plain: bool) -> None:
    (script,) = check(FRAME.format(routes="[10.0.50.0/24]", rest=rest))
    assert is_plain(script.scenario.topology.sites["hq"]) is plain
    assert plan(rest).plain is plain
