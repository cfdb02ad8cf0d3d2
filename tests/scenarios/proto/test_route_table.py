"""Longest prefix match, for both IP versions."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.proto.route_table import Device, Network, Route, RouteTable, network_text


def network(text: str) -> Network:
    parsed = ip_network(text)
    return parsed.network_address.packed, parsed.prefixlen


def address(text: str) -> bytes:
    return ip_address(text).packed


GATEWAY, ROUTER = address("10.0.50.10"), address("10.0.50.1")
TABLE = RouteTable(
    [
        Route(network("0.0.0.0/0"), via=ROUTER),
        Route(network("10.0.50.0/24")),
        Route(network("100.96.0.0/12"), via=GATEWAY),
        Route(network("100.96.0.12/32"), Device.TUNNEL),
        Route(network("fd00:50::/64")),
    ]
)


@pytest.mark.parametrize(
    ("destination", "device", "via", "by"),
    [
        ("10.0.50.60", Device.LAN, None, "10.0.50.0/24"),
        ("100.96.0.11", Device.LAN, GATEWAY, "100.96.0.0/12"),
        ("100.96.0.12", Device.TUNNEL, None, "100.96.0.12/32"),
        ("100.112.0.1", Device.LAN, ROUTER, "0.0.0.0/0"),
        ("fd00:50::9", Device.LAN, None, "fd00:50::/64"),
    ],
)
def test_the_longest_prefix_wins(destination: str, device: Device, via: bytes | None, by: str) -> None:
    hop = TABLE.lookup(address(destination))
    assert hop is not None
    assert (hop.device, hop.via, hop.network) == (device, via, network(by))


def test_what_no_entry_holds_is_unreachable() -> None:
    assert TABLE.lookup(address("fd00:60::1")) is None
    assert RouteTable().lookup(GATEWAY) is None


def test_of_two_entries_for_one_network_the_first_holds() -> None:
    table = RouteTable([Route(network("0.0.0.0/0"), via=GATEWAY), Route(network("0.0.0.0/0"), via=ROUTER)])
    hop = table.lookup(address("8.8.8.8"))
    assert hop is not None and hop.via == GATEWAY
    assert len(table) == 1


def test_entries_read_as_commands() -> None:
    assert [str(route) for route in TABLE][:2] == ["default via 10.0.50.1 dev lan", "10.0.50.0/24 dev lan"]
    assert (
        str(Route(network("::/0"), via=address("fe80::1"), onlink=True)) == "::/0 via fe80::1 dev lan onlink"
    )
    assert network_text(network("::/0")) == "::/0"


@given(
    st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=30), st.integers(0, 2**32 - 1)
)
def test_a_lookup_is_what_a_look_at_every_entry_says(entries: list[tuple[int, int]], wanted: int) -> None:
    routes = [
        Route(((number >> (32 - length) << (32 - length)).to_bytes(4), length)) for number, length in entries
    ]
    holding = [
        route.network
        for route in routes
        if wanted >> (32 - route.network[1]) == int.from_bytes(route.network[0]) >> (32 - route.network[1])
    ]
    hop = RouteTable(routes).lookup(wanted.to_bytes(4))
    assert (hop.network if hop is not None else None) == max(holding, key=lambda each: each[1], default=None)
