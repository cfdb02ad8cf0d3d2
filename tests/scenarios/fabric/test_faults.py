"""What faults do to a world, on the simulated fabric to the letter, and on real sockets in kind."""

from __future__ import annotations

from functools import partial

import pytest

from scenarios.fabric import FABRICS
from scenarios.report import RunRecord, State
from scenarios.runner import check, run
from tests.scenarios.fabric.netns.needs import missing

WORLD = """\
version: 1
name: faults
deadline: 120s
vnets: {acme: {}}
topology:
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24]
      connectors: {hq-a: {}, hq-b: {}}
      hosts: {server: {ip: 10.0.50.60, app: {udp.echo: {}}}}
    depot: {vnet: acme, routes: [10.0.60.0/24], hosts: {printer: {ip: 10.0.60.9, app: {udp.echo: {}}}}}
  clients:
    alice: {vnet: acme, ip: 100.96.0.12, keepalive: 1s}
    bob: {vnet: acme, ip: 100.96.0.13, nat: port-restricted, keepalive: 1s}
policy:
  - {id: all, action: allow}
steps:
  - {wait: {tunnels: up}, within: 10s}
"""

ASK = "udp.send: {from: alice, to: hq/server, count: 2, interval: 20ms, patience: 400ms}"
ASK_BOB = "udp.send: {from: bob, to: hq/server, count: 2, interval: 20ms, patience: 400ms}"
ASK_DEPOT = "udp.send: {from: alice, to: depot/printer, count: 2, interval: 20ms, patience: 400ms}"
DEAF = "expect: [received == 0]"


def record(steps: str, fabric: str = "sim", world: str = WORLD) -> RunRecord:
    if fabric == "netns" and (reason := missing("netns")):
        pytest.skip(reason)
    (script,) = check(world + steps, "faults.yaml")
    where = FABRICS[fabric]
    return where.execute(partial(run, script, where), seed=7)


def passes(steps: str, fabric: str = "sim", world: str = WORLD) -> RunRecord:
    done = record(steps, fabric, world)
    wrong = [(step.name, step.error, step.checks) for step in done.steps if step.state is not State.PASSED]
    assert done.state is State.PASSED, (wrong, done.error, done.invariants)
    return done


