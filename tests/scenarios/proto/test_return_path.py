"""The linter: for each way to deploy a connector, each way to do it wrong, and the route that is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from scenarios.proto.return_path import Fate, Ground, Leg, Mode, advise, trace
from scenarios.proto.route_table import Device, Hop, Network, Route, RouteTable


def packed(text: str) -> bytes:
    return ip_address(text).packed


def network(text: str) -> Network:
    parsed = ip_network(text)
    return parsed.network_address.packed, parsed.prefixlen


HOST, ROUTER, GATEWAY = "10.0.50.60", "10.0.50.1", "10.0.50.10"
CLIENT = packed("100.96.0.12")
GROUND = Ground(
    "default-gateway",
    {
        packed(HOST): "hq/pbx",
        packed("10.0.50.61"): "hq/desk",
        packed(ROUTER): "router:hq",
        packed(GATEWAY): "hq",
    },
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


ANY = "0.0.0.0/0"
UPLINK = table(f"{ANY} internet")


def follow(
    host: RouteTable, router: RouteTable = UPLINK, *, mode: Mode = "default-gateway", to: bytes = CLIENT
) -> tuple[Ground, Leg]:
    tables: Mapping[str, RouteTable] = {"hq/pbx": host, "router:hq": router}
    ground = replace(GROUND, mode=mode)
    return ground, trace(ground, "hq/pbx", to, lambda machine, address: tables[machine].lookup(address))


@pytest.mark.parametrize(
    ("host", "router", "names"),
    [
        (table(f"{ANY} via {GATEWAY}"), UPLINK, ["hq/pbx", "hq"]),
        (table(f"{ANY} via {ROUTER}"), table(f"{ANY} via {GATEWAY}"), ["hq/pbx", "router:hq", "hq"]),
        (table(f"100.96.0.0/12 via {GATEWAY}", f"{ANY} via {ROUTER}"), UPLINK, ["hq/pbx", "hq"]),
    ],
)
def test_a_packet_that_reaches_the_connector(host: RouteTable, router: RouteTable, names: list[str]) -> None:
    _, leg = follow(host, router)
    assert (leg.arrives, leg.fate, leg.names) == (True, Fate.CONNECTOR, names)


def test_a_neighbour_needs_no_connector() -> None:
    _, leg = follow(table(), to=packed("10.0.50.61"))
    assert (leg.arrives, leg.fate, leg.names) == (True, Fate.DELIVERED, ["hq/pbx", "hq/desk"])


DEFAULT, MIDDLE, EACH = "default-gateway", "intermediate-gateway", "per-host"


@pytest.mark.parametrize(
    ("mode", "host", "router", "fate", "fix"),
    [
        # The connector as default gateway: all mistakes are the host's.
        (DEFAULT, table(f"{ANY} via {ROUTER}"), UPLINK, Fate.INTERNET,
         f"on hq/pbx: ip route replace default via {GATEWAY}"),
        (DEFAULT, table(f"{ANY} via 10.0.50.9"), UPLINK, Fate.NOBODY,
         f"on hq/pbx: ip route replace default via {GATEWAY}"),
        (DEFAULT, table(f"{ANY} via 10.0.50.61"), UPLINK, Fate.NO_ROUTER,
         f"on hq/pbx: ip route replace default via {GATEWAY}"),
        (DEFAULT, table(), UPLINK, Fate.NO_ROUTE, f"on hq/pbx: ip route add default via {GATEWAY}"),
        (DEFAULT, table(f"100.64.0.0/10 via {ROUTER}", f"{ANY} via {GATEWAY}"), UPLINK, Fate.INTERNET,
         f"on hq/pbx: ip route replace 100.64.0.0/10 via {GATEWAY}"),
        # The router between: its routes are missing, or the host does not ask it.
        (MIDDLE, table(f"{ANY} via {ROUTER}"), UPLINK, Fate.INTERNET,
         f"on router:hq: ip route add 100.96.0.0/12 via {GATEWAY}"),
        (MIDDLE, table(f"{ANY} via {ROUTER}"), table(), Fate.NO_ROUTE,
         f"on router:hq: ip route add 100.96.0.0/12 via {GATEWAY}"),
        (MIDDLE, table(f"{ANY} via {ROUTER}"), table("100.96.0.0/12 via 10.0.50.9"), Fate.NOBODY,
         f"on router:hq: ip route replace 100.96.0.0/12 via {GATEWAY}"),
        (MIDDLE, table(f"{ANY} via {ROUTER}"), table(f"100.96.0.0/12 via {HOST}"), Fate.NO_ROUTER,
         f"on router:hq: ip route replace 100.96.0.0/12 via {GATEWAY}"),
        (MIDDLE, table(f"{ANY} via 10.0.50.9"), UPLINK, Fate.NOBODY,
         f"on hq/pbx: ip route replace default via {ROUTER}"),
        (MIDDLE, table(), UPLINK, Fate.NO_ROUTE, f"on hq/pbx: ip route add default via {ROUTER}"),
        # A route on every host: a default route that is right for all else stays.
        (EACH, table(f"{ANY} via {ROUTER}"), UPLINK, Fate.INTERNET,
         f"on hq/pbx: ip route add 100.96.0.0/12 via {GATEWAY}"),
        (EACH, table("100.96.0.0/12 via 10.0.50.9", f"{ANY} via {ROUTER}"), UPLINK, Fate.NOBODY,
         f"on hq/pbx: ip route replace 100.96.0.0/12 via {GATEWAY}"),
        (EACH, table(f"{ANY} via 10.0.50.9"), UPLINK, Fate.NOBODY,
         f"on hq/pbx: ip route add 100.96.0.0/12 via {GATEWAY}"),
        (EACH, table("100.96.0.0/12", f"{ANY} via {ROUTER}"), UPLINK, Fate.NOBODY,
         f"on hq/pbx: ip route replace 100.96.0.0/12 via {GATEWAY}"),
        (MIDDLE, table(f"{ANY} via {ROUTER}"), table("100.64.0.0/10 internet"), Fate.INTERNET,
         f"on router:hq: ip route replace 100.64.0.0/10 via {GATEWAY}"),
        (EACH, table(), UPLINK, Fate.NO_ROUTE, f"on hq/pbx: ip route add 100.96.0.0/12 via {GATEWAY}"),
    ],
)  # fmt: skip
def test_the_missing_route_is_named(
    mode: Mode, host: RouteTable, router: RouteTable, fate: Fate, fix: str
) -> None:
    ground, leg = follow(host, router, mode=mode)
    assert not leg.arrives
    assert (leg.fate, advise(ground, leg, answers=True).fix) == (fate, fix)


def test_it_is_said_who_sends_what_where() -> None:
    ground, leg = follow(table(f"{ANY} via {ROUTER}"), mode=MIDDLE)
    assert advise(ground, leg, answers=True).says == (
        "hq/pbx (10.0.50.60) answers 100.96.0.12 via 10.0.50.1: "
        "the router has no route to 100.96.0.0/12, so it goes to the Internet"
    )
    assert advise(ground, leg, answers=False).says.startswith("hq/pbx (10.0.50.60) sends to 100.96.0.12 via")
    assert leg.names == ["hq/pbx", "router:hq", "the Internet"]


@pytest.mark.parametrize(
    ("host", "router", "says"),
    [
        (table(f"{ANY} via 10.0.50.9"), UPLINK, "via 10.0.50.9: nobody has that address"),
        (table(f"{ANY} via 10.0.50.61"), UPLINK, "via 10.0.50.61: hq/desk has that address, and forwards nothing"),
        (table(), UPLINK, "answers 100.96.0.12: it has no route to 100.96.0.0/12"),
        (table("100.96.0.0/12"), UPLINK, "on its own link: nobody on the LAN has 100.96.0.12"),
        (table(f"{ANY} via {ROUTER}"), UPLINK,
         "that is the router, which sends it to the Internet, and not the connector"),
        (table(f"{ANY} via {ROUTER}"), table("100.96.0.0/12 via 10.0.50.9"),
         "the router of hq sends it to 10.0.50.9, and nobody has that address"),
    ],
)  # fmt: skip
def test_every_fate_has_its_words(host: RouteTable, router: RouteTable, says: str) -> None:
    ground, leg = follow(host, router)
    assert advise(ground, leg, answers=True).says.endswith(says)


def test_a_route_for_the_longest_part_that_holds_the_destination_is_named() -> None:
    ground, leg = follow(table(f"{ANY} via {ROUTER}"), mode=MIDDLE, to=packed("10.0.60.9"))
    assert advise(ground, leg, answers=True).fix == f"on router:hq: ip route add 10.0.60.0/24 via {GATEWAY}"


def test_a_destination_that_is_nowhere_in_the_network_is_named_itself() -> None:
    ground, leg = follow(table(f"{ANY} via {ROUTER}"), mode=MIDDLE, to=packed("172.16.0.1"))
    assert advise(ground, leg, answers=True).fix == f"on router:hq: ip route add 172.16.0.1/32 via {GATEWAY}"


def test_routes_that_lead_in_circles_end() -> None:
    ground, leg = follow(table(f"{ANY} via {ROUTER}"), table(f"{ANY} via {ROUTER}"))
    assert leg.fate is Fate.CIRCLE and not leg.arrives
    assert advise(ground, leg, answers=True).says.endswith("it goes in circles")


def test_an_entry_that_the_kernel_does_not_name_is_not_replaced() -> None:
    hop = Hop(Device.LAN, packed("10.0.50.9"))
    leg = trace(GROUND, "hq/pbx", CLIENT, lambda *_: hop)
    assert advise(GROUND, leg, answers=True).fix == f"on hq/pbx: ip route add 100.96.0.0/12 via {GATEWAY}"


def test_a_gateway_that_is_on_no_prefix_needs_the_word_for_it() -> None:
    link_local = packed("169.254.0.1")
    ground = replace(
        GROUND, owners={packed(HOST): "hq/pbx", link_local: "hq"}, gateways={4: link_local}, onlink=True
    )
    leg = trace(ground, "hq/pbx", CLIENT, lambda *_: None)
    assert (
        advise(ground, leg, answers=True).fix
        == "on hq/pbx: ip route add default via 169.254.0.1 dev eth0 onlink"
    )


def test_of_ipv6_the_gateway_and_the_router_are_those_of_ipv6() -> None:
    owners = {**GROUND.owners, packed("fd00:50::60"): "hq/pbx", packed("fd00:50::1"): "router:hq"}
    ground = replace(
        GROUND,
        mode=MIDDLE,
        owners=owners,
        gateways={4: packed(GATEWAY), 16: packed("fd00:50::10")},
        remote=[*GROUND.remote, network("fd00:60::/64")],
    )
    far = packed("fd00:60::1")
    leg = trace(ground, "hq/pbx", far, lambda *_: None)
    assert advise(ground, leg, answers=True).fix == "on hq/pbx: ip route add ::/0 via fd00:50::1"
    hops = {"hq/pbx": Hop(Device.LAN, packed("fd00:50::1"), network("::/0")), "router:hq": None}
    leg = trace(ground, "hq/pbx", far, lambda machine, _: hops[machine])
    assert advise(ground, leg, answers=True).fix == "on router:hq: ip route add fd00:60::/64 via fd00:50::10"


def test_without_a_router_of_that_version_no_route_helps() -> None:
    ground = replace(GROUND, mode=MIDDLE, gateways={4: packed(GATEWAY), 16: packed("fd00:50::10")})
    leg = trace(ground, "hq/pbx", packed("fd00:60::1"), lambda *_: None)
    assert "give the router an address" in advise(ground, leg, answers=True).fix
