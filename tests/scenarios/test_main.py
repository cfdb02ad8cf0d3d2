"""The console script: a signal at any time of the start, words for help."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SLOW_MODULE = "import sys, time\nprint('importing', flush=True)\ntime.sleep(60)\n"


@pytest.mark.parametrize(
    ("module", "number"),
    [
        ("structlog", signal.SIGINT),  # what the command itself imports
        ("structlog", signal.SIGTERM),
        ("h11", signal.SIGINT),  # what only those import who serve
        ("h11", signal.SIGTERM),
    ],
)
def test_a_signal_during_the_imports_is_a_quiet_end(
    tmp_path: Path, module: str, number: signal.Signals
) -> None:
    (tmp_path / f"{module}.py").write_text(SLOW_MODULE)
    command = [sys.executable, "-c", "from scenarios.__main__ import main; main()", "edge"]
    with subprocess.Popen(
        command,
        cwd=tmp_path,  # where Python looks first
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(number)
        assert process.stderr.read() == ""
    assert process.returncode in (-number, 128 + number)


@pytest.mark.parametrize("arguments", [["-h"], ["run", "-h"], ["edge", "-h"], ["edge", "reload", "-h"]])
def test_help_has_a_short_name(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "scenarios", *arguments]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("Usage: poplab ")


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        ("KeyboardInterrupt()", 130, False),
        ("BaseExceptionGroup('', [KeyboardInterrupt(), ValueError()])", 130, False),
        ("ExceptionGroup('', [ValueError()])", 4, True),
        ("ValueError()", 4, True),
        ("SystemExit(3)", 3, False),
    ],
)
def test_the_exit_code_says_who_ended_it(raised: str, code: int, said: bool) -> None:
    program = f"""
from scenarios import cli
def fail(**_): raise {raised}
cli.poplab = fail
cli.main()
"""
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == code, ran.stderr
    assert ("a defect of poplab" in ran.stderr) is said
    assert ("Traceback" in ran.stderr) is said
