"""Whatever ends a run, and whenever: no process, no change of the network, no file is left."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scenarios.fabric.netns.killing import ROOT
from tests.scenarios.fabric.netns.needs import needs

pytestmark = [
    needs("netns", "user-namespace", "unshare", "ip"),
    pytest.mark.skipif(not shutil.which("unshare"), reason="needs unshare"),
]

ALONE = [
    "unshare",
    "--user",
    "--map-root-user",
    "--net",
    "--pid",
    "--mount",
    "--fork",
    "--mount-proc",
    "--kill-child",
]


def test_nothing_is_left_of_runs_that_are_killed_at_any_moment(tmp_path: Path) -> None:
    done = subprocess.run(
        [*ALONE, sys.executable, "-m", "tests.scenarios.fabric.netns.killing", str(tmp_path), "7"],
        capture_output=True, text=True, timeout=600, check=False, cwd=ROOT,
    )  # fmt: skip
    assert not done.returncode, done.stderr
    found = json.loads(done.stdout)
    assert found["complaints"] == []
    assert found["processes"] == []
    assert found["changed"] == []
    assert found["last"] == 0 and found["left"] == []
    assert found["came_to_work"] > 10, "most were killed before there was anything to leave"
