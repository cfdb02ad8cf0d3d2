"""Far ends that are programs: lesson 20, what faults do to them, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

from edge.errors import FabricUnavailable
from scenarios.fabric import Netns
from scenarios.report import RunRecord, State, findings
from scenarios.runner import check, run
from tests.scenarios.fabric.netns.needs import needs
from tests.scenarios.trace import runs
from tests.scenarios.trace.captured import packets

pytestmark = [pytest.mark.interop, needs("tun", "veth", "bridge")]

ROOT = Path(__file__).parents[2]
LESSON = ROOT / "scenarios/library/20-mixed-agents.yaml"
PATIENCE = 30.0

HEAD = """\
version: 1
name: agents
deadline: 100s
vnets: {acme: {}}
policy: [{id: all, action: allow}]
topology:
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24]
      connectors: {hq: {agent: AGENT, tunnel: TUNNEL}}
      hosts: {web: {ip: 10.0.50.80, app: {udp.echo: {}}}}
  clients:
    alice: {vnet: acme, agent: AGENT, tunnel: TUNNEL, nat: port-restricted, keepalive: 1s, app: {udp.echo: {}}}
    dave: {vnet: acme, app: {udp.echo: {}}}
"""
LIFE = """\
steps:
  - {wait: {tunnels: up}, within: 40s}
  - {udp.send: {from: alice, to: hq/web, count: 3}}
  - {udp.send: {from: hq/web, to: alice, count: 3}}
  - {udp.send: {from: dave, to: hq/web, count: 3}}
  - {fault.roam: {tunnel: alice}}
  - {udp.send: {from: alice, to: dave, count: 3}}
  - {fault.rebind: {client: alice}}
  - {udp.send: {from: alice, to: hq/web, count: 3}}
  - {id: still, background: true, fault.pause: {machine: alice, for: 2s}}
  - {wait: {for: 300ms}}
  - {udp.send: {from: dave, to: alice, count: 1}, expect: [received == 0]}
  - {wait: {step: still}}
  - {udp.send: {from: alice, to: dave, count: 3}}
  - {fault.kill: {machine: alice}}
  - {fault.kill: {machine: hq, graceful: true}}
  - {await: not tunnels.alice.up and not tunnels.hq.up and tunnels.alice.way == "", within: 10s}
  - {fault.restart: {machine: alice}}
  - {fault.restart: {machine: hq}}
  - {wait: {tunnels: up}, within: 40s, expect: [tunnels.alice.handshakes >= 2]}
  - {udp.send: {from: alice, to: hq/web, count: 3}}
  - {fault.kill: {machine: alice}}
  - {fault.restart: {machine: alice}}
  - {wait: {tunnels: up}, within: 40s, expect: [tunnels.alice.up, tunnels.alice.handshakes >= 3]}
  - {udp.send: {from: hq/web, to: alice, count: 3}}
expect:
  - hosts["hq/web"].sources == [clients.alice.ip, clients.dave.ip]
"""


def ran(source: Path | str, out: Path) -> RunRecord:
    fabric = Netns()
    (script,) = check(source)
    return fabric.execute(lambda: run(script, fabric, folder=out), seed=7)


def logs(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in (folder / "programs").glob("*.log")}


def scenario(steps: str, agent: str, tunnel: str) -> str:
    return f"{HEAD}{steps}".replace("AGENT", agent).replace("TUNNEL", tunnel)


@needs("wireguard-go", "xray", "curl")
def test_the_lesson(tmp_path: Path) -> None:
    record = ran(LESSON, tmp_path)
    written = logs(tmp_path)
    assert record.state is State.PASSED, (record.error, findings(record), written)
    assert {"bob.xray.log", "carol.poplab.log"} <= written.keys()
    assert "event=tunnel-up tunnel=carol way=h3" in written["carol.poplab.log"]


@pytest.mark.parametrize(
    ("agent", "tunnel"),
    [
        pytest.param("wireguard-go", "wireguard", marks=needs("wireguard-go")),
        ("daemon", "wireguard"),
        ("daemon", "auto"),
    ],
)
def test_the_lives_of_an_agent(
    agent: str, tunnel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    record = ran(scenario(LIFE, agent, tunnel), tmp_path)
    assert record.state is State.PASSED, "\n".join(
        map(str, (record.error, *findings(record), logs(tmp_path)))
    )
    assert {law.id: law.holds for law in record.invariants}["programs-run"]
    assert list((tmp_path / "tmp").iterdir()) == []


POOL6 = """\
version: 1
name: agents
vnets: {acme: {pool6: "fd00:96::/64"}}
policy: [{id: all, action: allow}]
topology:
  sites:
    hq:
      vnet: acme
      routes: ["fd00:50::/64"]
      hosts: {web: {ip: "fd00:50::80", app: {udp.echo: {}, http.server: {}}}}
  clients:
    alice: {vnet: acme, ip: "fd00:96::a", agent: wireguard-go, app: {udp.echo: {}}}
    bob: {vnet: acme, ip: "fd00:96::b", agent: xray}
    carol: {vnet: acme, ip: "fd00:96::c", agent: daemon, tunnel: auto, app: {udp.echo: {}}}
steps:
  - {wait: {tunnels: up}, within: 40s}
  - {udp.send: {from: hq/web, to: alice, count: 3}}
  - {udp.send: {from: alice, to: carol, count: 3}}
  - {udp.send: {from: carol, to: hq/web, count: 3}}
  - {exec.run: {on: bob, run: [curl, -sg, -m, "9", -o, page, "http://[fd00:50::80]/"]}}
