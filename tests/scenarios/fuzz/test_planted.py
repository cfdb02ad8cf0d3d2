"""Every law has a guard in the code: taken away, a scenario fails by exactly that law."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from edge.errors import Refused
from scenarios import runner
from scenarios.fabric import FABRICS
from scenarios.fuzz import planted
from scenarios.report import RunRecord, State

ROOT = Path(__file__).parents[3]
FILE = ROOT / "scenarios/library/22-fuzz-me.yaml"

FAILOVER = """\
  - fault.kill: {machine: hq-a}
  - await: sites.hq.active == "hq-b"
    within: 5s
  - udp.send: {from: alice, to: hq/server, count: 2}
    may_fail: true
"""


def run(more: str = "") -> RunRecord:
    text = FILE.read_text().replace("\nfaults:", f"{more}\nfaults:")
    (script,) = runner.check(text)
    sim = FABRICS["sim"]
    return sim.execute(partial(runner.run, script, sim), seed=script.scenario.seed)


def broken(record: RunRecord) -> set[str]:
    return {law.id for law in record.invariants if not law.holds}


GUARDS = {
    "no-isolation": ("isolation", ""),
    "leak-between-networks-after-failover": ("isolation", FAILOVER),
    "miscount-drops": ("accounting", ""),
    "no-source-check": ("no-spoofing", ""),
    "rewrite-source": ("true-addresses", ""),
    "wrong-neighbour": ("delivery", ""),
    "flows-never-end": ("no-leaks", ""),
}


@pytest.mark.parametrize("name", GUARDS)
def test_without_its_guard_a_law_is_broken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    law, more = GUARDS[name]
    assert run(more).state is State.PASSED
    planted.plant(name, monkeypatch.setattr)
    record = run(more)
    assert record.state is State.FAILED, record.error
    assert law in broken(record)


def test_every_law_has_a_guard_that_is_tried() -> None:
    assert {law for law, _ in GUARDS.values()} == {law.id for law in run().invariants}
    assert {*GUARDS, "restarted-pop-does-not-follow-roaming"} == set(planted.plants())


def test_liars_alone_break_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    planted.plant("_liar", monkeypatch.setattr, hidden=True)
    record = run()
    assert record.state is State.PASSED
    assert sum(account.dropped.get("spoofed_source", 0) for account in record.accounts) > 10


def test_a_build_without_tests_and_a_wrong_name_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(Refused, match="did you mean 'miscount-drops'"):
        planted.plant("miscount-drop")
    monkeypatch.setattr(planted, "PLANTS", tmp_path / "tests" / "planted")
    with pytest.raises(Refused, match="no source checkout"):
        planted.plant("miscount-drops")


def poplab(*arguments: object, bug: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from scenarios.cli import main; main()", *map(str, arguments)]
    environment = {**os.environ, planted.VARIABLE: bug}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


def test_a_broken_poplab_says_so_and_an_unknown_bug_is_no_traceback() -> None:
    done = poplab("run", FILE, "--fabric", "sim", bug="miscount-drops")
    assert done.returncode == 1
    assert "POPLAB_PLANTED_BUG=miscount-drops: this poplab is broken on purpose" in done.stderr
    assert "FAIL  accounting" in done.stdout
    done = poplab("run", FILE, bug="nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no bug 'nonsense'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_campaign_finds_a_planted_bug_and_shrinks_it_to_a_file_that_repeats_it(tmp_path: Path) -> None:
    """Two faults are needed: the PoP restarts, and somebody gets another address afterwards."""
    bug = "restarted-pop-does-not-follow-roaming"
    done = poplab("fuzz", FILE, "--runs", 200, "--seed", 1, "--out", tmp_path, bug=bug)
    assert done.returncode == 1, done.stdout + done.stderr
    (found,) = tmp_path.glob("*.yaml")
    (script,) = runner.check(found)
    faults = [step for step in script.scenario.steps if (step.id or "").startswith("fault_")]
    assert 2 <= len(faults) <= 3
    assert f"again:   poplab run {found}" in done.stdout
    assert "liveness" in found.read_text().splitlines()[0]
    assert poplab("run", found, bug=bug).returncode == 1
    assert poplab("run", found).returncode == 0
