"""``probe.mtu`` in a whole world: the figures that a step's conditions see."""

from __future__ import annotations

import pytest

from scenarios.fabric import FABRICS
from scenarios.lab.world import run_file
from scenarios.report import State

WORLD = """\
version: 1
name: sizes
vnets: {acme: {}}
topology:
  links: {narrow: {mtu: 1400}}
  sites:
    hq: {vnet: acme, routes: [10.0.50.0/24], hosts: {server: {ip: 10.0.50.60}}}
  clients:
    alice: {vnet: acme, tunnel: masque}
    bob: {vnet: acme, link: narrow}
policy: [{id: PORTS action: allow}]
steps:
  - {wait: {tunnels: up}, within: 10s}
  - probe.mtu: {from: hq/server, to: alice, sizes: [1280, 1281], protocols: [udp, tcp], patience: 100ms}
    expect: [CONDITION]
  - probe.mtu: {from: hq/server, to: bob, sizes: [1300, 1420], protocols: [udp, tcp], patience: 100ms}
    expect: ["mtu == 1300 and told == None and lost == [1420] and cut == []"]
"""


@pytest.mark.parametrize("fabric", FABRICS)
def test_what_fits_who_says_so_and_what_is_lost(fabric: str) -> None:
    agree = "mtu == 1280 and mss == 1240 and told == 1280 and cut == [1281] and lost == [] and agree"
    wanted = f'"{agree} and clients.alice.fragments > 0"'
    text = WORLD.replace("PORTS", "all,").replace("CONDITION", wanted)
    done = run_file(text, fabric=fabric)
    assert done.state is State.PASSED, (done.error, [check.saw for check in done.failed_checks])
    assert done.steps[1].table[0] == ["bytes", "udp DF", "udp", "tcp DF", "tcp"]
    assert done.steps[1].table[2] == ["1281", "MTU 1280", "pieces", "MTU 1280", "pieces"]


def test_protocols_that_do_not_agree_are_told_apart() -> None:
    wanted = (
        '"not agree and mtu == 0 and df.udp[\\"1280\\"] == \\"whole\\" and df.tcp[\\"1280\\"] == \\"lost\\""'
    )
    text = WORLD.replace("PORTS", "udp, ports: udp/9,").replace("CONDITION", wanted)
    done = run_file(text)
    assert done.steps[1].state is State.PASSED, [check.saw for check in done.steps[1].checks]
