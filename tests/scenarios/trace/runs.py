"""Small worlds that leave traces."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from scenarios.fabric import FABRICS
from scenarios.recording import Recording
from scenarios.report import RunRecord
from scenarios.runner import check, run
from scenarios.trace import Event, Trace

LIBRARY = Path(__file__).parents[3] / "scenarios/library"

WITH_PROGRAMS = ("16-real-softphones", "17-real-cicd", "18-iperf-site-to-site")
"""Lessons with real programs: tests/interop/test_programs.py runs them."""

ON_REAL_MACHINES = (*WITH_PROGRAMS, "20-mixed-agents")
"""These, and one with tunnels by other people: tests/interop/test_mixed_agents.py runs it."""

SMALL = """\
version: 1
name: small
deadline: 30s
vnets: {acme: {}, umbrella: {}}
topology:
  links: {radio: {delay: 10ms, jitter: 2ms}}
  sites:
    hq: {vnet: acme, routes: [10.0.50.0/24], hosts: {server: {ip: 10.0.50.60, app: {udp.echo: {}}}}}
  clients:
    alice: {vnet: acme, ip: 100.96.0.12, link: radio}
    eve: {vnet: umbrella, ip: 100.96.0.12}
policy:
  - {id: echo, ports: udp/7, action: allow}
  - {id: no-ping, protocol: icmp, action: reject}
steps:
  - {name: up, wait: {tunnels: up}}
  - {name: the echo, udp.send: {from: alice, to: hq/server, count: 3}, expect: [received == 3]}
  - {name: the ping, ping: {from: alice, to: hq/server, count: 2, interval: 0}, expect: [received == 0]}
  - {name: the cut, fault.partition: {tunnels: alice}}
  - {name: lost, udp.send: {from: alice, to: hq/server, count: 2}, expect: [received == 0]}
outputs: {captures: {at: [edge, alice]}}
"""


def record(
    source: str | Path, folder: Path, *, fabric: str = "sim", seed: int = 7, trace: bool = True
) -> RunRecord:
    script, *_ = check(source, "small.yaml")  # of a matrix the first cell
    where = FABRICS[fabric]
    with Recording(script, folder, fabric=fabric, seed=seed, trace=trace) as recording:
        return where.execute(
            partial(run, script, where, seed=seed, recorder=recording.recorder),
            seed=seed,
        )


def events(folder: Path) -> list[Event]:
    with Trace(folder / "trace.msgpack") as trace:
        return list(trace)
