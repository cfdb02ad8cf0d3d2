"""Programs that break their machines, and machines that break programs: the run says so, and ends as it should."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.scenarios.fabric.netns.needs import needs

pytestmark = needs("netns")

ROOT = Path(__file__).parents[4]
NOT_HERE = 3
LIMIT = 60

WORLD = """\
version: 1
name: hostile
vnets: {acme: {}}
policy: [{id: all, action: allow}]
topology:
  clients: {alice: {vnet: acme, ip: 100.96.0.12}, bob: {vnet: acme, ip: 100.96.0.13}}
  sites:
    hq:
      vnet: acme
      routes: [10.0.60.0/24]
      hosts: {web: {ip: 10.0.60.80}, desk: {ip: 10.0.60.81, app: {udp.echo: {}}}}
steps:
  - wait: {tunnels: up}
"""


def ran(folder: Path, steps: str, *, within: Sequence[str] = ()) -> tuple[int, str]:
    """The exit code, and all that was said. `within` is a command that runs it."""
    file = folder / "hostile.yaml"
    file.write_text(WORLD + steps)
    done = subprocess.run(
        [*within, sys.executable, "-m", "scenarios", "run", str(file)],
        cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert "Traceback" not in said, said
    return done.returncode, said


def shell(on: str, script: str) -> str:
    return f"  - exec.run: {{on: {on}, run: [sh, -c, '{script}']}}\n"


def test_where_a_route_of_a_program_leads_is_no_riddle(tmp_path: Path) -> None:
    code, said = ran(
        tmp_path,
        shell(
            "hq/web", "ip link add own type bridge && ip link set own up && ip route add 100.96.0.12 dev own"
        )
        + "  - {may_fail: true, route.check: {from: alice, to: hq/web}}\n"
        + shell(
            "hq/web",
            "ip route replace 100.96.0.12 nexthop via 10.0.60.1 dev eth0 nexthop via 10.0.60.81 dev eth0",
        )
        + "  - route.check: {from: alice, to: hq/web}\n",
    )
    assert code == 0, said
    assert "has a route into an interface that a program made; fix: on hq/web: ip route replace" in said


def test_a_program_that_deletes_interfaces_fails_the_run_and_ends_nothing_else(tmp_path: Path) -> None:
    code, said = ran(
        tmp_path,
        shell("alice", "ip link del poplab0")
        + shell("bob", "ip link del uplink")
        + "  - {may_fail: true, fault.roam: {tunnel: bob}}\n"
        + shell("hq/web", "ping -c1 -W2 10.0.60.81"),
    )
    assert code == 1, said
    assert "the interface poplab0 of alice was deleted; the interface uplink of bob was deleted" in said
    assert "bob has no uplink" in said
    assert "ok    no-leaks" in said


def test_an_address_that_a_program_adds_is_one_of_its_host(tmp_path: Path) -> None:
    code, said = ran(
        tmp_path,
        shell("hq/web", "ip addr add 10.0.60.99/24 dev eth0") + shell("alice", "ping -c1 -W2 10.0.60.99"),
    )
    assert code == 0, said


def test_who_sends_with_a_source_of_others_is_counted_where_it_ends(tmp_path: Path) -> None:
    forge = "ip addr add 192.0.2.1/32 dev lo; ping -c 2 -i 0.2 -W 1 -I 192.0.2.1"
    code, said = ran(
        tmp_path,
        f"  - exec.run: {{on: alice, run: [sh, -c, '{forge} 10.0.60.81']}}\n"
        "    expect: [code == 1, clients.alice.lost.spoofed_source == 2]\n"
        f"  - exec.run: {{on: hq/web, run: [sh, -c, '{forge} 100.96.0.13']}}\n"
        "    expect: [code == 1, sites.hq.lost.spoofed_source == 2, clients.bob.lost.spoofed_source == 0]\n",
    )
    assert code == 0, said
    assert "ok    no-spoofing: 0 of" in said


def test_routers_and_the_pop_answer_the_pings_of_programs(tmp_path: Path) -> None:
    steps = "".join(
        shell(host, f"ping -c 2 -i 0.2 -W 2 {target}")
        for host in ("alice", "hq/web")
        for target in ("100.96.0.1", "10.0.60.1")
    )
    code, said = ran(tmp_path, steps)
    assert code == 0, said


def test_where_there_are_no_pid_namespaces_there_is_no_run(tmp_path: Path) -> None:
    script = 'echo 0 > /proc/sys/user/max_pid_namespaces && exec "$@"'
    code, said = ran(
        tmp_path,
        shell("alice", "true"),
        within=("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"),
    )
    assert code == NOT_HERE, said
    assert "user.max_pid_namespaces" in said


def test_who_keeps_a_world_up_is_told_at_once_that_a_program_has_died(tmp_path: Path) -> None:
    file, said = tmp_path / "up.yaml", tmp_path / "said"
    program = "app: {exec: [{name: pbx, run: [sh, -c, 'sleep 1; ip link del poplab0; exit 3']}]}"
    file.write_text(
        WORLD.replace("{vnet: acme, ip: 100.96.0.12", f"{{vnet: acme, {program}, ip: 100.96.0.12")
    )
    with said.open("w") as stream:
        up = subprocess.Popen(
            [sys.executable, "-m", "scenarios", "up", str(file), "--fabric", "netns", "--listen", "127.0.0.1:0"],
            cwd=ROOT, stdout=stream, stderr=stream,
        )  # fmt: skip
    try:
        until = time.monotonic() + LIMIT
        while time.monotonic() < until and up.poll() is None and "poplab0 of alice" not in said.read_text():
            time.sleep(0.1)
        up.send_signal(signal.SIGINT)
        assert up.wait(LIMIT) == 1, said.read_text()
    finally:
        up.kill()
    before, _, _ = said.read_text().partition("FAIL")
    assert "pbx on alice should run, but it ended with code 3" in before
    assert "the interface poplab0 of alice was deleted" in before
