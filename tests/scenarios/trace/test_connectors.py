"""A capture at a connector: what came out of its tunnel and what went in, when, and why it went no further."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from connectors.tun import Tun
from edge.errors import FabricUnavailable
from scenarios.recording import Recording
from scenarios.report import State
from scenarios.runner import check
from scenarios.trace import Recorder
from scenarios.world import build
from tests.scenarios.fabric.netns.needs import missing
from tests.scenarios.trace.captured import Captured, packets
from tests.scenarios.trace.runs import events, record

WORLD = """\
version: 1
name: at-connectors
deadline: 60s
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
    alice: {vnet: acme, ip: 100.96.0.12}
policy: [{id: all, action: allow}]
steps:
  - {wait: {tunnels: up}, within: 10s}
"""
PING = """\
  - {name: the ping, ping: {from: depot/printer, to: alice, count: 2, interval: 20ms}, expect: [received == 2]}
"""
ZOMBIE = """\
  - {fault.zombie: {machine: depot}}
  - {name: in, udp.send: {from: alice, to: depot/printer, count: 1, patience: 300ms}, expect: [received == 0]}
  - {name: out, udp.send: {from: depot/printer, to: alice, count: 1, patience: 300ms}, expect: [received == 0]}
"""


def seen(folder: Path, text: str, at: str, fabric: str = "sim") -> list[Captured]:
    """What a run captures."""
    if fabric == "netns" and (reason := missing("netns")):
        pytest.skip(reason)
    run = record(f"{WORLD}{text}outputs: {{captures: {{at: {at}}}}}\n", folder, fabric=fabric, trace=False)
    assert run.state is State.PASSED, [(step.error, step.checks) for step in run.steps]
    return packets(folder)


def between(found: list[Captured], one: str, other: str) -> list[Captured]:
    ends = {ip_address(one).packed, ip_address(other).packed}
    return [each for each in found if {each.packet[12:16], each.packet[16:20]} == ends]


@pytest.mark.parametrize("fabric", ["sim", "loopback", "netns"])
def test_a_packet_is_at_the_connector_between_its_host_and_the_pop(tmp_path: Path, fabric: str) -> None:
    found = between(seen(tmp_path, PING, "[edge, depot, depot/printer]", fabric), "10.0.60.9", "100.96.0.12")
    request = next(each for each in found if each.interface == "depot/printer:acme" and not each.inbound)
    answer = next(each for each in found if each.interface == "depot/printer:acme" and each.inbound)
    ways = {}
    for first in (request, answer):
        same = sorted((each for each in found if each.flow == first.flow), key=lambda each: each.at)
        ways[first] = [(each.interface, each.inbound, each.packet[8]) for each in same]
    assert ways[request] == [
        ("depot/printer:acme", False, 64),
        ("depot:acme", False, 63),
        ("edge:acme", True, 63),
        ("edge:acme", False, 62),
    ]
    assert ways[answer] == [
        ("edge:acme", True, 64),
        ("edge:acme", False, 63),
        ("depot:acme", True, 63),
        ("depot/printer:acme", True, 62),
    ], "with the hops that it had there"
    comments = {each.comment for each in found if each.interface == "depot:acme"}
    assert comments == {"into the tunnel; step the ping", "from the tunnel; step the ping"}


@pytest.mark.parametrize("fabric", ["sim", "loopback", "netns"])
def test_what_dies_at_a_connector_is_there_with_the_reason(tmp_path: Path, fabric: str) -> None:
    found = between(seen(tmp_path, ZOMBIE, "depot", fabric), "10.0.60.9", "100.96.0.12")
    assert [(each.interface, each.inbound, each.comment) for each in found] == [
        ("depot:acme", True, "from the tunnel; dropped: zombie; step in"),
        ("depot:acme", False, "for the tunnel; dropped: zombie; step out"),
    ]


def test_where_veth_stands_for_a_tun_device_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def may_not(*_: object, **__: object) -> Tun:
        raise FabricUnavailable("it is root's alone")

    monkeypatch.setattr(Tun, "open", may_not)
    found = between(seen(tmp_path, PING + ZOMBIE, "depot", "netns"), "10.0.60.9", "100.96.0.12")
    assert [(each.inbound, each.comment.partition("; step")[0]) for each in found] == [
        *[(False, "into the tunnel"), (True, "from the tunnel")] * 2,
        (True, "from the tunnel; dropped: zombie"),
        (False, "for the tunnel; dropped: zombie"),
    ]


@pytest.mark.parametrize("fabric", ["sim", "loopback"])
def test_what_a_router_of_ours_refuses_is_there_too(tmp_path: Path, fabric: str) -> None:
    """On netns the kernel is the router: it never gives the tunnel what is too big for it."""
    probe = "  - {name: size, probe.mtu: {from: depot/printer, to: alice, sizes: [1300, 1500], protocols: [udp]}}\n"
    found = between(seen(tmp_path, probe, "depot", fabric), "10.0.60.9", "100.96.0.12")
    comments = {(len(each.packet), each.comment) for each in found if not each.inbound}
    assert comments == {
        (1300, "into the tunnel; step size"),
        (1420, "into the tunnel; step size"),
        (100, "into the tunnel; step size"),
        (1500, "for the tunnel; dropped: too_big; step size"),
    }


def test_a_site_is_all_of_its_connectors_and_the_packets_are_at_the_one_that_has_them(tmp_path: Path) -> None:
    ask = """\
  - {udp.send: {from: alice, to: hq/server, count: 1}}
  - {fault.kill: {machine: hq-a}}
  - {await: 'sites.hq.active == "hq-b"', within: 20s}
  - {udp.send: {from: alice, to: hq/server, count: 1}}
