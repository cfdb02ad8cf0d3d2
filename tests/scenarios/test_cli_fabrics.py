"""``poplab run FILE --fabric sim,loopback``: one run on each, and what they do not agree in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from edge.errors import FabricUnavailable
from scenarios.batch import selection
from scenarios.cli import exit_code, poplab
from scenarios.fabric import Loopback, Sim
from scenarios.report import ComparisonRecord, State
from tests.scenarios.test_cli import SMALL

REAL = (
    SMALL
    + """\
expect:
  - '"127.0.0.1" in tunnels.alice.endpoint'
"""
)
"""True where sockets are real."""

BOTH = ("--fabric", "sim,loopback")


def run(folder: Path, text: str = SMALL, *arguments: object, name: str = "small.yaml") -> Result:
    file = folder / name
    file.write_text(text)
    return CliRunner().invoke(poplab, ["run", str(file), *map(str, arguments)])


def test_fabrics_that_agree_say_in_how_much(tmp_path: Path) -> None:
    result = run(tmp_path, SMALL, *BOTH, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "PASS small on sim in" in result.output
    assert "PASS small on loopback in" in result.output
    (comparison,) = json.loads((tmp_path / "out/results.json").read_bytes())["comparisons"]
    assert (comparison["state"], comparison["differing"]) == ("passed", 0)
    assert comparison["facts"] > 50
    assert f"SAME small: sim and loopback agree in {comparison['facts']} facts" in result.output
    assert result.output.rstrip().endswith("; 0 differences")
    assert comparison["repeat"] == f"poplab run {tmp_path / 'small.yaml'} --seed 7 --fabric sim,loopback"


def test_a_difference_is_a_failure_in_every_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary, out = tmp_path / "summary.md", tmp_path / "out"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    result = run(tmp_path, REAL, *BOTH, "--out", out)
    assert result.exit_code == 1
    assert "DIFFER small: sim and loopback: 2 differences in" in result.output
    assert "expect.1: sim false, loopback true; must be equal" in result.output
    assert f"again: poplab run {tmp_path / 'small.yaml'} --seed 7 --fabric sim,loopback" in result.output

    results = json.loads((out / "results.json").read_bytes())
    assert [(each["fabric"], each["state"]) for each in results["runs"]] == [
        ("sim", "failed"),
        ("loopback", "passed"),
    ]
    counting = [each for each in results["comparisons"][0]["differences"] if each["counts"]]
    assert [(each["name"], each["left"], each["right"]) for each in counting] == [
        ("run.state", '"failed"', '"passed"'),
        ("expect.1", "false", "true"),
    ]
    suites = ElementTree.parse(out / "junit.xml").getroot()
    assert [suite.get("name") for suite in suites] == ["small on sim", "small on loopback", "comparisons"]
    (case,) = suites[2]
    assert case.get("name") == "small on sim and loopback"
    failure = case.find("failure")
    assert failure is not None and "2 differences" in failure.get("message", "")
    assert "expect.1: sim false" in (failure.text or "")
    for folder in ("small-on-sim", "small-on-loopback"):
        last = json.loads((out / folder / "events.jsonl").read_text().splitlines()[-1])
        assert (last["event"], last["state"], last["differing"]) == ("compared", "failed", 2)
        assert "2 differences" in (out / folder / "report.html").read_text()
    index = (out / "report.html").read_text()
    assert "NOT PASSED" in index and "expect.1" in index
    assert "| compared | result |" in summary.read_text()


def test_only_a_difference_makes_the_exit_code_1(tmp_path: Path) -> None:
    """Every run has passed; the file allows no time at all."""
    strict = SMALL + "differences: {tolerance: {time: 0s, ratio: 0%}}\n"
    result = run(tmp_path, strict, *BOTH)
    assert result.exit_code == 1, result.output
    assert "2 of 2 passed" in result.output
    assert "steps.2.rtt_avg: sim 0 s, loopback" in result.output
    assert f"[the ping] at {tmp_path / 'small.yaml'}:12" in result.output


def test_what_the_file_ignores_does_not_count(tmp_path: Path) -> None:
    lenient = REAL + "differences: {ignore: [run.state, expect]}\n"
    result = run(tmp_path, lenient, *BOTH)
    assert "SAME small" in result.output
    assert "2 ignored by the file" in result.output
    assert result.exit_code == 1, "the run on sim has failed all the same"


def test_a_file_that_cannot_run_on_one_of_them_is_not_compared(tmp_path: Path) -> None:
    only = SMALL.replace("deadline: 20s", "fabric: sim").replace("name: small", "name: only")
    result = run(tmp_path, only, *BOTH, "--out", tmp_path / "out")
    reason = "loopback: the file runs on sim, not on loopback"
    assert f"SKIPPED only: sim and loopback were not compared: {reason}" in result.output
    assert result.exit_code == 2, "nothing was compared"
    (case,) = ElementTree.parse(tmp_path / "out/junit.xml").getroot()[2]
    assert case.find("skipped") is not None

    (tmp_path / "more").mkdir()
    (tmp_path / "more/a.yaml").write_text(only)
    (tmp_path / "more/b.yaml").write_text(SMALL)
    both = CliRunner().invoke(poplab, ["run", str(tmp_path / "more"), *BOTH])
    assert "SKIPPED only" in both.output and "SAME small" in both.output
    assert both.exit_code == 0


def test_a_fabric_that_is_not_available_here_exits_with_3(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Absent(Loopback):
        def execute(self, main: Any, *, seed: int) -> NoReturn:
            raise FabricUnavailable("there is no such thing here")

    monkeypatch.setattr(selection, "named", {"sim": Sim(), "loopback": Absent()}.__getitem__)
    result = run(tmp_path, SMALL, *BOTH)
    assert result.exit_code == 3
    text = "NOT AVAILABLE small: sim and loopback were not compared: loopback: there is no such thing here"
    assert text in result.output


def test_each_cell_of_a_matrix_is_compared_with_itself(tmp_path: Path) -> None:
    matrix = SMALL.replace("deadline: 20s", "matrix: {n: [3, 4]}")
    matrix = matrix.replace("bob, interval", "bob, count: '${matrix.n}', interval")
    result = run(tmp_path, matrix.replace("received == 3", "received == sent"), *BOTH, "--json")
    assert result.exit_code == 0, result.output
    results = json.loads(result.stdout)
    assert [(each["cell"], each["state"]) for each in results["comparisons"]] == [
        ({"n": 3}, "passed"),
        ({"n": 4}, "passed"),
    ]
    assert [(each["cell"]["n"], each["fabric"]) for each in results["runs"]] == [
        (3, "sim"), (3, "loopback"), (4, "sim"), (4, "loopback"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fabric", "sim,lopback"], "there is no fabric 'lopback'\n    fix: did you mean 'loopback'?"),
        (["--fabric", "simm"], "there is no fabric 'simm'\n    fix: did you mean 'sim'?"),
        (["--fabric", "sim,"], "there is no fabric ''"),
        (["--fabric", "sim,loopback,sim"], "sim stands there twice"),
        (["--fabric", "sim,loopback", "--check-determinism"], "--check-determinism needs the sim fabric"),
    ],
)
def test_wrong_words_for_fabrics(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = run(tmp_path, SMALL, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "PASS" not in result.output


def test_exit_codes_of_comparisons() -> None:
    def of(*states: State) -> int:
        return exit_code(
            [], [ComparisonRecord(file="", name="", fabrics=[], seed=0, repeat="", state=s) for s in states]
        )

    assert of(State.PASSED) == 0
    assert of(State.PASSED, State.FAILED) == 1
    assert of(State.PASSED, State.SKIPPED) == 0
    assert of(State.SKIPPED) == 2
