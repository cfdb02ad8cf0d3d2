"""A project that is not ours, with poplab installed: its tests, its scenario files, and YAML that is not for us."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

PROJECT = Path(__file__).parent / "foreign_project"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(PROJECT, tmp_path_factory.mktemp("foreign") / "project"))


def run(project: Path, *arguments: str) -> tuple[int, str]:
    """Its pytest, as its own CI would start it."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.returncode, done.stdout + done.stderr


def test_its_own_tests_use_the_fixtures_and_nothing_else_is_collected(project: Path) -> None:
    code, output = run(project, "-q")
    assert code == 0, output
    assert "4 passed" in output


def test_scenario_files_are_tests(project: Path) -> None:
    code, output = run(
        project, "scenarios", "deploy", "-v", "--junitxml=junit.xml", "--continue-on-collection-errors"
    )
    assert code == 1, output
    assert "3 passed" in output and "1 failed" in output and "1 error" in output
    for cell in ("line=wan,size=64", "line=wan,size=1000", "line=lte,size=64"):
        assert f"scenarios/branch.yaml::branch[{cell}] PASSED" in output
    # A failure in the words of the command, and how to see it again.
    assert "rtt_max < 100ms is false: rtt_max = " in output
    assert "again: poplab run scenarios/too-strict.yaml --seed 5" in output
    assert "Traceback" not in output
    # A bad file.
    assert "scenarios/misspelt.yaml:6:18: there is no 'alcie'" in output
    assert "fix: did you mean 'alice'?" in output
    root = ElementTree.parse(project / "junit.xml").getroot()
    properties = {p.get("name"): p.get("value") for p in root.iter("property")}
    assert properties["repeat"] == "poplab run scenarios/too-strict.yaml --seed 5"
    messages = [failure.get("message", "") for failure in root.iter("failure")]
    assert [message.startswith("step fast: rtt_max < 100ms is false") for message in messages] == [True]


def test_what_repeats_a_failure_repeats_it(project: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "poplab", "run", "scenarios/too-strict.yaml", "--seed", "5"],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "rtt_max < 100ms is false: rtt_max = " in done.stdout


def test_options_choose_fabric_seed_and_cells(project: Path) -> None:
    files = ("scenarios/branch.yaml", "scenarios/too-strict.yaml")
    options = ("-k", "lte or strict", "--poplab-fabric=loopback", "--poplab-seed=9", "--junitxml=options.xml")
    code, output = run(project, *files, "-q", "-rs", *options)
    assert code == 0, output
    assert "1 passed, 1 skipped, 2 deselected" in output
    assert "runs on sim, not on loopback" in output
    root = ElementTree.parse(project / "options.xml").getroot()
    properties = {p.get("name"): p.get("value") for p in root.iter("property")}
    repeat = "poplab run scenarios/branch.yaml --set line=lte --set size=64 --seed 9 --fabric loopback"
    assert properties == {"seed": "9", "fabric": "loopback", "repeat": repeat}


def test_a_project_may_name_its_scenario_files(project: Path) -> None:
    globs = "poplab_scenarios=scenarios/branch.yaml deploy/*.yaml"
    code, output = run(project, "--collect-only", "-q", "-o", globs.replace(" ", "\n"), ".")
    assert "branch[line=wan,size=64]" in output
    assert "too-strict" not in output
    assert "deploy/compose.yaml" in output and code == 2, "named, but no scenario"


def test_yaml_of_others_is_left_alone(project: Path) -> None:
    (project / "deploy" / "binary.yaml").write_bytes(b"\xff\xfe\x00version: 1\ntopology:\n")
    (project / "deploy" / "broken.yaml").write_text("version: 1\n{{ template }}\n")
    code, output = run(project, "deploy")
    assert (code, "no tests ran" in output) == (5, True), output
