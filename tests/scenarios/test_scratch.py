"""Folders for a while, and those that a killed process has left."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from scenarios.cli import poplab
from scenarios.scratch import PREFIX, Scratch, sweep

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_there_until_it_is_closed(there: Path) -> None:
    before = os.listdir("/proc/self/fd")
    scratch = Scratch("hq-pbx")
    assert scratch.folder.parent == there.resolve() and scratch.folder.name.startswith(f"{PREFIX}hq-pbx-")
    assert scratch.folder.stat().st_mode & 0o777 == 0o700
    (scratch.folder / "deep").mkdir()
    (scratch.folder / "deep" / "file").write_text("x")
    sweep()
    assert (scratch.folder / "deep" / "file").exists()
    scratch.close()
    scratch.close()
    assert os.listdir(there) == []
    assert os.listdir("/proc/self/fd") == before


def test_a_link_that_a_program_has_put_in_its_place_goes_and_what_it_leads_to_stays(there: Path) -> None:
    mine = there / "mine"
    mine.mkdir()
    scratch = Scratch("x")
    scratch.folder.rmdir()
    scratch.folder.symlink_to(mine)
    scratch.close()
    assert os.listdir(there) == ["mine"]


def test_what_a_killed_process_has_left_goes_with_the_next_start(there: Path) -> None:
    code = (
        "import sys, os, pathlib, signal; sys.path.insert(0, sys.argv[1])\n"
        "from scenarios.scratch import Scratch\n"
        "(Scratch('x').folder / 'file').write_text('x')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(ROOT)], env={**os.environ, "TMPDIR": str(there)}, check=False
    )
    assert len(os.listdir(there)) == 1
    sweep()
    assert os.listdir(there) == []


def test_a_child_that_is_somebody_elses_program_does_not_keep_it(there: Path) -> None:
    scratch = Scratch("x")
    child = subprocess.Popen(["sleep", "60"], close_fds=False)
    scratch.close()
    left = there / f"{PREFIX}y"
    left.mkdir()
    sweep()
    child.kill()
    child.wait()
    assert os.listdir(there) == []


def test_other_things_are_left_alone(there: Path) -> None:
    target = there / "mine"
    target.mkdir()
    (there / f"{PREFIX}link").symlink_to(target)
    (there / f"{PREFIX}file").write_text("x")
    (there / "poplab-results").mkdir()
    sweep()
    assert sorted(os.listdir(there)) == sorted([f"{PREFIX}link", f"{PREFIX}file", "mine", "poplab-results"])


def test_folders_of_other_users_are_left_alone(there: Path) -> None:
    if os.geteuid():
        pytest.skip("only root can make one")
    theirs = there / f"{PREFIX}theirs"
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    sweep()
    assert theirs.exists()


def test_a_folder_is_never_swept_while_it_is_being_made(there: Path) -> None:
    stop = threading.Event()

    def sweep_on() -> None:
        while not stop.is_set():
            sweep()

    sweepers = [threading.Thread(target=sweep_on) for _ in range(3)]
    for sweeper in sweepers:
        sweeper.start()
    try:
        made = [Scratch("x") for _ in range(200)]
        assert all(each.folder.is_dir() for each in made)
    finally:
        stop.set()
        for sweeper in sweepers:
            sweeper.join()
    for each in made:
        each.close()


def test_where_there_is_no_temporary_folder_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    sweep()


def test_the_doctor_sweeps_too(there: Path) -> None:
    (there / f"{PREFIX}left-by-the-dead").mkdir()
    assert CliRunner().invoke(poplab, ["doctor", "python-version"]).exit_code == 0
    assert os.listdir(there) == []
