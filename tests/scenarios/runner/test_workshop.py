"""Where programs work: nothing is written anywhere else, and nothing of ours is in their environment."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from scenarios.checks import ExpressionError
from scenarios.runner.placeholders import filled, inside
from scenarios.runner.workshop import Workshop, plain_name
from scenarios.schema.programs import File


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    made = Workshop("hq/web", str(tmp_path / "a.yaml"))
    yield made
    made.close()
    assert not made.folder.exists()


def test_files_have_their_text_and_only_their_owner_reads_them(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "uac.xml").write_bytes(b"\xff${x}")
    files = {
        "index.html": "hello ${seed}",
        "bin/run.sh": File(text="#!/bin/sh\n", executable=True),
        "uac.xml": File(source="uac.xml"),
    }
    workshop.put(files, {"seed": 7})
    workshop.put({"index.html": "hello again ${seed}"}, {"seed": 7})
    assert (workshop.folder / "index.html").read_text() == "hello again 7"
    assert (workshop.folder / "uac.xml").read_bytes() == b"\xff${x}"
    modes = {name: stat.S_IMODE((workshop.folder / name).stat().st_mode) for name in files}
    assert modes == {"index.html": 0o600, "bin/run.sh": 0o700, "uac.xml": 0o600}
    assert stat.S_IMODE(workshop.folder.stat().st_mode) == 0o700


def test_no_file_leaves_the_folder_whatever_a_program_has_made_of_it(
    workshop: Workshop, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (workshop.folder / "link").symlink_to(outside)
    (workshop.folder / "kept").symlink_to(outside / "kept")
    for name in ("link/new", "../new", f"{outside}/new", "a/../../new"):
        with pytest.raises(OSError):
            workshop.put({name: "x"}, {})
    workshop.put({"kept": "mine"}, {})  # the link is replaced, not followed
    assert [file.name for file in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "kept"


def test_what_is_no_file_is_not_copied(workshop: Workshop, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for source in ("fifo", ".", "/dev/zero"):
        with pytest.raises(OSError, match="directory|no regular file"):
            workshop.put({"copy": File(source=source)}, {})


def test_the_environment_is_small(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    monkeypatch.setenv("PATH", "/opt/bin::relative:/usr/bin")
    environment = workshop.environment({"LANG": "de_DE", "X": "1"}, {"MARK": "m"})
    assert set(environment) == {"PATH", "HOME", "TMPDIR", "LANG", "X", "MARK"}
    assert environment["HOME"] == str(workshop.folder) and environment["LANG"] == "de_DE"
    path = environment["PATH"].split(":")
    assert path[:2] == ["/opt/bin", "/usr/bin"] and "/usr/sbin" in path and "relative" not in path


def test_a_name_becomes_a_part_of_a_file_name() -> None:
    assert [plain_name(name) for name in ("hq/web", "..", "a b$(c)", "x" * 300)] == [
        "hq-web",
        "host",
        "a-b-c",
        "x" * 120,
    ]


def test_placeholders_are_worked_out_and_an_escaped_one_is_text() -> None:
    names = {"a": 5, "b": 0.25, "c": "x", "d": True, "e": None, "f": [1]}
    assert filled("${a} ${b} ${c} ${d} ${a + 1}", names) == "5 0.25 x true 6"
    assert filled("$${HOME} $HOME $${a}", names) == "${HOME} $HOME ${a}"
    assert list(inside("${a} $${b} ${c + 1}")) == ["a", "c + 1"]
    for text in ("${e}", "${f}", "${g}", "${1 +}"):
        with pytest.raises(ExpressionError):
            filled(text, names)


def test_a_text_with_its_values_has_a_limit() -> None:
    with pytest.raises(ExpressionError, match="1 MiB"):
        filled("${a}${a}", {"a": "x" * 600_000})
