"""The same small worlds in virtual time and in real kernels: what the first says is so in the second.

Each file in ``same`` looks at one thing that kernels do and the simulation claims to do alike.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.interop.namespaces import missing

SAME = Path(__file__).parent / "same"
WITHIN = 120
"""Seconds that a busy machine gets for what takes five."""

LARGE = "x" * 200_000
TIMES = "differences: {tolerance: {time: 60s}}\n"
"""It is the network that is compared here, and not the machine."""


def run(folder: Path, name: str, fabrics: str) -> str:
    file = folder / f"{name}.yaml"
    file.write_text((SAME / file.name).read_text().replace("LARGE", LARGE) + TIMES)
    command = [sys.executable, "-m", "scenarios", "run", str(file), "--fabric", fabrics]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WITHIN, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(missing() != "", reason=missing())
@pytest.mark.parametrize("name", ["closed", "hops", "lossy-tcp", "nats", "pool6", "sizes", "twins", "ways"])
def test_both_fabrics_say_the_same(tmp_path: Path, name: str) -> None:
    said = run(tmp_path, name, "sim,netns")
    assert f"SAME {name}: sim and netns agree in" in said
    assert said.rstrip().endswith("; 0 differences")


@pytest.mark.skipif(missing("curl") != "", reason=missing("curl"))
def test_tcp_of_ours_and_of_kernels_get_along_where_packets_are_lost(tmp_path: Path) -> None:
    assert "PASS lossy-programs in" in run(tmp_path, "lossy-programs", "netns")
