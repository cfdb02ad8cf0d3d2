"""Who is a party of a call, and what each of them heard."""

from __future__ import annotations

import re
from functools import partial

import pytest

from scenarios import world
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


def test_a_pbx_says_who_is_registered_and_calls_users_who_have_no_phone_of_ours() -> None:
    steps = """
  - pbx.dial: {pbx: hq/pbx, to: ghost, give_up: 2s}
    expect:
      - outcome == "refused" and status == 480
      - hosts["hq/pbx"].registered.alice.source_ip == clients.alice.ip
      - clients.alice.ip in hosts["hq/pbx"].registered.alice.contact
      - '"ghost" not in hosts["hq/pbx"].registered'
  - pbx.dial: {pbx: hq/pbx, to: bob}
"""
    (script,) = check(WORLD.replace("sip.pbx: {}", "sip.pbx: {users: [alice, bob, ghost]}") + steps)
    fabric = FABRICS["sim"]
    done = fabric.execute(partial(run, script, fabric), seed=7)
    assert done.state is State.PASSED, (done.error, done.failed_checks)


REGISTER = (
    "REGISTER sip:10.0.50.60 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.50.9;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
    "From: <sip:alice@10.0.50.60>;tag=1\r\nTo: <sip:alice@10.0.50.60>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\n"
    "Contact: <sip:alice@10.0.50.9>\r\nContent-Length: 0\r\n\r\n"
)


@pytest.mark.parametrize(
    ("app", "asked"), [("{}", ["SHA-256", "MD5"]), ("{digest: [MD5]}", ["MD5"])], ids=["usual", "old-phones"]
)
def test_a_pbx_asks_for_the_digests_that_its_file_says(app: str, asked: list[str]) -> None:
    (script,) = check(WORLD.replace("sip.pbx: {}", f"sip.pbx: {app}"))
    pbx = world.build(script).members["hq/pbx"].pbx
    assert pbx is not None
    pbx.handle_datagram(5060, ("10.0.50.9", 5060), REGISTER.encode(), 0.0)
    ((_, _, reply),) = pbx.poll_transmit()
    assert reply.startswith(b"SIP/2.0 401 ")
    assert re.findall("algorithm=([^,\\s]+)", reply.decode()) == asked


def test_phones_and_their_pbx_may_have_ipv6_addresses() -> None:
    text = WORLD.replace("{acme: {}}", '{acme: {pool6: "fd00:96::/64"}}', 1)
    for old, new in (
        ("10.0.50.0/24", '"fd00:50::/64"'),
        ("10.0.50.60", '"fd00:50::60"'),
        ("alice: {vnet: acme", 'alice: {vnet: acme, ip: "fd00:96::a"'),
        ("bob: {vnet: acme", 'bob: {vnet: acme, ip: "fd00:96::b"'),
    ):
        assert old in text
        text = text.replace(old, new)
    steps = """
  - {sip.call: {from: alice, to: bob, hold: 1s}, expect: [media.direct, media.to_callee == clients.bob.ip]}
  - {sip.call: {from: bob, to: "sip:alice@[fd00:50::60]", hold: 1s}}
  - {pbx.dial: {pbx: hq/pbx, to: alice, hold: 1s}}
"""
    (script,) = check(text + steps)
    fabric = FABRICS["sim"]
    done = fabric.execute(partial(run, script, fabric), seed=7)
    assert done.state is State.PASSED, (done.error, done.failed_checks)
    assert len(done.calls) == 3
