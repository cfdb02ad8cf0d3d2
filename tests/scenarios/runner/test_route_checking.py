"""``route.check`` in a run, and steps that say themselves which route is missing; in virtual time and on sockets."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.fabric import FABRICS, Loopback, Sim
from scenarios.report import RunRecord, State, findings
from scenarios.runner import check, run

LESSON = Path(__file__).parents[3] / "scenarios/library/19-deploy-modes.yaml"

TEXT = """\
version: 1
name: small
vnets: {acme: {}}
topology:
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24]
      deploy: intermediate-gateway
      gateway: 10.0.50.10
      router: {ip: 10.0.50.1, routes: []}
      hosts:
        web: {ip: 10.0.50.60, app: {udp.echo: {}, http.server: {}}}
        good: {ip: 10.0.50.61, gateway: 10.0.50.10, app: {udp.echo: {}}}
  clients:
    alice: {vnet: acme, ip: 100.96.0.12, app: {udp.echo: {}}}
policy:
  - {id: echo, ports: udp/7, action: allow}
  - {id: web, ports: tcp/80, action: allow}
  - {id: ping, protocol: icmp, action: allow}
steps:
  - wait: {tunnels: up}
"""
MISSING = "fix: on router:hq: ip route add 100.96.0.0/12 via 10.0.50.10"


def ran(text: str) -> RunRecord:
    (script,) = check(text)
    return Sim().execute(lambda: run(script, Sim()), seed=7)


def test_a_step_that_fails_names_the_missing_route() -> None:
    record = ran(
        TEXT
        + "  - udp.send: {from: alice, to: hq/web, patience: 100ms}\n"
        + "  - {may_fail: true, http.request: {from: alice, to: hq/web, give_up: 1s}}\n"
        + "  - {may_fail: true, ping: {from: hq/web, to: alice, patience: 100ms}}\n"
    )
    assert record.state is State.FAILED
    _, *steps = record.steps
    assert all(step.summary.endswith(MISSING) for step in steps), [step.summary for step in steps]
    assert findings(record)[0].text.endswith(MISSING)


def test_a_step_that_policy_fails_says_that_and_nothing_of_routes() -> None:
    record = ran(
        TEXT + "  - {may_fail: true, udp.send: {from: alice, to: hq/good, port: 9, patience: 100ms}}\n"
    )
    assert record.steps[1].summary == "0 of 1 answered: rule default, good saw 0 bytes"


def test_a_check_is_made_of_tables_and_fails_if_answers_do_not_return() -> None:
    record = ran(TEXT + "  - route.check: {from: alice, to: hq/web}\n")
    assert record.state is State.FAILED
    results = record.steps[1].results
    assert results["returns"] is False and results["path"] == ["hq/web", "router:hq", "the Internet"]
    assert results["request"] == ["alice", "PoP", "hq", "hq/web"]
    assert record.accounts[0].packets_in == 0, "nothing was sent"
    assert ran(TEXT + "  - route.check: {from: alice, to: hq/good}\n").state is State.PASSED


@pytest.mark.parametrize("fabric", [Sim(), Loopback()], ids=lambda fabric: fabric.name)
def test_neighbours_that_send_by_the_connector_reach_each_other(fabric: Sim | Loopback) -> None:
    """It is a router, and the tunnel has nothing to do with it."""
    (script,) = check(
        TEXT.replace("gateway: 10.0.50.10, app", "routes: [{to: 10.0.50.60/32, via: 10.0.50.10}], app")
        + "  - route.check: {from: hq/good, to: hq/web}\n"
        + '    expect: [\'request == ["hq/good", "hq", "hq/web"]\', returns]\n'
        + "  - fault.kill: {machine: hq}\n"
        + "  - udp.send: {from: hq/good, to: hq/web}\n"
    )
    record = fabric.execute(lambda: run(script, fabric), seed=7)
    assert record.state is State.PASSED, (record.error, [step.summary for step in record.steps])


def test_what_ends_on_a_lan_is_counted_by_reason() -> None:
    record = ran(
        TEXT
        + "  - {may_fail: true, ping: {from: alice, to: hq/web, patience: 100ms}}\n"
        + "expect: [sites.hq.lost.internet == 3, sites.hq.lost.no_neighbour == 0]\n"
    )
    assert record.state is State.PASSED, record.failed_checks


def test_the_laws_hold_while_answers_go_astray() -> None:
    record = ran(TEXT + "  - {may_fail: true, ping: {from: alice, to: hq/web, patience: 100ms}}\n")
    assert all(law.holds for law in record.invariants) and record.invariants


async def test_the_lesson_holds_on_real_sockets() -> None:
    (script,) = check(LESSON)
    record = await run(script, FABRICS["loopback"])
    assert record.state is State.PASSED, (record.error, [(c.text, c.saw) for c in record.failed_checks])


@pytest.mark.parametrize("fabric", [Sim(), Loopback()], ids=lambda fabric: fabric.name)
def test_a_router_is_a_hop_and_answers_pings(fabric: Sim | Loopback) -> None:
    (script,) = check(
        TEXT.replace("routes: []", "routes: [100.96.0.0/12]")
        + "  - ping: {from: alice, to: hq/web}\n"
        + "  - ping: {from: alice, to: 10.0.50.1}\n"
        + "  - ping: {from: hq/web, to: 10.0.50.1}\n"
    )
    record = fabric.execute(lambda: run(script, fabric), seed=7)
    assert record.state is State.PASSED, (record.error, [step.summary for step in record.steps])
    assert all(law.holds for law in record.invariants)