"""


@needs("wireguard-go", "xray", "curl")
def test_agents_whose_addresses_are_of_ipv6(tmp_path: Path) -> None:
    record = ran(POOL6, tmp_path)
    assert record.state is State.PASSED, (record.error, findings(record), logs(tmp_path))


SEEN = """\
steps:
  - {wait: {tunnels: up}, within: 40s}
  - {name: there, udp.send: {from: dave, to: hq/web, count: 2}}
  - {fault.kill: {machine: hq, graceful: true}}
  - {await: not tunnels.hq.up, within: 10s}
  - {fault.restart: {machine: hq}}
  - {wait: {tunnels: up}, within: 40s}
  - {name: again, udp.send: {from: dave, to: hq/web, count: 1}}
outputs: {captures: {at: [hq, hq/web, edge]}}
"""


@pytest.mark.parametrize(
    ("agent", "tunnel"),
    [pytest.param("wireguard-go", "wireguard", marks=needs("wireguard-go")), ("daemon", "masque")],
)
def test_a_connector_that_is_a_program_is_captured_at_its_device(
    agent: str, tunnel: str, tmp_path: Path
) -> None:
    done = runs.record(scenario(SEEN, agent, tunnel), tmp_path, fabric="netns", trace=False)
    assert done.state is State.PASSED, (done.error, findings(done))
    echo = [each for each in packets(tmp_path) if each.packet[9] == 17]
    for step, count in (("there", 2), ("again", 1)):
        at_hq = [
            each for each in echo if each.interface == "hq:acme" and each.comment.endswith(f"step {step}")
        ]
        assert [each.comment for each in at_hq if each.inbound] == [f"from the tunnel; step {step}"] * count
        assert [each.comment for each in at_hq if not each.inbound] == [
            f"into the tunnel; step {step}"
        ] * count
        for each in at_hq:
            way = sorted((other for other in echo if other.flow == each.flow), key=lambda other: other.at)
            names = [other.interface.partition(":")[0] for other in way]
            assert names == (
                ["edge", "edge", "hq", "hq/web"] if each.inbound else ["hq/web", "hq", "edge", "edge"]
            )


@pytest.fixture
def wireguard_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What is taken for it."""
    file = tmp_path / "bin/wireguard-go"
    file.parent.mkdir()
    monkeypatch.setenv("PATH", f"{file.parent}:{os.environ['PATH']}")
    return file


def pretend(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


WAIT = "steps: [{wait: {tunnels: up}, within: 2s}]\n"


def test_one_that_ends_by_itself_fails_the_run_and_is_quoted(wireguard_go: Path, tmp_path: Path) -> None:
    pretend(wireguard_go, "echo no ink left >&2; exit 3")
    record = ran(scenario(WAIT, "wireguard-go", "wireguard"), tmp_path)
    assert record.state is State.FAILED
    (step,) = record.steps
    assert "wireguard-go, which makes the tunnel of" in step.error and "has ended with code 3" in step.error
    assert {"hq: no ink left", "alice: no ink left"} & set(step.output)
    (law,) = (law for law in record.invariants if law.id == "programs-run")
    assert not law.holds
    assert "wireguard-go, which makes the tunnel of alice, has ended with code 3: no ink left" in law.text
    assert "the tunnel of hq, has ended with code 3" in law.text
    assert logs(tmp_path)["alice.wireguard-go.log"] == "no ink left\n"


def test_one_that_does_nothing_is_quoted_when_time_is_up(wireguard_go: Path, tmp_path: Path) -> None:
    pretend(wireguard_go, "echo hm >&2; exec sleep 100")
    record = ran(scenario(WAIT, "wireguard-go", "wireguard"), tmp_path)
    (step,) = record.steps
    assert step.error == "not within 2.00 s: waiting for the handshake of hq, alice"
    assert {"hq: hm", "alice: hm"} == set(step.output)
    laws = {law.id: law.holds for law in record.invariants}
    assert laws["programs-run"], "that it did nothing is no end"
    assert laws["no-leaks"]


def children(pid: int) -> dict[int, str]:
    """Every process below `pid`, with when it began."""
    found: dict[int, str] = {}
    stats = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit():
                stats[int(entry.name)] = (entry / "stat").read_text().rpartition(")")[2].split()
    below = {pid}
    while more := {child for child, stat in stats.items() if int(stat[1]) in below} - below:
        below |= more
    for child in below - {pid}:
        found[child] = stats[child][19]
    return found


def alive(pid: int, began: str) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19] == began
    return False


@needs("wireguard-go")
def test_nothing_is_left_of_agents_when_the_runner_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "long.yaml"
    file.write_text(
        scenario("steps: [{wait: {tunnels: up}}, {wait: {for: 90s}}]\n", "wireguard-go", "wireguard")
    )
    command = [sys.executable, "-u", "-m", "scenarios", "run", str(file)]
    runner = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE
    )
    try:
        assert runner.stdout is not None
        said = b""
        while b"tunnels up" not in said:
            line = runner.stdout.readline()
            assert line, said
            said += line
        before = children(runner.pid)
        names = [Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0] for pid in before]
        assert names.count(b"wireguard-go") == 2
    finally:
        runner.send_signal(signal.SIGKILL)
        runner.communicate()
    deadline = time.monotonic() + PATIENCE
    while left := [pid for pid, began in before.items() if alive(pid, began)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    secrets = [path for path in tmp_path.rglob("*") if path.is_file() and path != file]
    assert secrets == []


def test_what_is_not_on_this_machine_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FabricUnavailable, match="no wireguard-go: not installed. Fix: "):
        ran(scenario(WAIT, "wireguard-go", "wireguard"), tmp_path)
