"""The same file, seed and version: the same events, in another process too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from scenarios.cli import poplab
from scenarios.determinism import NotDeterministic, compare
from tests.scenarios.trace.runs import LIBRARY, ON_REAL_MACHINES, SMALL, record

SLOW = pytest.mark.skipif(not os.environ.get("POPLAB_SLOW"), reason="takes minutes: POPLAB_SLOW=1 runs it")
LONG = ("11-lossy-uplink", "12-thousand-softphones", "13-day-in-the-life", "23-load-on-loopback")
"""Tens of thousands of events and more."""


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(file, marks=[SLOW] if file.stem in LONG else [], id=file.stem)
        for file in sorted(LIBRARY.glob("*.yaml"))
        if file.stem not in ON_REAL_MACHINES
    ],
)
def test_every_scenario_of_the_library_is_the_same_run_twice(file: Path) -> None:
    result = CliRunner().invoke(poplab, ["run", str(file), "--check-determinism"])
    assert result.exit_code == 0, result.output
    assert "deterministic: " in result.output.splitlines()[-1]


@pytest.mark.parametrize("name", ["01-softphone-call", "05-cicd-pipeline"])
def test_so_is_one_with_other_tunnels(name: str) -> None:
    arguments = ["run", str(LIBRARY / f"{name}.yaml"), "--set", "tunnel=masque", "--check-determinism"]
    result = CliRunner().invoke(poplab, arguments)
    assert result.exit_code == 0, result.output
    assert "deterministic: " in result.output.splitlines()[-1]


def test_a_difference_exits_with_5_and_is_shown_with_the_command_that_repeats_it(tmp_path: Path) -> None:
    for name, seed in (("one", 7), ("two", 8)):
        record(SMALL, tmp_path / name, seed=seed)
    with pytest.raises(NotDeterministic, match=r"(?s)event \d+ differs in .*again: poplab run x") as caught:
        compare(tmp_path / "one/trace.msgpack", tmp_path / "two/trace.msgpack", "poplab run x")
    assert caught.value.exit_code == 5


def test_real_time_cannot_be_checked(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    result = CliRunner().invoke(
        poplab, ["run", str(tmp_path / "small.yaml"), "--check-determinism", "--fabric", "loopback"]
    )
    assert result.exit_code == 2
    assert "never the same twice" in result.output
