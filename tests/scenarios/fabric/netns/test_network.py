"""Worlds of kernels: what faults do to them, programs in them, and that nothing of them is left."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.errors import FabricUnavailable
from scenarios.fabric.netns.places import Places
from scenarios.fabric.netns.wiring import Machine
from scenarios.report import State
from scenarios.runner import check
from scenarios.world import build
from tests.scenarios.fabric.netns.needs import needs
from tests.scenarios.fabric.test_faults import ASK, ASK_BOB, ASK_DEPOT, CASES, WORLD, passes, record

pytestmark = needs("netns")

MORE = {
    "who roams behind a NAT is followed": f"""
  - fault.roam: {{tunnel: bob}}
  - {ASK_BOB}
""",
    "a connector that roams is followed": """
  - fault.roam: {tunnel: depot}
  - udp.send: {from: depot/printer, to: hq/server, count: 1, patience: 400ms}
  - udp.send: {from: alice, to: depot/printer, count: 1, patience: 400ms}
""",
    "a PoP that stands still takes it up again": f"""
  - fault.pause: {{machine: edge, for: 700ms}}
  - {{wait: {{for: 1s}}}}
  - {ASK}
""",
    "a zombie still answers who asks whether it is alive": f"""
  - {{expect: ['sites.hq.active == "hq-a"'], wait: {{for: 2s}}}}
  - fault.zombie: {{machine: hq-a}}
  - {{ {ASK}, {"expect: [received == 0]"} }}
  - {{expect: ['sites.hq.active == "hq-a"'], wait: {{for: 4s}}}}
  - fault.zombie: {{machine: hq-a, on: false}}
  - {ASK}
""",
    "a client that dies comes back with its interface": f"""
  - fault.kill: {{machine: alice}}
  - {{ {ASK}, {"expect: [received == 0]"} }}
  - fault.restart: {{machine: alice}}
  - {{await: tunnels.alice.up, within: 5s}}
  - {ASK}
""",
}


@pytest.fixture(autouse=True)
def everything_is_as_it_was() -> Iterator[None]:
    def now() -> tuple[object, ...]:
        return (
            os.listdir("/proc/self/fd"),
            os.readlink("/proc/self/ns/net"),
            socket.if_nameindex(),
            children(),
        )

    before = now()
    yield
    assert now() == before


def children() -> list[str]:
    """Processes; threads that wait for work come and go."""
    return [
        word for task in Path("/proc/self/task").iterdir() for word in (task / "children").read_text().split()
    ]


@pytest.mark.parametrize("case", [*CASES, *MORE])
def test_faults(case: str) -> None:
    passes({**CASES, **MORE}[case], "netns")


PROGRAMS = """\
version: 1
name: programs
deadline: 60s
vnets: {acme: {}, umbrella: {}}
topology:
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24, "fd00:50::/64"]
      hosts:
        web: {ip: 10.0.50.60, app: {exec: [{name: web, run: [python3, -m, http.server, "8000"], ready: {tcp: 8000}}]}}
        web6: {ip: "fd00:50::60", app: {exec: [
          {name: web, run: [python3, -m, http.server, --bind, "::", "8000"], ready: {tcp: 8000}}]}}
        ours: {ip: 10.0.50.61, app: {udp.echo: {}}}
    far: {vnet: acme, routes: ["fd00:60::/64"], hosts: {six: {ip: "fd00:60::12"}}}
    twin: {vnet: umbrella, routes: [10.0.50.0/24], hosts: {web: {ip: 10.0.50.60, app: {udp.echo: {}}}}}
  clients:
    alice: {vnet: acme, ip: 100.96.0.12}
    eve: {vnet: umbrella, ip: 100.96.0.12}
policy: [{id: all, action: allow}]
steps:
  - {wait: {tunnels: up}, within: 10s}
  - {wait: {programs: ready}, within: 20s}
