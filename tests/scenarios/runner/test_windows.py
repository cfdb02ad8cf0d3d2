"""Quality over time reaches the record: where a call sounded bad, and when."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from scenarios.fabric import FABRICS
from scenarios.report import RunRecord
from scenarios.runner import check, run

TEXT = """\
version: 1
name: worse
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
  - wait: {for: 3s}
  - sip.register: {phones: [alice, bob]}
  - {background: true, sip.call: {from: alice, to: bob, hold: 30s}}
  - {at: 14s, fault.degrade: {tunnels: bob, to: {loss: '20%'}}}
invariants: [{id: whole, always: 'hosts.bob.sources == []'}]
"""


def test_each_ten_seconds_of_a_call_are_judged_and_say_when_they_began() -> None:
    (script,) = check(TEXT)
    fabric = FABRICS["sim"]
    record: RunRecord = fabric.execute(partial(run, script, fabric), seed=7)
    assert record.virtual
    (call,) = record.calls
    for heard in call.directions:
        starts = [window.start for window in heard.windows]
        assert [round(after - before, 6) for before, after in pairwise(starts)][:2] == [10.0, 10.0]
        assert (call.started or 0.0) < starts[0] < 4.0
        first, second = (window.mos for window in heard.windows[:2])
        assert first is not None and second is not None
        assert first > 4.0 > second
        assert (heard.windows[1].loss or 0.0) > 0.05


def test_a_broken_invariant_says_when() -> None:
    (script,) = check(TEXT)
    fabric = FABRICS["sim"]
    record: RunRecord = fabric.execute(partial(run, script, fabric), seed=7)
    (law,) = [law for law in record.invariants if law.id == "whole"]
    assert not law.holds
    assert law.at is not None
    assert 3.0 <= law.at < 4.0
