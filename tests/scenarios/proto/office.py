"""A LAN with two hosts, a router and a connector, for tests of where its packets go and what mends that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

from scenarios.proto.return_path import Ground, Leg, Mode, trace
from scenarios.proto.route_table import Device, Hop, Network, Route, RouteTable


def packed(text: str) -> bytes:
    return ip_address(text).packed


def network(text: str) -> Network:
    parsed = ip_network(text)
    return parsed.network_address.packed, parsed.prefixlen


HOST, DESK, ROUTER, GATEWAY = "10.0.50.60", "10.0.50.61", "10.0.50.1", "10.0.50.10"
CLIENT = packed("100.96.0.12")
ANY = "0.0.0.0/0"
GROUND = Ground(
    "default-gateway",
    {packed(HOST): "hq/pbx", packed(DESK): "hq/desk", packed(ROUTER): "router:hq", packed(GATEWAY): "hq"},
    {4: packed(GATEWAY)},
    {"hq"},
    "router:hq",
    [network("100.96.0.0/12"), network("10.0.60.0/24"), network("10.0.0.0/16")],
)


def table(*routes: str) -> RouteTable:
    """Of `PREFIX via ADDRESS`, `PREFIX DEVICE`, `PREFIX`."""
    entries = []
    for text in routes:
        prefix, *rest = text.split()
        match rest:
            case ["via", address]:
                entries.append(Route(network(prefix), via=packed(address)))
            case [device]:
                entries.append(Route(network(prefix), Device(device)))
            case _:
                entries.append(Route(network(prefix)))
    return RouteTable([*entries, Route(network("10.0.50.0/24"))])


UPLINK = table(f"{ANY} internet")


class Tables:
    """Next hops by the tables of the machines."""

    def __init__(self, host: RouteTable, router: RouteTable = UPLINK) -> None:
        connector = table(f"{ANY} tunnel")
        self._tables: Mapping[str, RouteTable] = {"hq/pbx": host, "router:hq": router, "hq": connector}

    def __call__(self, machine: str, address: bytes) -> Hop | None:
        return self._tables[machine].lookup(address)


def follow(
    host: RouteTable, router: RouteTable = UPLINK, *, mode: Mode = "default-gateway", to: bytes = CLIENT
) -> tuple[Ground, Leg, Tables]:
    """What hq/pbx sends."""
    ground, tables = replace(GROUND, mode=mode), Tables(host, router)
    return ground, trace(ground, "hq/pbx", to, tables), tables