"""
    found = between(seen(tmp_path, ask, "hq"), "100.96.0.12", "10.0.50.60")
    assert [(each.interface, each.inbound) for each in found] == [
        ("hq-a:acme", True),
        ("hq-a:acme", False),
        ("hq-b:acme", True),
        ("hq-b:acme", False),
    ]


def test_the_same_run_is_the_same_capture(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert seen(tmp_path / name, PING + ZOMBIE, "[hq, depot]")
    one, two = ((tmp_path / name / "capture.pcapng").read_bytes() for name in ("one", "two"))
    assert one == two


def test_who_looks_on_changes_nothing(tmp_path: Path) -> None:
    runs = [
        record(f"{WORLD}{PING}{ZOMBIE}outputs: {{captures: {{at: {at}}}}}\n", tmp_path / at)
        for at in ("edge", "[hq, depot]")
    ]
    told = [events(tmp_path / at) for at in ("edge", "[hq, depot]")]
    assert runs[0].events == runs[1].events and told[0] == told[1]


def test_what_nobody_saw_is_said(tmp_path: Path) -> None:
    (script,) = check(f"{WORLD}{PING}outputs: {{captures: {{at: hq-a}}}}\n", "connectors.yaml")
    with Recording(script, tmp_path, fabric="sim", seed=7) as recording:
        (end,) = (each for each in build(script, recorder=recording.recorder).ends if each.watch is not None)
        assert end.watch is not None and recording.complaints == []
        end.watch.missed(3)
    assert recording.complaints == ["the capture is not complete: the kernel had no room for 3 packets"]


@pytest.mark.parametrize("at", ["[edge, alice, hq/server]", "[hq-b]"])
def test_only_who_is_asked_about_is_looked_at(tmp_path: Path, at: str) -> None:
    (script,) = check(f"{WORLD}{PING}outputs: {{captures: {{at: {at}}}}}\n", "connectors.yaml")
    with Recording(script, tmp_path, fabric="sim", seed=7) as recording:
        world = build(script, recorder=recording.recorder)
    watched = [end.name for end in world.ends if end.watch is not None]
    assert watched == (["hq-b"] if "hq-b" in at else [])
    assert all(end.watch is None for end in build(script, recorder=Recorder()).ends), "a trace does not ask"
