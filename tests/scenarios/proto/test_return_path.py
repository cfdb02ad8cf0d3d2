"""Where packets go on a LAN by the tables of its machines."""

from __future__ import annotations

import pytest

from scenarios.proto.return_path import Fate
from scenarios.proto.route_table import RouteTable
from tests.scenarios.proto.office import ANY, DESK, GATEWAY, ROUTER, UPLINK, follow, packed, table


@pytest.mark.parametrize(
    ("host", "router", "names"),
    [
        (table(f"{ANY} via {GATEWAY}"), UPLINK, ["hq/pbx", "hq"]),
        (table(f"{ANY} via {ROUTER}"), table(f"{ANY} via {GATEWAY}"), ["hq/pbx", "router:hq", "hq"]),
        (table(f"100.96.0.0/12 via {GATEWAY}", f"{ANY} via {ROUTER}"), UPLINK, ["hq/pbx", "hq"]),
    ],
)
def test_a_packet_that_reaches_the_connector(host: RouteTable, router: RouteTable, names: list[str]) -> None:
    _, leg, _ = follow(host, router)
    assert (leg.arrives, leg.fate, leg.names) == (True, Fate.CONNECTOR, names)


@pytest.mark.parametrize(
    ("host", "router", "names"),
    [
        (table(), UPLINK, ["hq/pbx", "hq/desk"]),
        (table(f"{DESK}/32 via {ROUTER}"), UPLINK, ["hq/pbx", "router:hq", "hq/desk"]),
        (table(f"{DESK}/32 via {GATEWAY}"), UPLINK, ["hq/pbx", "hq", "hq/desk"]),
        (table(f"{DESK}/32 via {ROUTER}"), table(f"{DESK}/32 via {GATEWAY}"),
         ["hq/pbx", "router:hq", "hq", "hq/desk"]),
    ],
)  # fmt: skip
def test_a_neighbour_is_reached_without_the_tunnel(
    host: RouteTable, router: RouteTable, names: list[str]
) -> None:
    _, leg, _ = follow(host, router, to=packed(DESK))
    assert (leg.arrives, leg.fate, leg.names) == (True, Fate.DELIVERED, names)


def test_what_nobody_on_the_lan_has_ends_at_the_connector() -> None:
    _, leg, _ = follow(table(f"10.0.50.0/25 via {GATEWAY}"), to=packed("10.0.50.99"))
    assert leg.fate is Fate.CONNECTOR


def test_the_machines_that_it_passes_are_named_as_far_as_it_gets() -> None:
    _, leg, _ = follow(table(f"{ANY} via {ROUTER}"))
    assert leg.names == ["hq/pbx", "router:hq", "the Internet"]


def test_routes_that_lead_in_circles_end() -> None:
    _, leg, _ = follow(table(f"{ANY} via {ROUTER}"), table(f"{ANY} via {ROUTER}"))
    assert leg.fate is Fate.CIRCLE and not leg.arrives
