"""The linter against packets: what it says of an office is what happens there, and what it names mends it."""

from __future__ import annotations

import copy
import json
import re
from typing import Any, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.fabric import Sim
from scenarios.flows import Flows, Planned, Verdict
from scenarios.runner import check, run
from scenarios.site_plan import SitePlans

World: TypeAlias = dict[str, Any]

ROUTER, GATEWAY, NEIGHBOUR, NOBODY = (f"10.0.50.{number}" for number in (1, 10, 61, 99))
PREFIXES = [
    "100.96.0.0/12",
    "100.64.0.0/10",
    "100.96.0.12/32",
    "10.0.60.0/24",
    "10.0.60.128/25",
    "10.0.0.0/8",
]
FLOWS = [
    *(("alice", "hq/pbx"), ("hq/pbx", "alice"), ("branch/web", "hq/pbx"), ("hq/pbx", "branch/web")),
    *(("hq/pbx", "hq/desk"), ("hq/desk", "hq/pbx")),
]
FIX = re.compile(
    r"on (?P<machine>\S+): ip route (?P<word>add|replace) (?P<to>\S+) (via (?P<via>\S+)|dev eth0)"
)

next_hops = st.sampled_from([ROUTER, GATEWAY, NEIGHBOUR, NOBODY])
host_routes = st.dictionaries(st.sampled_from([*PREFIXES, f"{NEIGHBOUR}/32"]), next_hops, max_size=3)
router_routes = st.lists(st.sampled_from(PREFIXES), unique=True, max_size=3)


@st.composite
def offices(draw: st.DrawFn) -> World:
    """An office in any mode, whose router and one of whose hosts may be set up wrong."""
    pbx: World = {"ip": "10.0.50.60", "app": {"udp.echo": {}}}
    router: World = {"ip": ROUTER}
    if draw(st.booleans()):
        pbx["gateway"] = draw(next_hops)
    if draw(st.booleans()):
        pbx["routes"] = [{"to": to, "via": via} for to, via in draw(host_routes).items()]
    if draw(st.booleans()):
        router["routes"] = draw(router_routes)
    hq = {
        "vnet": "acme",
        "routes": ["10.0.50.0/24"],
        "deploy": draw(st.sampled_from(["default-gateway", "intermediate-gateway", "per-host"])),
        "gateway": GATEWAY,
        "router": router,
        "hosts": {"pbx": pbx, "desk": {"ip": NEIGHBOUR, "app": {"udp.echo": {}}}},
    }
    web = {"ip": "10.0.60.200", "app": {"udp.echo": {}}}
    branch = {"vnet": "acme", "routes": ["10.0.60.0/24"], "hosts": {"web": web}}
    alice = {"vnet": "acme", "ip": "100.96.0.12", "app": {"udp.echo": {}}}
    return {
        "version": 1,
        "name": "office",
        "vnets": {"acme": {"default": "allow"}},
        "topology": {"sites": {"hq": hq, "branch": branch}, "clients": {"alice": alice}},
        "steps": [
            {"wait": {"tunnels": "up"}},
            *(
                {"may_fail": True, "udp.send": {"from": source, "to": target, "patience": "200ms"}}
                for source, target in FLOWS
            ),
        ],
    }


def linted(world: World) -> dict[tuple[str, str], Verdict]:
    (script,) = check(json.dumps(world), build=False)
    plans = SitePlans(script.scenario)
    flows = Flows(script.cast, plans, Planned(plans, script.cast))
    return {pair: flows.judge(*pair) for pair in FLOWS}


def answered(world: World) -> dict[tuple[str, str], bool]:
    (script,) = check(json.dumps(world))
    record = Sim().execute(lambda: run(script, Sim(), leaks=False), seed=7)
    assert all(law.holds for law in record.invariants), record.invariants
    received = [step.results["received"] for step in record.steps[1:]]
    return {pair: bool(each) for pair, each in zip(FLOWS, received, strict=True)}


def returning(verdicts: dict[tuple[str, str], Verdict]) -> dict[tuple[str, str], bool]:
    return {pair: verdict.returns for pair, verdict in verdicts.items()}


def mended(world: World, fixes: list[str]) -> World:
    """As somebody who follows the advice word by word would write it."""
    new = copy.deepcopy(world)
    hq = new["topology"]["sites"]["hq"]
    for fix in fixes:
        match = FIX.fullmatch(fix)
        assert match is not None, fix
        to, via = match["to"], match["via"]
        if match["machine"] == "router:hq":
            assert via == GATEWAY
            hq["router"]["routes"].append(to)
            continue
        pbx = hq["hosts"][match["machine"].removeprefix("hq/")]
        if to == "default":
            pbx["gateway"] = via
            continue
        routes = pbx.setdefault("routes", [])
        assert any(route["to"] == to for route in routes) == (match["word"] == "replace")
        routes[:] = [route for route in routes if route["to"] != to]
        if via is not None:  # else it is on the link without a route of its own
            routes.append({"to": to, "via": via})
    return new


@settings(derandomize=True, database=None, max_examples=80, deadline=None)
@given(offices())
def test_what_the_linter_says_happens_and_what_it_names_is_what_it_takes(world: World) -> None:
    before = linted(world)
    assert answered(world) == returning(before)
    fixes = list(dict.fromkeys(fix for verdict in before.values() for fix in verdict.fixes))
    if fixes:
        assert all(answered(mended(world, fixes)).values()), fixes
    for fix in fixes:
        others = [each for each in fixes if each != fix]
        assert not all(returning(linted(mended(world, others))).values()), f"{fix} is superfluous"