CASES = {
    "a dead connector reaches nobody until it is back": f"""
  - fault.kill: {{machine: depot}}
  - {{ {ASK_DEPOT}, {DEAF} }}
  - fault.restart: {{machine: depot}}
  - {{await: tunnels.depot.up, within: 5s}}
  - {ASK_DEPOT}
""",
    "a dead PoP is back with what it had kept and greets its peers": f"""
  - fault.kill: {{machine: edge}}
  - {{ {ASK}, {DEAF} }}
  - fault.restart: {{machine: edge}}
  - {{await: edge.tunnels_up == 5, within: 5s}}
  - {ASK}
""",
    "one way cut is no way": f"""
  - fault.partition: {{tunnels: alice, direction: down}}
  - {{ {ASK}, {DEAF} }}
  - fault.heal: {{tunnels: alice}}
  - {ASK}
""",
    "who roams is followed": f"""
  - fault.roam: {{tunnel: alice}}
  - {ASK}
""",
    "who roams is reached though it has nothing to say": f"""
  - fault.roam: {{tunnel: depot}}
  - {{wait: {{for: 400ms}}}}
  - {ASK_DEPOT}
""",
    "a NAT that forgets costs a moment": """
  - fault.rebind: {client: bob}
  - {wait: {for: 1200ms}}
  - udp.send: {from: hq/server, to: bob, count: 1, patience: 300ms, port: 99}
    expect: [icmp_errors == 1]
""",
    "who stands still answers later": """
  - {id: ask, background: true, udp.send: {from: alice, to: depot/printer, count: 1, patience: 5s}, at: 1500ms,
     expect: [received == 1 and rtt_min > 200ms]}
  - {fault.pause: {machine: depot, for: 1s}, at: 1s}
  - wait: {step: ask}
""",
    "a zombie is alive and forwards nothing": f"""
  - fault.zombie: {{machine: depot}}
  - {{ {ASK_DEPOT}, {DEAF} }}
  - {{expect: [tunnels.depot.up], wait: {{for: 10ms}}}}
  - fault.zombie: {{machine: depot, on: false}}
  - {ASK_DEPOT}
""",
    "a black hole takes what is large": """
  - fault.blackhole: {tunnels: alice, over: 600}
  - udp.send: {from: alice, to: depot/printer, count: 1, size: 900, patience: 400ms}
    expect: [received == 0]
  - udp.send: {from: alice, to: depot/printer, count: 1, size: 200, patience: 400ms}
  - fault.heal: {tunnels: alice}
  - udp.send: {from: alice, to: depot/printer, count: 1, size: 900, patience: 400ms}
""",
    "a firewall stops what it shall, and no more": """
  - fault.block: {tunnels: alice, what: [tcp, udp/443]}
  - udp.send: {from: alice, to: depot/printer, count: 1, patience: 400ms}
  - fault.block: {tunnels: [alice], what: udp/51820}
  - udp.send: {from: alice, to: depot/printer, count: 1, patience: 400ms}
    expect: [received == 0]
  - udp.send: {from: bob, to: depot/printer, count: 1, patience: 400ms}
  - fault.heal: {tunnels: alice}
  - fault.block: {tunnels: alice, what: udp}
  - udp.send: {from: alice, to: depot/printer, count: 1, patience: 400ms}
    expect: [received == 0]
  - fault.heal: {}
  - udp.send: {from: alice, to: depot/printer, count: 1, patience: 400ms}
""",
    "a worse path is felt, a healed one is as before": """
  - fault.degrade: {tunnels: [alice], to: {delay: 150ms}}
  - ping: {from: alice, to: depot/printer, count: 1}
    expect: [rtt_min > 290ms]
  - fault.heal: {}
  - ping: {from: alice, to: depot/printer, count: 1}
    expect: [rtt_min < 150ms]
""",
    "new keys are noticed by nobody": f"""
  - fault.rekey-now: {{tunnels: alice}}
  - {ASK}
""",
    "the other connector takes over, and the first is a standby when it is back": f"""
  - {{expect: ['sites.hq.active == "hq-a"'], wait: {{for: 2s}}}}
  - fault.kill: {{machine: "${{sites.hq.active}}"}}
  - {{await: 'sites.hq.active == "hq-b"', within: 2s}}
  - {ASK}
  - fault.restart: {{machine: hq-a}}
  - {{await: 'tunnels["hq-a"].state == "standby"', within: 15s, expect: ['sites.hq.active == "hq-b"']}}
""",
}


@pytest.mark.parametrize("case", CASES)
def test_in_virtual_time(case: str) -> None:
    passes(CASES[case])


@pytest.mark.parametrize("case", list(CASES)[:-1])
def test_on_real_sockets(case: str) -> None:
    passes(CASES[case], "loopback")


MASQUE = WORLD.replace("version: 1", "version: 1\ntunnel: masque")
WAYS = {
    "TCP while UDP is blocked, through a NAT that forgets, and after roaming": f"""
  - fault.block: {{tunnels: [alice, bob], what: udp}}
  - {{await: 'tunnels.alice.way == "h2" and clients.bob.way == "h2"', within: 20s}}
  - {ASK}
  - fault.rebind: {{client: bob}}
  - {{await: 'tunnels.bob.ways == ["h3", "h2", "", "h2"]', within: 10s}}
  - {ASK_BOB}
  - fault.roam: {{tunnel: alice}}
  - {{await: 'tunnels.alice.ways == ["h3", "h2", "", "h2"]', within: 10s}}
  - {ASK}
  - fault.partition: {{tunnels: alice}}
  - {{ {ASK}, {DEAF} }}
  - fault.heal: {{tunnels: all}}
  - {{await: 'tunnels.alice.way == "h3" and clients.bob.way == "h3"', within: 60s}}
  - {ASK}
expect:
  - edge.masque.returns == 2 and edge.masque.fallbacks == 2
""",
}


