"""Wireshark reads what we capture: every packet of every lesson, none malformed."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from scenarios import doctor
from scenarios.report import State
from scenarios.trace import Kind
from tests.scenarios.fabric.netns.needs import needs
from tests.scenarios.trace.runs import LIBRARY, ON_REAL_MACHINES, SMALL, events, record

TSHARK = doctor.find_program("tshark")
pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(not TSHARK.there, reason=TSHARK.sentence),
]
LONG = ("11-lossy-uplink", "13-day-in-the-life", "23-load-on-loopback")
OF_THE_SAME_KINDS = "12-thousand-softphones"
"""Two minutes of reading packets that lesson 23 has as well."""
SLOW = pytest.mark.skipif(not os.environ.get("POPLAB_SLOW"), reason="takes minutes: POPLAB_SLOW=1 runs it")
FILES = [
    pytest.param(file, marks=[SLOW] if file.stem in LONG else [], id=file.stem)
    for file in sorted(LIBRARY.glob("*.yaml"))
    if file.stem not in (*ON_REAL_MACHINES, OF_THE_SAME_KINDS)
]


def read(capture: Path, *fields: str, only: str = "") -> list[list[str]]:
    """The wanted fields of each packet."""
    words = ["tshark", "-n", "-r", str(capture), "-T", "fields", "-o", "ip.check_checksum:TRUE"]
    words += ["-o", "tcp.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"]
    words += [word for field in fields for word in ("-e", field)]
    done = subprocess.run(
        [*words, *(["-Y", only] if only else [])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "cut short" not in done.stderr and "damaged" not in done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def captured(text: str) -> str:
    """`text` of a scenario that captures at the PoP, whatever else it leaves."""
    lines = [line for line in text.splitlines() if not line.startswith("outputs:")]
    assert "captures:" not in "\n".join(lines)
    return "\n".join([*lines, "outputs: {captures: {at: edge, packets: 1000000}}", ""])


@pytest.mark.parametrize("file", FILES)
def test_every_packet_of_the_library_is_read_and_none_is_malformed(file: Path, tmp_path: Path) -> None:
    run = record(captured(file.read_text()), tmp_path)
    capture = tmp_path / "capture.pcapng"
    assert read(capture, "frame.number", only="_ws.malformed") == []
    assert read(capture, "frame.number", only="ip.checksum.status == 0") == []
    seen = Counter(row[0] for row in read(capture, "frame.interface_name"))
    told = Counter(
        event.vnet
        for event in events(tmp_path)
        if event.kind in (Kind.OPENED, Kind.FORWARDED, Kind.GENERATED)
    )
    assert seen == {f"edge:{vnet}": count for vnet, count in told.items()}
    assert run.accounts


@pytest.mark.parametrize("fabric", ["sim", "loopback"])
def test_verdict_rule_and_place_are_in_wireshark_too(tmp_path: Path, fabric: str) -> None:
    record(SMALL.replace("[edge, alice]", "[edge, hq, alice]"), tmp_path, fabric=fabric)
    capture = tmp_path / "capture.pcapng"
    assert read(capture, "frame.number", only="_ws.malformed") == []
    refused = read(capture, "ip.src", "icmp.type", "frame.comment", only='frame.comment contains "no-ping"')
    assert refused
    assert {row[0] for row in refused} == {"100.96.0.12"}
    names = {row[0] for row in read(capture, "frame.interface_name")}
    assert names == {"edge:acme", "hq:acme", "alice:acme"}
    assert read(capture, "frame.number", only='udp and frame.comment contains "from the tunnel"')
    times = [float(row[0]) for row in read(capture, "frame.time_epoch")]
    assert min(times) > 1_700_000_000


MACHINES = """\
version: 1
name: machines
deadline: 60s
vnets: {acme: {}}
topology:
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24, "fd00:50::/64"]
      hosts:
        web: {ip: 10.0.50.60, app: {exec: [{name: web, run: [python3, -m, http.server, "8080"], ready: {tcp: 8080}}]}}
        ours: {ip: 10.0.50.61, app: {udp.echo: {}}}
        six: {ip: "fd00:50::61", app: {udp.echo: {}}}
    far: {vnet: acme, routes: ["fd00:60::/64"], hosts: {six: {ip: "fd00:60::12"}}}
  clients:
    alice: {vnet: acme, ip: 100.96.0.12}
    bob: {vnet: acme, ip: 100.96.0.13}
policy: [{id: all, action: allow}]
steps:
  - {wait: {tunnels: up}, within: 10s}
  - {wait: {programs: ready}, within: 20s}
  - exec.run: {on: alice, within: 15s, run: [python3, -c, "import urllib.request as r;
      r.urlopen('http://10.0.50.60:8080/', timeout=10).read()"]}
  - exec.run: {on: far/six, within: 15s, run: [python3, -c, "import socket as s; a = s.socket(s.AF_INET6, s.SOCK_DGRAM);
      a.settimeout(5); a.sendto(b'hello', ('fd00:50::61', 7)); a.recv(99)"]}
  - udp.send: {from: bob, to: hq/ours, count: 3, size: 900, interval: 10ms, patience: 1s}
outputs: {captures: {at: [edge, hq, far, alice, bob, hq/web, hq/ours, hq/six, far/six], packets: 100000}}
"""


@needs("netns")
def test_machines_of_the_kernel_are_captured_as_a_wire_would_have_it(tmp_path: Path) -> None:
    """Real hosts and ours, whole packets with checksums, each where it was seen."""
    run = record(MACHINES, tmp_path, fabric="netns")
    assert run.state is State.PASSED, [step.error or step.checks for step in run.steps]
    capture = tmp_path / "capture.pcapng"
    assert read(capture, "frame.number", only="_ws.malformed") == []
    for layer in ("ip", "tcp", "udp", "icmpv6"):
        assert read(capture, "frame.number", only=f"{layer}.checksum.status == 0") == [], layer
    seen = Counter(row[0] for row in read(capture, "frame.interface_name"))
    assert set(seen) == {
        f"{name}:acme"
        for name in ("edge", "hq", "far", "alice", "bob", "hq/web", "hq/ours", "hq/six", "far/six")
    }
    assert read(capture, "frame.number", only='http.request and frame.interface_name == "alice:acme"')
    assert read(
        capture, "frame.number", only='http.response.code == 200 and frame.interface_name == "hq/web:acme"'
    )
    for name in ("alice", "hq", "hq/web"):
        flags = read(capture, "tcp.flags.str", only=f'tcp and frame.interface_name == "{name}:acme"')
        assert [row[0].strip("·") for row in flags[:3]] == ["S", "A··S", "A"], "as they passed"
    assert not run.incomplete
