"""What is left when everybody has gone."""

from __future__ import annotations

from functools import partial

import pytest

from edge.proto.forwarding.flows import FlowTable
from scenarios.fabric import FABRICS, Loopback
from scenarios.report import InvariantRecord, RunRecord, State
from scenarios.runner import check, run

TEXT = """\
version: 1
name: visitors
vnets: {acme: {}}
topology:
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24]
      connectors: {hq-a: {}, hq-b: {}}
      hosts: {server: {ip: 10.0.50.60, app: {udp.echo: {}, sip.pbx: {}}}}
  clients:
    alice: {vnet: acme, ip: 100.96.0.12, app: {sip.phone: {}}}
policy: [{id: all, action: allow}]
steps:
  - wait: {tunnels: up}
  - udp.send: {from: alice, to: hq/server}
  - sip.register: {phones: [alice]}
  - {sip.call: {from: alice, to: "600", hold: null}, within: 1s, may_fail: true}
"""


def in_sim(text: str, **options: bool) -> RunRecord:
    (script,) = check(text)
    sim = FABRICS["sim"]
    return sim.execute(partial(run, script, sim, **options), seed=7)  # type: ignore[arg-type]


def law(record: RunRecord) -> InvariantRecord:
    return next(law for law in record.invariants if law.id == "no-leaks")


def test_nothing_is_left_of_a_call_that_nobody_ended() -> None:
    record = in_sim(TEXT)
    assert record.state is State.PASSED, record.error
    assert law(record).holds
    assert record.elapsed < 10  # what came afterwards is not part of the run


def test_what_the_file_left_broken_is_no_leak() -> None:
    more = """\
  - {fault.partition: {tunnels: hq-a}}
  - {fault.pause: {machine: alice, for: 1h}, within: 1s, may_fail: true}
  - {fault.kill: {machine: hq-b}}
  - {fault.pause: {machine: edge, for: 2s}}
"""
    assert law(in_sim(TEXT + more)).holds
    assert law(in_sim(TEXT + "  - fault.kill: {machine: edge}\n")).holds


@pytest.mark.parametrize("protocol", ["flows"])
def test_flows_that_never_end_are_found(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FlowTable, "expire", lambda table, now: False)
    record = in_sim(TEXT)
    assert record.state is State.FAILED
    assert law(record).details[0].startswith("vnet acme: ")
    assert law(record).details[0].endswith(protocol)
    assert in_sim(TEXT, leaks=False).state is State.PASSED


async def test_on_real_sockets_all_of_them_are_closed() -> None:
    (script,) = check(TEXT)
    record = await run(script, Loopback())
    assert law(record).holds, law(record).details
    assert record.state is State.PASSED
