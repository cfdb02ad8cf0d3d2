"""The linter: for each way to deploy a connector, each way to do it wrong, and the commands that mend it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scenarios.proto.return_path import Fate, Ground, Leg, Mode, NextHop, trace
from scenarios.proto.route_advice import advise
from scenarios.proto.route_table import Device, Hop, Route, RouteTable
from tests.scenarios.proto.office import (
    ANY,
    CLIENT,
    DESK,
    GATEWAY,
    GROUND,
    HOST,
    ROUTER,
    UPLINK,
    Tables,
    follow,
    network,
    packed,
    table,
)


def fixes(ground: Ground, leg: Leg, tables: NextHop) -> list[str]:
    return list(map(str, advise(ground, leg, tables, answers=True).repairs))


DEFAULT, MIDDLE, EACH = "default-gateway", "intermediate-gateway", "per-host"
KNOWS = table(f"100.96.0.0/12 via {GATEWAY}")


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
        (MIDDLE, table(f"{ANY} via 10.0.50.9"), KNOWS, Fate.NOBODY,
         f"on hq/pbx: ip route replace default via {ROUTER}"),
        (MIDDLE, table(), KNOWS, Fate.NO_ROUTE, f"on hq/pbx: ip route add default via {ROUTER}"),
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
    ground, leg, tables = follow(host, router, mode=mode)
    assert not leg.arrives
    assert (leg.fate, fixes(ground, leg, tables)) == (fate, [fix])


def test_all_that_a_packet_needs_on_its_way_is_named() -> None:
    """With a host that asks the router, the router still has to know."""
    ground, leg, tables = follow(table(f"{ANY} via 10.0.50.9"), UPLINK, mode=MIDDLE)
    assert fixes(ground, leg, tables) == [
        f"on hq/pbx: ip route replace default via {ROUTER}",
        f"on router:hq: ip route add 100.96.0.0/12 via {GATEWAY}",
    ]


def test_a_neighbour_is_on_the_link_again() -> None:
    detour = table("10.0.50.61/32 via 10.0.50.9", f"{ANY} via {GATEWAY}")
    ground, leg, tables = follow(detour, to=packed(DESK))
    assert fixes(ground, leg, tables) == ["on hq/pbx: ip route replace 10.0.50.61/32 dev eth0"]


def test_a_machine_that_keeps_its_entry_whatever_it_is_told_is_told_once() -> None:
    def stubborn(machine: str, destination: bytes) -> Hop:
        return Hop(Device.INTERNET, None, (destination, 32))

    leg = trace(GROUND, "hq/pbx", CLIENT, stubborn)
    ground = replace(GROUND, owners={}, mode=MIDDLE)
    assert len(fixes(ground, leg, stubborn)) == 1


def test_it_is_said_who_sends_what_where() -> None:
    ground, leg, tables = follow(table(f"{ANY} via {ROUTER}"), mode=MIDDLE)
    assert advise(ground, leg, tables, answers=True).says == (
        "hq/pbx (10.0.50.60) answers 100.96.0.12 via 10.0.50.1: "
        "the router has no route to 100.96.0.0/12, so it goes to the Internet"
    )
    says = advise(ground, leg, tables, answers=False).says
    assert says.startswith("hq/pbx (10.0.50.60) sends to 100.96.0.12 via")


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
        (table(f"{ANY} via {ROUTER}"), table("100.96.0.0/12 via 10.0.50.61"),
         "the router of hq sends it to 10.0.50.61, and hq/desk has that address, and forwards nothing"),
        (table(f"{ANY} via {ROUTER}"), table(f"{ANY} via {ROUTER}"), "it goes in circles"),
    ],
)  # fmt: skip
def test_every_fate_has_its_words(host: RouteTable, router: RouteTable, says: str) -> None:
    ground, leg, tables = follow(host, router)
    assert advise(ground, leg, tables, answers=True).says.endswith(says)


def test_a_host_with_a_route_is_not_told_that_it_has_none() -> None:
    ground, leg, tables = follow(table(f"100.64.0.0/10 via {ROUTER}"), mode=EACH)
    assert advise(ground, leg, tables, answers=True).says.endswith(
        "via 10.0.50.1: that is the router, which sends it to the Internet, and not the connector"
    )


@pytest.mark.parametrize(("to", "prefix"), [("10.0.60.9", "10.0.60.0/24"), ("172.16.0.1", "172.16.0.1/32")])
def test_the_longest_part_of_the_network_that_holds_a_destination_is_named_or_else_itself(
    to: str, prefix: str
) -> None:
    ground, leg, tables = follow(table(f"{ANY} via {ROUTER}"), mode=MIDDLE, to=packed(to))
    assert fixes(ground, leg, tables) == [f"on router:hq: ip route add {prefix} via {GATEWAY}"]


def test_an_entry_that_the_kernel_does_not_name_is_not_replaced() -> None:
    def kernel(machine: str, destination: bytes) -> Hop:
        return Hop(Device.LAN, None if destination == packed(GATEWAY) else packed("10.0.50.9"))

    leg = trace(GROUND, "hq/pbx", CLIENT, kernel)
    assert fixes(GROUND, leg, kernel) == [f"on hq/pbx: ip route add 100.96.0.0/12 via {GATEWAY}"]


@pytest.mark.parametrize("gateway", ["169.254.0.1", GATEWAY])
def test_a_next_hop_that_its_machine_does_not_know_as_on_the_link_needs_the_word_for_it(gateway: str) -> None:
    """That of a LAN without a free address, and one to which somebody has written a detour."""
    ground = replace(
        GROUND,
        owners={packed(HOST): "hq/pbx", packed(gateway): "hq"},
        gateways={4: packed(gateway)},
    )
    tables = Tables(table(f"{gateway}/32 via {ROUTER}"))
    leg = trace(ground, "hq/pbx", CLIENT, tables)
    assert fixes(ground, leg, tables) == [f"on hq/pbx: ip route add default via {gateway} dev eth0 onlink"]


OWNERS6 = {"60": "hq/pbx", "1": "router:hq", "10": "hq"}
V6 = replace(
    GROUND,
    mode=MIDDLE,
    owners=GROUND.owners | {packed(f"fd00:50::{n}"): name for n, name in OWNERS6.items()},
    gateways={4: packed(GATEWAY), 16: packed("fd00:50::10")},
    remote=[*GROUND.remote, network("fd00:60::/64")],
)
FAR = packed("fd00:60::1")
ON_LINK = Route(network("fd00:50::/64"))


def test_of_ipv6_the_gateway_the_router_and_the_command_are_those_of_ipv6() -> None:
    tables = Tables(RouteTable([ON_LINK]), RouteTable([ON_LINK]))
    leg = trace(V6, "hq/pbx", FAR, tables)
    assert fixes(V6, leg, tables) == [
        "on hq/pbx: ip -6 route add default via fd00:50::1",
        "on router:hq: ip -6 route add fd00:60::/64 via fd00:50::10",
    ]


def test_where_the_router_does_not_forward_that_version_hosts_send_to_the_connector() -> None:
    owners = {address: owner for address, owner in V6.owners.items() if address != packed("fd00:50::1")}
    ground = replace(V6, owners=owners)
    tables = Tables(RouteTable([ON_LINK]))
    leg = trace(ground, "hq/pbx", FAR, tables)
    assert fixes(ground, leg, tables) == ["on hq/pbx: ip -6 route add fd00:60::/64 via fd00:50::10"]


def test_a_link_local_next_hop_of_ipv6_needs_its_interface_though_kernels_know_the_prefix() -> None:
    gateway = packed("fe80::1")
    ground = replace(V6, mode=DEFAULT, gateways={16: gateway}, owners={**V6.owners, gateway: "hq"})
    tables = Tables(RouteTable([ON_LINK, Route(network("fe80::/64"))]))
    leg = trace(ground, "hq/pbx", FAR, tables)
    assert fixes(ground, leg, tables) == ["on hq/pbx: ip -6 route add default via fe80::1 dev eth0 onlink"]
