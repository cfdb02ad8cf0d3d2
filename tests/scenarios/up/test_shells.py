"""The way that `poplab up` tells to a machine of real kernels: it is tried as it is printed."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from scenarios import doctor
from scenarios.up.cli import SHELLS

ROOT = Path(__file__).parents[3]
WEB, CONNECTOR, ALICE = "10.0.50.80", "10.0.50.1", "100.96.0.12"

FILE = """\
version: 1
name: shells
fabric: netns
vnets: {acme: {default: allow}}
topology:
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24]
      hosts:
        web:
          ip: 10.0.50.80
          app: {exec: [{name: sleeper, run: [sleep, "1000"]}]}
HOSTS
  clients:
    alice: {vnet: acme, ip: 100.96.0.12}
steps: [{wait: {for: 1s}}]
"""

USERS = {
    "as we are": (),
    # Root who may make no namespaces is who is not root: a user namespace of its own is the only way.
    "ordinary": ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"),
}


def lacking() -> str:
    found = doctor.examine(["netns", "user-namespace"])
    found += [doctor.find_program(name) for name in ("nsenter", "setpriv", "ip", "ping")]
    return next((each.sentence for each in found if not each.there), "")


pytestmark = pytest.mark.skipif(bool(lacking()), reason=lacking())


class Kept:
    def __init__(self, process: subprocess.Popen[str], user: Sequence[str]) -> None:
        self.process, self.user = process, user
        self.said = ""
        self.until("run   shells")
        self.shells = dict(re.findall(r"^shell on (\S+): (nsenter .*)$", self.said, re.MULTILINE))

    def until(self, text: str) -> None:
        assert self.process.stdout is not None
        while text not in self.said:
            line = self.process.stdout.readline()
            assert line, self.said
            self.said += line

    def on(self, machine: str, command: str) -> str:
        """What a command prints there, as the user who keeps the world."""
        words = [*self.user, *shlex.split(f"{self.shells[machine]} {command}")]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        assert not done.returncode, done.stderr or done.stdout
        return done.stdout

    def stop(self) -> int:
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGINT)
        self.said += self.process.stdout.read()
        return self.process.wait(30)


@contextmanager
def kept(folder: Path, user: Sequence[str], hosts: int = 0) -> Iterator[Kept]:
    file = folder / "lab.yaml"
    more = "".join(f"        h{n}: {{ip: 10.0.50.{100 + n}}}\n" for n in range(hosts))
    file.write_text(FILE.replace("HOSTS\n", more))
    command = [*user, sys.executable, "-m", "scenarios", "up", str(file), "--fabric", "netns"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    try:
        yield Kept(process, user)
    finally:
        process.kill()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("user", USERS)
def test_the_printed_words_lead_to_the_machine(tmp_path: Path, user: str) -> None:
    with kept(tmp_path, USERS[user]) as world:
        assert set(world.shells) == {"hq", "alice", "hq/web", "edge"}
        assert ("--user" in world.shells["hq"]) == (user == "ordinary" or os.geteuid() != 0)
        assert f" {WEB}/24 " in world.on("hq/web", "ip -brief address")
        assert f" {CONNECTOR}/24 " in world.on("hq", "ip -brief address")
        assert f" {ALICE}/32 " in world.on("alice", "ip -brief address")
        assert "10.0.50.0/24 dev eth0" in world.on("hq/web", "ip route")
        assert "like go from\n      hq/web, where programs run" in world.said
        assert " 1 received" in world.on("hq/web", f"ping -c 1 -w 10 {ALICE}")
        assert world.stop() == 0, world.said


def test_not_more_are_told_than_one_reads(tmp_path: Path) -> None:
    with kept(tmp_path, (), hosts=SHELLS) as world:
        assert len(world.shells) == SHELLS and {"hq", "alice", "hq/web"} < set(world.shells)
        assert "\n      and 4 more\n" in world.said
