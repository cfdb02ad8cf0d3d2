"""How much faster than the clock simulated worlds run, and what a bare event heap does in the same minute."""

from __future__ import annotations

import heapq
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).parents[2] / "scenarios/library"

CALLS = """\
version: 1
name: calls
fabric: sim
deadline: 300s
vnets: {acme: {}}
topology:
  sites:
    hq: {vnet: acme, routes: [10.0.0.0/24], link: wan, hosts: {pbx: {ip: 10.0.0.60, app: {sip.pbx: {}}}}}
    west: {count: 10, vnet: acme, routes: [10.1.0.0/24], link: dsl, hosts: {
      phone: {ip: 10.1.0.10, count: 2, app: {sip.phone: {}}}}}
    east: {count: 10, vnet: acme, routes: [10.2.0.0/24], link: dsl, hosts: {
      phone: {ip: 10.2.0.10, count: 2, app: {sip.phone: {}}}}}
policy: [{id: default, action: allow}]
load:
  calls:
    actor: west/phone
    do: {sip.call: {to: east/phone, hold: 60s}}
    start: 20/s
    stages: [{to: 20/s, over: 1s}]
steps:
  - wait: {tunnels: up}
  - wait: {step: calls}
"""

DAY = """\
version: 1
name: day
fabric: sim
deadline: 25h
vnets: {acme: {}}
topology:
  clients:
    fleet: {vnet: acme, count: 100, link: wan, keepalive: 25s}
policy: [{id: default, action: allow}]
steps:
  - wait: {tunnels: up}
  - wait: {for: 24h}
"""

SITES = """\
version: 1
name: sites
fabric: sim
deadline: 60s
vnets: {acme: {}}
topology:
  sites:
    branch: {count: 1000, vnet: acme, routes: [10.0.0.0/24], link: wan, hosts: {
      server: {ip: 10.0.0.10, app: {udp.echo: {}}}}}
policy: [{id: default, action: allow}]
steps:
  - wait: {tunnels: up}
"""

WORLDS: Mapping[str, str | Path] = {
    "20 sites, 40 phones in calls": CALLS,
    "1,000 calls at once, crypto: null": LIBRARY / "12-thousand-softphones.yaml",
    "100 tunnels, 24 h with rekeys": DAY,
    "1,000 sites, until all are up": SITES,
}

# A process of its own: memory and imports are then those of a user's run. Its CPU time is what is measured: a world
# waits for nobody, so on an idle machine that is the time it takes, and on a busy one it still says something.
CHILD = """
import json, resource, sys, time
from functools import partial
from pathlib import Path
from scenarios.fabric import FABRICS
from scenarios.runner import check, run
given = sys.argv[1]
began = time.process_time()
(script,) = check(Path(given) if given.endswith(".yaml") else given)
where = FABRICS["sim"]
record = where.execute(partial(run, script, where), seed=7)
cpu = time.process_time() - began
assert record.state == "passed", [step.error for step in record.steps]
packets = sum(account.packets_out for account in record.accounts)
print(json.dumps({"virtual": record.elapsed, "cpu": cpu, "events": record.events, "packets": packets,
                  "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def measure(name: str) -> dict[str, Any]:
    """One run of a world; raises CalledProcessError if it fails."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(WORLDS[name])],
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    values: dict[str, Any] = json.loads(done.stdout)
    return values


def bare_heap(events: int = 300_000) -> float:
    """Events per second of a heap of 100 that does nothing else."""
    heap = [(at * 1e-5, at) for at in range(100)]
    heapq.heapify(heap)
    began = time.process_time()
    for number in range(events):
        at, _ = heapq.heappop(heap)
        heapq.heappush(heap, (at + 0.001, number))
    return events / (time.process_time() - began)
