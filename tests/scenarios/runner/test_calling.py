"""Who is a party of a call, and what each of them heard."""

from __future__ import annotations

from functools import partial

from scenarios.fabric import FABRICS
from scenarios.report import RunRecord, State
from scenarios.runner import check, run

WORLD = """\
version: 1
name: calling
fabric: sim
vnets: {acme: {}}
topology:
  sites: {hq: {vnet: acme, routes: [10.0.50.0/24], hosts: {pbx: {ip: 10.0.50.60, app: {sip.pbx: {}}}}}}
  clients:
    alice: {vnet: acme, app: {sip.phone: {}}}
    bob: {vnet: acme, app: {sip.phone: {}}}
policy: [{id: all, action: allow}]
steps:
  - wait: {tunnels: up}
  - sip.register: {phones: [alice, bob]}
"""

ECHO = """
  - {fault.degrade: {tunnels: alice, to: {up: {loss: '20%'}, down: {loss: '0%'}}}}
  - id: echo
    sip.call: {from: alice, to: "600", hold: 12s}
    expect:
      - heard["hq/pbx"].packets > 300 and heard["hq/pbx"].loss > 5%
      - heard.alice.loss == 0
      - mos == heard["hq/pbx"].mos
      - media.direct and media.to_caller == clients.alice.ip
thresholds:
  "rtp.loss{call=echo,listener=hq/pbx}": ["max > 5%"]
  "rtp.loss{call=echo,listener=alice}": ["max == 0"]
"""


def record(steps: str) -> RunRecord:
    (script,) = check(WORLD + steps)
    fabric = FABRICS["sim"]
    return fabric.execute(partial(run, script, fabric), seed=7)


def test_a_pbx_that_echoes_is_a_party_of_the_call_and_says_what_it_heard() -> None:
    done = record(ECHO)
    assert done.state is State.PASSED, (done.error, done.failed_checks, done.thresholds)
    (call,) = done.calls
    assert [heard.listener for heard in call.directions] == ["alice", "hq/pbx"]
    assert call.callee == "600"
    assert call.path == "media direct, through the connector of hq"
    assert all(heard.windows for heard in call.directions)


def test_a_call_that_the_pbx_only_passes_on_has_no_third_party() -> None:
    done = record("  - sip.call: {from: alice, to: bob, hold: 2s}\n")
    assert done.state is State.PASSED, (done.error, done.failed_checks)
    assert [heard.listener for heard in done.calls[0].directions] == ["alice", "bob"]