"""


def test_programs_behind_tunnels_reach_each_other() -> None:
    done = passes(
        """
  - exec.run: {on: alice, run: [curl, -sSf, -m, "10", "http://10.0.50.60:8000/"], within: 15s}
  - exec.run: {on: far/six, run: [curl, -sSf, -m, "10", "http://[fd00:50::60]:8000/"], within: 15s}
  - exec.run: {on: eve, run: [curl, -sS, -m, "3", "http://10.0.50.60:8000/"], within: 15s}
    expect: [code != 0]
  - exec.run: {on: alice, run: [ping, -c, "2", -i, "0.1", 10.0.50.61], within: 15s}
  - exec.run: {on: alice, run: [sh, -c, "ip -br link; cat /etc/resolv.conf"], within: 15s}
    expect: ['"poplab0" in stdout and "eth0" not in stdout']
""",
        "netns",
        PROGRAMS,
    )
    assert {law.id: law.holds for law in done.invariants} == dict.fromkeys(
        (law.id for law in done.invariants), True
    )
    assert "no-leaks" in {law.id for law in done.invariants}


def test_a_program_that_is_left_in_a_machine_does_not_outlive_it() -> None:
    done = passes(
        """
  - exec.run: {on: alice, within: 15s, run: [python3, -c, "import os, time;
      os.fork() and (time.sleep(0.5), os._exit(0)); os.setsid(); os.execve('/bin/sleep', ['sleep', '4321'], {})"]}
""",
        "netns",
        PROGRAMS,
    )
    assert done.state is State.PASSED
    assert not running("sleep", "4321")


def running(*argv: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (entry / "cmdline").read_bytes() == b"".join(word.encode() + b"\0" for word in argv):
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_the_networks_of_the_host_are_none_of_its_business() -> None:
    """A world may use whatever addresses this machine has itself."""
    own = next((address for address in _own_addresses() if not address.startswith("127.")), "192.0.2.2")
    world = WORLD.replace("10.0.60.9", own).replace("10.0.60.0/24", f"{own.rpartition('.')[0]}.0/24")
    passes(f"  - {ASK_DEPOT}\n", "netns", world)


def _own_addresses() -> list[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect(("203.0.113.1", 9))
        except OSError:
            return []
        return [sock.getsockname()[0]]


def test_two_hundred_hosts_in_one_site() -> None:
    hosts = ", ".join(
        f"h{number}: {{ip: 10.0.0.{number + 10}, app: {{udp.echo: {{}}}}}}" for number in range(200)
    )
    world = f"""\
version: 1
name: many
deadline: 60s
vnets: {{acme: {{}}}}
topology:
  sites:
    hq: {{vnet: acme, routes: [10.0.0.0/24], hosts: {{{hosts}}}}}
  clients: {{alice: {{vnet: acme, ip: 100.96.0.12}}}}
policy: [{{id: all, action: allow}}]
steps:
  - {{wait: {{tunnels: up}}, within: 10s}}
  - udp.send: {{from: alice, to: hq/h0, count: 2, interval: 20ms, patience: 400ms}}
  - udp.send: {{from: alice, to: hq/h199, count: 2, interval: 20ms, patience: 400ms}}
"""
    passes("", "netns", world)


def test_a_run_that_cannot_come_up_says_so_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    address = Machine.address

    def fails(self: Machine, interface: str, text: str) -> None:
        made.append(text)
        if len(made) == 6:
            raise OSError(28, "No space left on device")
        address(self, interface, text)

    monkeypatch.setattr(Machine, "address", fails)
    with pytest.raises(FabricUnavailable, match=r"No space left[^\n]*\n +fix: "):
        record(f"  - {ASK}\n", "netns")


def test_what_still_runs_on_a_machine_is_a_leak() -> None:
    (script,) = check(WORLD, "leak.yaml")
    with Places(build(script)) as places:
        assert places.end_programs() == []
        with places.ends["alice"].space.inside():
            stray = subprocess.Popen(["sleep", "60"])
        try:
            assert places.end_programs() == [f"process {stray.pid} still runs on alice"]
        finally:
            stray.kill()
            stray.wait()
        assert places.end_programs() == []
