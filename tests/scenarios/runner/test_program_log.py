"""What programs wrote, in files beside the reports; and what a fabric without machines says of programs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from scenarios.lab import StepFailed, open_world
from scenarios.report import State, findings
from scenarios.runner import check, run
from scenarios.runner.program_log import MOST, ProgramLog
from tests.scenarios.runner.machines import MISSING, Here, Machines

TEXT = """\
version: 1
name: logs
vnets: {acme: {}}
topology: {clients: {alice: {vnet: acme}}}
steps:
"""


def test_a_log_has_an_end_and_says_what_it_lacks(tmp_path: Path) -> None:
    log = ProgramLog(tmp_path, "hq/web.site")
    log.write(bytes(MOST - 1))
    log.write(b"two")
    log.write(b"more")
    log.close()
    log.write(b"late")
    assert (tmp_path / "hq-web.site.log").stat().st_size == MOST - 1
    assert log.complaint == "the log of hq/web.site is not complete: it has 64 MiB; 7 bytes are left out"


def test_two_logs_that_would_have_one_name_have_two(tmp_path: Path) -> None:
    files = {ProgramLog(tmp_path, "hq-web.site").file}
    assert ProgramLog(tmp_path, "hq/web.site", taken=files).file == "hq-web.site-2.log"


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_many_steps_have_not_many_open_files(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    most = 0

    class Counting(Here):
        def start(self, *argv: Any, **files: Any) -> Any:
            nonlocal most
            most = max(most, len(os.listdir("/proc/self/fd")))
            return super().start(*argv, **files)

    machines = Machines()
    machines.here = Counting()
    (script,) = check(TEXT + "  - {exec.run: {on: alice, run: [date]}}\n" * 30, "logs.yaml")
    record = machines.execute(lambda: run(script, machines, folder=tmp_path), seed=7)
    assert record.state is State.PASSED, findings(record)
    assert len(list((tmp_path / "programs").iterdir())) == 30
    assert most - before < 30


async def test_where_no_host_is_a_machine_a_step_says_so() -> None:
    async with open_world(TEXT + "  - wait: {tunnels: up}\n", fabric="loopback") as world:
        with pytest.raises(StepFailed, match="alice is no real machine on this fabric"):
            await world.step({"exec.run": {"on": "alice", "run": ["date"]}})
