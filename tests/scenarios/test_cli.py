"""The command: exit codes, files, output for machines."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from scenarios import batch
from scenarios.cli import exit_code, main, poplab
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
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("outputs", "note"),
    [
        ("captures: {at: edge}", "note: captures are written with --out DIR\n"),
        ("report: [junit], captures: {}", "note: captures and reports are written with --out DIR\n"),
        ("captures: null", ""),
    ],
)
def test_a_file_that_wants_files_is_told_where_they_would_be(outputs: str, note: str, tmp_path: Path) -> None:
    file, other = (write(tmp_path, f"{SMALL}outputs: {{{outputs}}}\n", name) for name in ("a.yaml", "b.yaml"))
    result = invoke("run", file, other, "--json")
    assert (result.exit_code, len(json.loads(result.stdout)["runs"])) == (0, 2)
    assert result.stderr.endswith(note) and result.stderr.count("note:") == bool(note)
    assert "note:" not in invoke("run", file, "--out", tmp_path / "out").output


WHAT_READS = [
    *(["run"], ["check"], ["up"], ["paths"], ["fuzz"], ["connector"], ["client"]),
    ["edge", "--config"],
    ["trace"],
]


@pytest.mark.parametrize("command", WHAT_READS, ids=lambda words: words[0])
def test_a_file_that_cannot_be_read_is_refused_in_the_same_words_everywhere(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, "[")  # so that nothing begins
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # root may read everything
    assert "Usage" not in invoke(*command, file).output
    missing = invoke(*command, tmp_path / "none.yaml")
    assert missing.exit_code == 2
    assert missing.output.startswith(f"{tmp_path / 'none.yaml'}: No such file")


@pytest.mark.parametrize("command", ["up", "paths"])
def test_one_file_is_no_folder(command: str, tmp_path: Path) -> None:
    assert "this is a folder\n    fix: name a file in it\n" in invoke(command, tmp_path).output


def test_a_good_run_passes_and_leaves_its_reports(tmp_path: Path) -> None:
    file, out = write(tmp_path), tmp_path / "out"
    result = invoke("run", file, "--out", out, "--seed", 11)
    assert result.exit_code == 0, result.output
    assert "3 of 3 answered, round trip 0 s: the links have no delay\n" in result.output
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
    assert invoke("check", file).output == f"{file}: good: 2 hosts, 2 steps, 1 condition\n"
    matrix = write(tmp_path, f"matrix: {{n: [3, 4]}}\n{SMALL}", "matrix.yaml")
    lines = invoke("check", matrix).output.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [f"{matrix} [n=3]", f"{matrix} [n=4]"]
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


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from scenarios.cli import main; main()", *map(str, arguments)]
    return subprocess.Popen(command, text=True, cwd=Path(__file__).parents[2], **options)


def test_a_folder_runs_in_parallel_with_one_summary(tmp_path: Path) -> None:
    write(tmp_path / "all", name="b.yaml")
    matrix = SMALL.replace("deadline: 20s", "matrix: {n: [3, 4]}").replace("name: small", "name: counts")
    write(tmp_path / "all", matrix.replace("received == 3", "'received == ${matrix.n}'"), "a.yaml")
    out = tmp_path / "out"
    result = invoke("run", tmp_path / "all", "--out", out, "--jobs", 2)
    assert result.exit_code == 1, result.output
    assert "PASS counts [n=3] in" in result.output
    assert "received == 4 is false: received = 3" in result.output
    assert f"again: poplab run {tmp_path / 'all/a.yaml'} --set n=4 --seed 7" in result.output
    assert result.output.splitlines()[-1].startswith("2 of 3 passed, 1 failed in")
    runs = json.loads((out / "results.json").read_bytes())["runs"]
    assert [(run["name"], run["state"]) for run in runs] == [
        ("counts", "passed"),
        ("counts", "failed"),
        ("small", "passed"),
    ]
    assert [suite.get("name") for suite in ElementTree.parse(out / "junit.xml").getroot()] == [
        "counts [n=3]",
        "counts [n=4]",
        "small",
    ]
    assert {folder.name for folder in out.iterdir() if folder.is_dir()} == {
        "counts-n=3",
        "counts-n=4",
        "small",
    }
    assert invoke("run", tmp_path / "all/a.yaml", "--set", "n=3").exit_code == 0


def test_set_that_fits_no_matrix_is_wrong_usage(tmp_path: Path) -> None:
    result = invoke("run", write(tmp_path), "--set", "n=3")
    assert result.exit_code == 2
    assert "no matrix has an axis 'n'" in result.stderr
    assert invoke("run", write(tmp_path), "--set", "n").exit_code == 2


def test_a_fabric_that_no_file_lists_runs_nothing_and_says_so(tmp_path: Path) -> None:
    only_sim = write(tmp_path, SMALL.replace("deadline: 20s", "fabric: sim"), "sim.yaml")
    result = invoke("run", only_sim, "--fabric", "loopback", "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "small: the file runs on sim, not on loopback" in result.stderr
    (run,) = json.loads((tmp_path / "out/results.json").read_bytes())["runs"]
    assert run["state"] == "skipped"
    both = invoke("run", only_sim, write(tmp_path), "--fabric", "loopback")
    assert both.exit_code == 0
    assert "SKIPPED small: the file runs on sim, not on loopback" in both.output


def test_an_out_that_cannot_be_written_is_found_before_the_run(tmp_path: Path) -> None:
    result = invoke("run", write(tmp_path), "--out", tmp_path / "small.yaml/out")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("cannot write reports into")


def test_the_summary_of_a_ci_job_is_added_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    assert invoke("run", write(tmp_path)).exit_code == 0
    assert summary.read_text().startswith("before\n### poplab: 1 of 1 passed\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "no/such/folder"))
    result = invoke("run", write(tmp_path))
    assert result.exit_code == 0
    assert "cannot add to GITHUB_STEP_SUMMARY" in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_full_stdout_is_said_in_words(tmp_path: Path, more: list[str]) -> None:
    with (
        Path("/dev/full").open("w") as full,
        start("run", write(tmp_path), *more, stdout=full, stderr=subprocess.PIPE) as process,
    ):
        assert process.stderr is not None
        errors = process.stderr.read()
    assert process.returncode == 4
    assert errors.endswith("cannot write to stdout: No space left on device\n")
    assert "Traceback" not in errors


def test_a_closed_stdout_is_said_in_words(tmp_path: Path) -> None:
    with start("run", write(tmp_path), stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1)) as process:
        assert process.stderr is not None
        errors = process.stderr.read()
    assert (process.returncode, errors) == (4, "stdout is closed\n")


def test_ctrl_c_drains_every_process_and_still_writes_the_reports(tmp_path: Path) -> None:
    long = SMALL + "  - {name: long, wait: {for: 1h}}\n"
    one, two, late, more = (
        write(tmp_path, long.replace("small", name), f"{name}.yaml")
        for name in ("one", "two", "late", "more")
    )
    out = tmp_path / "out"
    files = [one, two, write(tmp_path), late, more]
    with start(
        "run", *files, "--fabric", "loopback", "--jobs", 3, "--out", out, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("PASS small"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stdout.read()
    assert process.returncode == 130
    assert rest.splitlines()[-1].startswith("1 of 5 passed, 4 interrupted in")
    runs = {run["name"]: run for run in json.loads((out / "results.json").read_bytes())["runs"]}
    assert {name: run["state"] for name, run in runs.items()} == {
        "one": "interrupted",
        "two": "interrupted",
        "small": "passed",
        "late": "interrupted",
        "more": "interrupted",
    }
    assert [step["state"] for step in runs["one"]["steps"]] == ["passed", "passed", "interrupted"]
    assert runs["more"]["error"] == "interrupted before it began"
    assert (out / "one/report.html").exists()


@pytest.mark.parametrize("several", [False, True])
def test_a_terminal_that_goes_away_ends_the_run_with_its_reports(several: bool, tmp_path: Path) -> None:
    long = SMALL[: SMALL.index("  - {name: the ping")] + "  - {name: long, wait: {for: 1h}}\n"
    names = ("one", "two") if several else ("small",)
    files = [write(tmp_path, long.replace("small", name), f"{name}.yaml") for name in names]
    out = tmp_path / "out"
    ours, theirs = pty.openpty()
    with start(
        *("run", *files, "--fabric", "loopback", "--jobs", 2, "--out", out),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as process:
        os.close(theirs)
        said = b""
        while not all(re.search(rf"{name}[^\n]*1/2".encode(), said) for name in names if several) or (
            b"waiting for 3600" not in said
        ):
            said += os.read(ours, 4096)
        os.close(ours)  # the kernel tells it; so does a shell
        process.send_signal(signal.SIGHUP)
    runs = json.loads((out / "results.json").read_bytes())["runs"]
    assert [run["state"] for run in runs] == ["interrupted"] * len(names), runs
    assert process.returncode == 130


def test_nohup_outlives_its_terminal(tmp_path: Path) -> None:
    file = write(tmp_path, SMALL + "  - {name: short, wait: {for: 300ms}}\n")
    with start(
        *("run", file, "--fabric", "loopback"),
        stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "the ping" in line:
                process.send_signal(signal.SIGHUP)
        process.stdout.read()
    assert process.returncode == 0


def test_a_second_ctrl_c_says_what_it_has_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object) -> RunRecord:
        raise BaseExceptionGroup("in tasks", [KeyboardInterrupt()])

    monkeypatch.setattr(batch, "attempt", pressed)
    monkeypatch.setattr(sys, "argv", ["poplab", "run", str(write(tmp_path))])
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 130
    assert stderr.getvalue() == "poplab: killed; no reports\n"


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
    assert of(State.PASSED, State.UNAVAILABLE) == 3
    assert of(State.PASSED, State.SKIPPED) == 0
    assert of(State.SKIPPED) == 2
