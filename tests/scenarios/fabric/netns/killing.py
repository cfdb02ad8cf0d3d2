"""Starts runs and kills them at random moments: ``python -m ...killing FOLDER SEED``, first process of its namespaces.

So every process there is one of theirs, and every change of the network was made by them. Says as JSON what is left.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[4]
SERIES = {signal.SIGKILL: 30, signal.SIGINT: 10, signal.SIGTERM: 10}
AT_ONCE = 6
LONGEST = 3.0
"""Seconds: they come while the world is made, or at work."""
PATIENCE = 40.0

SCENARIO = """\
version: 1
name: victim
deadline: 30s
vnets: {acme: {}}
topology:
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24]
      hosts:
        web:
          ip: 10.0.50.60
          app:
            exec:
              - {name: web, run: [python3, -m, http.server, "8000"]}
              - name: daemon
                run: [python3, daemon.py]
                files:
                  daemon.py: |
                    import os, time
                    if os.fork():
                        time.sleep(600)
                    os.setsid()
                    if os.fork():
                        os._exit(0)
                    os.closerange(0, 20)
                    while True:
                        os.fork() or os.execve("/bin/sleep", ["sleep", "1"], {})
                        os.wait()
        ours: {ip: 10.0.50.61, app: {udp.echo: {}}}
    branch: {vnet: acme, routes: [10.0.60.0/24], hosts: {ours: {ip: 10.0.60.61, app: {udp.echo: {}}}}}
  clients:
    alice: {vnet: acme, ip: 100.96.0.12, app: {exec: [{name: nap, run: [sleep, "600"]}]}}
    bob: {vnet: acme, ip: 100.96.0.13, nat: port-restricted}
policy: [{id: all, action: allow}]
steps:
  - {wait: {tunnels: up}}
  - udp.send: {from: bob, to: branch/ours, count: 400, interval: 20ms, patience: 100ms}
"""


class Victim:
    """A run that gets a signal."""

    def __init__(self, folder: Path, number: int, how: signal.Signals, draw: random.Random) -> None:
        self.how = how
        self.began = time.monotonic()
        self.struck = False
        self._wait = draw.uniform(0.0, LONGEST)
        self._at = self.began if draw.random() < 0.2 else float("inf")
        """What the moment counts from: for a few the start, for most when it begins to run the file."""
        self.two = draw.random() < 0.4
        """It runs two files, each in a child of its own."""
        self.child = self.two and draw.random() < 0.5
        """A child of those gets the signal."""
        self._out = folder / f"out-{number}"
        """The process that runs the world gets it, not the one that waits for that."""
        self.log = folder / f"{number}.log"
        with self.log.open("w") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "scenarios", "run", str(folder / "victim.yaml"), "--fabric", "netns",
                 "--out", str(self._out), *([str(folder / "twin.yaml"), "--jobs", "2"] if self.two else [])],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=ROOT,
            )  # fmt: skip

    def look(self) -> None:
        """Strike, if it is time."""
        if self.struck or self.popen.poll() is not None:
            return
        pid = self.popen.pid
        children: list[str] = []
        with suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        now = time.monotonic()
        if self._out.exists():
            self._at = min(self._at, now)
        if now >= self._at + self._wait:
            self.struck = True
            if self.child and children:
                pid = int(children[0])
            with suppress(ProcessLookupError):
                os.kill(pid, self.how)


def kill_all(folder: Path, draw: random.Random) -> list[str]:
    """What went wrong."""
    wanted = deque(how for how, count in SERIES.items() for _ in range(count))
    alive: list[Victim] = []
    complaints = []
    number = 0
    while wanted or alive:
        while wanted and len(alive) < AT_ONCE:
            alive.append(Victim(folder, number, wanted.popleft(), draw))
            number += 1
        time.sleep(0.01)
        for victim in list(alive):
            victim.look()
            if victim.popen.poll() is not None:
                alive.remove(victim)
                if "PASS" in victim.log.read_text() and not victim.child:
                    complaints.append(f"{victim.how.name} did nothing: {victim.log.read_text()[-500:]}")
                said = victim.log.read_text()
                if "Traceback" in said and not said.endswith(
                    "KeyboardInterrupt\n"
                ):  # while Python was starting
                    complaints.append(said[-500:])
            elif time.monotonic() > victim.began + PATIENCE:
                complaints.append(f"{victim.how.name} does not end a run")
                victim.popen.kill()
                victim.popen.wait()
                alive.remove(victim)
    return complaints


def others() -> list[str]:
    """All processes but this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if command:  # else it is dead and waits for us
                    found.append(command)
    return found


def network() -> dict[str, str]:
    """Everything that can be changed on the network here."""
    words = [["-j", kind] for kind in ("link", "address", "route", "rule", "neigh")]
    words += [["-6", "-j", "rule"], ["-6", "-j", "route"]]
    found = {
        " ".join(argv): subprocess.run(["ip", *argv], capture_output=True, text=True, check=True).stdout
        for argv in words
    }
    for path in sorted(Path("/proc/sys/net").rglob("*")):
        with suppress(OSError):
            if path.is_file() and path.stat().st_mode & 0o400:
                found[str(path)] = path.read_text()
    found["resolv.conf"] = Path("/etc/resolv.conf").read_text() if Path("/etc/resolv.conf").exists() else ""
    found["mounts"] = Path("/proc/self/mounts").read_text()
    return found


def reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main() -> None:
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    temporary = folder / "tmp"
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    for name in ("victim.yaml", "twin.yaml"):
        (folder / name).write_text(SCENARIO)
    before = network()
    complaints = kill_all(folder, random.Random(seed))
    end = time.monotonic() + PATIENCE
    while others() and time.monotonic() < end:
        reap()
        time.sleep(0.05)
    processes = others()
    after = network()
    left = len(list(temporary.iterdir()))
    last = subprocess.run(
        [sys.executable, "-m", "scenarios", "run", "scenarios/library/03-site-to-site.yaml", "--fabric", "sim"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    json.dump(
        {
            "complaints": complaints,
            "processes": processes,
            "changed": [key for key in sorted({*before, *after}) if before.get(key) != after.get(key)],
            "left_before_the_next_start": left,
            "left": sorted(entry.name for entry in temporary.iterdir()),
            "last": last.returncode,
            "came_to_work": len(list(folder.glob("out-*/**/programs"))),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
