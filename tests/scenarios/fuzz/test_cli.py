"""The command: exit codes, what is refused, progress, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scenarios.cli import poplab
from scenarios.fuzz import campaign, planted

ROOT = Path(__file__).parents[3]

SMALL = """\
version: 1
name: small
matrix: {pause: [100ms, 200ms]}
vnets: {acme: {}}
topology:
  clients:
    alice: {vnet: acme, ip: 100.96.0.12}
    bob: {vnet: acme, ip: 100.96.0.13}
policy: [{id: echo, action: allow}]
steps:
  - wait: {tunnels: up}
  - ping: {from: alice, to: bob, interval: "${matrix.pause}"}
  - {id: later, background: true, ping: {from: bob, to: alice}}
  - {at: later.ended + 1s, ping: {from: bob, to: alice}}
faults: {draw: {count: 1..2, from: [kill, roam]}, recover: 20s}
"""


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(poplab, ["fuzz", *map(str, arguments)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "small.yaml"
    file.write_text(SMALL)
    return file


def test_a_sound_network_passes(file: Path, tmp_path: Path) -> None:
    result = invoke(file, "--runs", 6, "--jobs", 1, "--out", tmp_path / "out", "--set", "pause=200ms")
    assert result.exit_code == 0, result.output
    assert "nothing found in 6 runs" in result.output
    assert result.output.index("kill") < result.output.index("roam")
    assert not (tmp_path / "out").exists()


def test_what_is_found_is_written_with_how_it_was_found(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted.plant("flows-never-end", monkeypatch.setattr)
    file.write_text(SMALL.replace("recover", "spare: [], recover"))
    original = campaign.plan
    monkeypatch.setattr(
        campaign, "plan", lambda script, seed: _with_a_sound_baseline(original, script, seed, monkeypatch)
    )
    result = invoke(file, "--runs", 2, "--jobs", 1, "--out", tmp_path / "out")
    assert result.exit_code == 1, result.output
    assert "no-leaks: 2 of 2 runs" in result.output
    (found,) = (tmp_path / "out").iterdir()
    text = found.read_text()
    assert text.startswith("# Breaks: no-leaks.\n# vnet acme: ")
    assert f"Found by run 0 of: poplab fuzz {file} --runs 2 --seed 1" in text or "Found by run 1" in text
    assert "fault" not in text.partition("steps:")[2].partition("everything heals")[0], "no fault is needed"
    again = CliRunner().invoke(poplab, ["run", str(found)])
    assert again.exit_code == 1
    assert "FAIL  no-leaks" in again.output


def _with_a_sound_baseline(
    plan: object, script: object, seed: int, monkeypatch: pytest.MonkeyPatch
) -> object:
    with monkeypatch.context() as undone:
        undone.setattr(campaign, "attempt", lambda script: _without_leaks(script))
        return plan(script, seed)  # type: ignore[operator]


def _without_leaks(script: object) -> object:
    from dataclasses import replace

    from scenarios.fuzz.trial import attempt

    outcome = attempt(script)  # type: ignore[arg-type]
    return replace(outcome, failures=())


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (SMALL.replace("to: bob,", "to: 100.96.0.99,"), (), "fails without any fault: liveness"),
        (SMALL.replace("name: small", "name: small\nfabric: loopback"), (), "campaigns run in virtual time"),
        (SMALL, ("--set", "pause=9s"), "known: 100ms, 200ms"),
        (SMALL, ("--set", "delay=9s"), "the file has no such axis"),
        (SMALL, ("--set", "nonsense"), "is no NAME=VALUE"),
        (SMALL.replace("from: [kill, roam]", "from: [rebind]"), (), "nobody left to do anything to"),
        (SMALL.replace("to: alice", "to: alize"), (), "did you mean 'alice'"),
    ],
)
def test_what_makes_no_sense_is_refused(
    file: Path, text: str, arguments: tuple[str, ...], message: str
) -> None:
    file.write_text(text)
    result = invoke(file, "--jobs", 1, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output


def test_ctrl_c_waits_for_what_is_under_way_and_reports(file: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from scenarios.cli import main; main()", "fuzz", str(file)]
    command += ["--runs", "100000", "--jobs", "2", "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "nothing found" in line and "fuzz 0/" not in line:
                os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
                break
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "interrupted after" in rest
    assert "Traceback" not in rest
