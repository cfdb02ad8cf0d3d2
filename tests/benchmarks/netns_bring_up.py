"""`python -m tests.benchmarks.netns_bring_up`: how fast worlds of kernels are up, and how much goes through one.

Needs what the netns fabric needs. Figures belong to the machine; every load is bounded.
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio

from edge.errors import FabricUnavailable
from scenarios.fabric import Netns
from scenarios.fabric.netns.places import Places
from scenarios.fabric.netns.room import make_room
from scenarios.report import RunRecord, State
from scenarios.runner import check, run
from scenarios.world import World, build

FRAME = """\
version: 1
name: bench
deadline: 60s
vnets: {{acme: {{}}}}
topology:
  sites:
    hq: {{vnet: acme, routes: [10.0.0.0/16], hosts: {{{hosts}}}}}
  clients: {{{clients}}}
policy: [{{id: all, action: allow}}]
steps:
  - {{wait: {{tunnels: up}}, within: 30s}}
"""
RATE = """\
  - {wait: {programs: ready}, within: 20s}
  - id: flood
    exec.run: {on: alice, within: 20s, run: [python3, flood.py], files: {flood.py: {copy: flood.py}}}
"""
SERVER = """\
import socket, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
sock.bind(("0.0.0.0", 7000))
count, first = 0, 0.0
sock.recv(2000)
first = time.monotonic()
sock.settimeout(1.0)
try:
    while True:
        sock.recv(2000)
        count, last = count + 1, time.monotonic()
except TimeoutError:
    print("received", count, "per second", round(count / (last - first)), flush=True)
time.sleep(60)
"""
CLIENT = """\
import socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
size, rate, end, sent = {size}, {rate}, time.monotonic() + 3.0, 0
began = time.monotonic()
while (now := time.monotonic()) < end:
    while sent < (now - began) * rate:
        try:
            sock.sendto(bytes(size), ("10.0.1.0", 7000))
        except OSError:
            pass
        sent += 1
    time.sleep(0.001)
print("sent", sent)
time.sleep(3.0)
"""


def host(number: int, app: str = "{udp.echo: {}}") -> str:
    return f"h{number}: {{ip: 10.0.{number // 250 + 1}.{number % 250}, app: {app}}}"


def world(hosts: int, clients: int) -> World:
    members = ", ".join(host(number) for number in range(hosts))
    ends = ", ".join(
        f"c{number}: {{vnet: acme, ip: 100.96.{number // 250 + 1}.{number % 250}}}"
        for number in range(clients)
    )
    (script,) = check(FRAME.format(hosts=members, clients=ends), "bench.yaml")
    return build(script)


def places(hosts: int) -> tuple[float, float, int]:
    """Seconds to make them and to take them down, open files."""
    given = world(hosts, 1)
    make_room(given)
    before, began = len(os.listdir("/proc/self/fd")), time.perf_counter()
    with Places(given):
        made = time.perf_counter()
        files = len(os.listdir("/proc/self/fd")) - before
    return made - began, time.perf_counter() - made, files


async def tunnels(clients: int) -> float:
    """Seconds until all are up, machines and handshakes."""
    given = world(1, clients)
    began = time.perf_counter()
    async with Netns().bring_up(given) as network:
        with trio.fail_after(60):
            await network.wait_up()
        return time.perf_counter() - began


def flood(size: int, rate: int, folder: Path) -> RunRecord:
    """A program behind a tunnel sends to one at a site, as fast as it is told."""
    for name, text in (("server.py", SERVER), ("flood.py", CLIENT.format(size=size, rate=rate))):
        (folder / name).write_text(text)
    files = "files: {server.py: {copy: server.py}}"
    server = f"{{exec: [{{name: server, run: [python3, server.py], {files}, ready: {{udp: 7000}}}}]}}"
    text = FRAME.format(hosts=host(0, server), clients="alice: {vnet: acme, ip: 100.96.0.12}") + RATE
    (script,) = check(text, str(folder / "bench.yaml"))
    return trio.run(partial(run, script, Netns(), folder=folder))


def said(folder: Path, log: str) -> str:
    return " ".join((folder / "programs" / log).read_text().split())


def main() -> None:
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
    )
    try:
        Netns().prepare()
    except FabricUnavailable as error:
        raise SystemExit(f"{error}") from None
    places(1)  # what is imported and loaded once
    for hosts, goal in ((50, 1.0), (200, 5.0)):
        made, gone, files = places(hosts)
        print(
            f"{hosts} hosts of a site: {made:.2f} s (goal {goal:g} s), down in {gone:.2f} s, {files} open files"
        )
    up: Callable[[], Awaitable[float]] = partial(tunnels, 50)
    print(f"50 clients with their tunnels up: {trio.run(up):.2f} s")
    for size, rate in ((200, 1_000), (1200, 1_000), (200, 5_000), (1200, 5_000), (1200, 20_000)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            began = time.process_time()
            record = flood(size, rate, folder)
            spent = time.process_time() - began
            laws = [law.text for law in record.invariants if not law.holds or "not judged" in law.text]
            print(
                f"{size} B at {rate:,} a second: {said(folder, 'alice.python3.log')}, "
                f"{said(folder, 'hq-h0.server.log')}, {spent:.1f} s of our CPU"
                + (f"; {laws}" if laws else "")
            )
            assert record.state is State.PASSED, (record.error, [step.error for step in record.steps])


if __name__ == "__main__":
    main()
