"""Real programs as anybody runs them: the lessons with them, and the recipes of docs/programs.md, on real kernels."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scenarios import world
from scenarios.runner import check
from tests.scenarios.trace.runs import LIBRARY, WITH_PROGRAMS

ROOT = Path(__file__).parents[2]
PAGES = [(ROOT / "docs" / page).read_text() for page in ("programs.md", "scenarios.md")]
RECIPES = [
    block
    for page in PAGES
    for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    if block.startswith("version:") and "exec" in block
]

NOT_HERE = 3
"""The exit code of a run for which this machine lacks something; what, is on its standard error."""

LIMIT = 150
"""Seconds, more than the longest deadline of a file."""


def name_of(recipe: str) -> str:
    found = re.search("^name: (.*)$", recipe, re.MULTILINE)
    assert found is not None
    return found[1]


def passed(file: Path, reports: Path) -> dict[str, Any]:
    """The record of a run; skipped where it cannot be."""
    done = subprocess.run(
        [sys.executable, "-m", "scenarios", "run", str(file), "--fabric", "netns", "--out", str(reports)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    if done.returncode == NOT_HERE:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stdout + done.stderr
    (record,) = json.loads((reports / "results.json").read_text())["runs"]
    assert record["state"] == "passed"
    return dict(record)


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_a_recipe_is_a_good_scenario_for_the_fabric_with_machines(recipe: str) -> None:
    (script,) = check(recipe, "programs.md")
    assert script.scenario.fabrics == ("netns",)


@pytest.mark.interop
@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_a_recipe_passes(recipe: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe)
    passed(file, tmp_path / "reports")


@pytest.mark.interop
@pytest.mark.parametrize("name", WITH_PROGRAMS)
def test_a_lesson_with_real_programs_passes(name: str, tmp_path: Path) -> None:
    file = LIBRARY / f"{name}.yaml"
    record = passed(file, tmp_path)
    assert record["programs"]
    (script,) = check(file)
    members = world.build(script).members.values()
    secrets = {password for member in members for password in member.passwords.values()}
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in written)
    for path in written:
        assert not any(secret in path.read_text(errors="replace") for secret in secrets), path
