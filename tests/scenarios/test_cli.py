"""The command: exit codes, files, output for machines."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from click.testing import CliRunner, Result

from scenarios.cli import exit_code, poplab
from scenarios.report import RunRecord, State

SMALL = """\
version: 1
name: small
deadline: 20s
vnets: {acme: {}}
topology:
  clients:
    alice: {vnet: acme, ip: 100.96.0.12}
    bob: {vnet: acme, ip: 100.96.0.13}
policy: [{id: all, action: allow}]
steps:
  - {name: up, wait: {tunnels: up}}
  - {name: the ping, ping: {from: alice, to: bob, interval: 0}, expect: [received == 3]}
"""


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(poplab, [str(argument) for argument in arguments])


def write(folder: Path, text: str = SMALL, name: str = "small.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_a_good_run_passes_and_leaves_its_reports(tmp_path: Path) -> None:
    file, out = write(tmp_path), tmp_path / "out"
    result = invoke("run", file, "--out", out, "--seed", 11)
    assert result.exit_code == 0, result.output
    last = result.output.splitlines()[-1]
    assert last.startswith("PASS small in")
    assert last.endswith(f"report {out}  again: poplab run {file} --seed 11")
    suite = ElementTree.parse(out / "junit.xml").getroot()[0]
    assert (suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("0", "0", "0")
    (run,) = json.loads((out / "results.json").read_bytes())["runs"]
    assert (run["state"], run["seed"], run["steps"][1]["results"]["received"]) == ("passed", 11, 3)


def test_a_broken_expectation_exits_with_1_and_names_itself(tmp_path: Path) -> None:
    result = invoke(
        "run", write(tmp_path, SMALL.replace("received == 3", "received == 4")), "--out", tmp_path
    )
    assert result.exit_code == 1
    assert "FAIL" in result.output
    assert "received == 4 is false: received = 3" in result.output
    failure = ElementTree.parse(tmp_path / "junit.xml").getroot().find(".//failure")
    assert failure is not None
    assert failure.get("message") == "received == 4 is false: received = 3"


def test_json_is_all_that_is_on_stdout(tmp_path: Path) -> None:
    result = invoke("run", write(tmp_path), "--json")
    assert json.loads(result.stdout)["runs"][0]["name"] == "small"


def test_a_bad_file_exits_with_2_before_any_other_runs(tmp_path: Path) -> None:
    bad = write(tmp_path, SMALL.replace("to: bob", "to: bop"), "bad.yaml")
    result = invoke("run", write(tmp_path), bad)
    assert result.exit_code == 2
    assert "bad.yaml:12:46: there is no 'bop'\n    fix: did you mean 'bob'?" in result.output
    assert "PASS" not in result.output
    assert invoke("check", bad).exit_code == 2
    assert invoke("check", tmp_path / "missing.yaml").exit_code == 2
    assert invoke("run").exit_code == 2


def test_check_and_schema(tmp_path: Path) -> None:
    file = write(tmp_path)
    assert invoke("check", file).output == f"{file}: good: 2 hosts, 2 steps, 1 conditions\n"
    assert json.loads(invoke("schema").output)["title"] == "poplab scenario"


def test_the_edge_is_a_verb() -> None:
    assert "add-client" in invoke("edge", "--help").output


def test_ctrl_c_drains_and_still_writes_the_reports(tmp_path: Path) -> None:
    file = write(tmp_path, SMALL + "  - {name: long, wait: {for: 1h}}\n  - {name: never, wait: {for: 1s}}\n")
    command = "from scenarios.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", command, "run", str(file), "--fabric", "loopback", "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "the ping" in line:
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == 130
    assert "interrupted while waiting for 3600.0 s" in rest
    assert "isolation" in rest
    (run,) = json.loads((tmp_path / "results.json").read_bytes())["runs"]
    assert run["state"] == "interrupted"
    assert [step["state"] for step in run["steps"]] == ["passed", "passed", "interrupted", "pending"]
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()[0]
    assert (suite.get("errors"), suite.get("skipped")) == ("1", "1")


def test_exit_codes_of_several_runs() -> None:
    def of(*states: State) -> int:
        return exit_code(
            [
                RunRecord(file="", name="", about="", fabric="", seed=0, deadline=1, repeat="", state=state)
                for state in states
            ]
        )

    assert of(State.PASSED, State.PASSED) == 0
    assert of(State.PASSED, State.FAILED) == 1
    assert of(State.FAILED, State.ERROR) == 4
    assert of(State.PASSED, State.INTERRUPTED) == 130