@pytest.mark.parametrize("case", WAYS)
def test_tunnels_with_a_choice_in_virtual_time(case: str) -> None:
    done = passes(WAYS[case], world=MASQUE)
    assert [(way.before, way.way) for way in done.ways if way.tunnel == "hq-b"] == [("", "h3")]
    assert done.masque is not None and done.masque.fallbacks == 2


REDIAL = f"""
  - fault.block: {{tunnels: alice, what: udp/443}}
  - fault.degrade: {{tunnels: alice, to: {{delay: 60ms}}}}
  - fault.rekey-now: {{tunnels: alice}}
  - {{await: 'tunnels.alice.way == "h2"', within: 10s}}
  - {{ {ASK}, expect: [received == 2 and rtt_min > 110ms] }}
  - fault.block: {{tunnels: alice, what: tcp/443}}
  - {{ {ASK}, {DEAF} }}
"""


@pytest.mark.parametrize("fabric", FABRICS)
def test_a_firewall_and_a_path_are_felt_by_every_way(fabric: str) -> None:
    done = passes(REDIAL, fabric, MASQUE)
    ways = [way.way for way in done.ways if way.tunnel == "alice"]
    assert ways[0] == "h3" and "h2" in ways


COUNTED = """\
  - {id: before, udp.send: {from: alice, to: hq/server, count: 3, interval: 20ms, patience: 400ms}}
  - {ping: {from: alice, to: 10.99.0.1, count: 2, interval: 20ms, patience: 100ms}, may_fail: true}
  - {fault.kill: {machine: edge, graceful: GRACEFUL}}
  - wait: {for: 100ms}
    expect:
      - vnets.acme.packets_out >= 6 and vnets.acme.drops.no_route >= 2 and vnets.acme.rules.all.hits >= 1
      - edge.flows == 0 and edge.tunnels_up == 0
  - fault.restart: {machine: edge}
  - {await: edge.tunnels_up == 5, within: 5s}
  - {id: after, udp.send: {from: alice, to: hq/server, count: 2, interval: 20ms, patience: 400ms}}
  - {fault.kill: {machine: edge}}
  - wait: {for: 100ms}
  - fault.restart: {machine: edge}
  - {await: edge.tunnels_up == 5, within: 5s}
expect:
  - vnets.acme.packets_in >= 12 and vnets.acme.packets_out >= 10 and vnets.acme.rules.all.hits >= 2
  - tunnels.alice.packets_in >= 7 and tunnels.alice.handshakes >= 3
  - vnets.acme.drops.no_route == 2
  - edge.datagrams_in > 30 and edge.flows < 10 and edge.tunnels_up == 5
thresholds:
  "edge.dropped{reason=no_route}": ["value == 2"]
  "edge.packets{vnet=acme}": ["value >= 10"]
"""


@pytest.mark.parametrize("fabric", FABRICS)
@pytest.mark.parametrize("graceful", ["true", "false"])
def test_the_counters_of_a_run_are_those_of_all_processes_of_the_pop(fabric: str, graceful: str) -> None:
    done = passes(COUNTED.replace("GRACEFUL", graceful), fabric)
    (account,) = done.accounts
    assert account.packets_in + account.generated == (
        account.packets_out + sum(account.dropped.values()) + account.held
    )
    assert account.dropped["no_route"] == 2


def test_hosts_live_on_behind_a_dead_connector() -> None:
    done = passes(
        "  - fault.kill: {machine: depot}\n"
        "  - udp.send: {from: depot/printer, to: hq/server, count: 3, patience: 300ms}\n"
        "    expect: [received == 0, sent == 3]\n"
    )
    assert done.faults[0].target == "depot"


def test_a_fault_that_names_nobody_now_says_so() -> None:
    done = record('  - fault.kill: {machine: "${sites.hq.routes}"}\n')
    assert done.steps[1].state is State.FAILED
    assert "is no text now" in done.steps[1].error


def test_what_a_restarted_pop_had_kept_is_what_a_replay_needs() -> None:
    """The handshakes of before are replays for the PoP of after: tunnels come up with new ones only."""
    done = passes(
        "  - fault.kill: {machine: edge}\n  - fault.restart: {machine: edge}\n"
        "  - {await: edge.tunnels_up == 5, within: 3s}\n"
    )
    assert done.steps[-1].ended is not None
