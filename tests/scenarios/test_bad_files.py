"""Every file in bad/ is wrong; beside it stands what is said of it: all mistakes, once, with places and fixes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.document import MAX_BYTES
from edge.errors import ConfigError
from scenarios.runner import check

BAD = Path(__file__).parent / "bad"
FILES = sorted(BAD.glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_what_is_said_of_a_bad_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(BAD)
    with pytest.raises(ConfigError) as caught:
        check(Path(file.name))
    assert str(caught.value) + "\n" == file.with_suffix(".expected").read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_mistake_has_a_place_and_a_fix_and_is_there_once(file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        check(file)
    problems = caught.value.problems
    assert len(set(problems)) == len(problems)
    assert all(problem.line and problem.column for problem in problems)
    wording = " ".join(problem.message for problem in problems)
    assert not any(word in wording for word in ("Expected `", "regex", "Object ", "NoneType", "dict", "$."))
    without = [problem.message for problem in problems if not problem.fix]
    assert without == []


def test_nothing_that_is_expected_has_lost_its_file() -> None:
    assert {file.stem for file in BAD.glob("*.expected")} == {file.stem for file in FILES}
    assert len(FILES) >= 40


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_text("#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigError, match="larger than 4 MiB"):
        check(file)


def test_includes_within_includes_have_an_end(tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.yaml").write_text(f"include: {number + 1}.yaml\n")
    with pytest.raises(ConfigError, match="more than 8 files in one another"):
        check(tmp_path / "0.yaml")
    (tmp_path / "many.yaml").write_text("include: [" + "leaf.yaml, " * 40 + "]\n")
    (tmp_path / "leaf.yaml").write_text("vnets: {}\n")
    with pytest.raises(ConfigError, match="or 32 in all"):
        check(tmp_path / "many.yaml")


def test_text_cannot_include_files() -> None:
    with pytest.raises(ConfigError, match="text that is not in a file cannot include files"):
        check("include: a.yaml\n")


def test_values_of_the_matrix_inside_text_are_written_as_they_were() -> None:
    text = """\
version: 1
name: text
matrix: {n: [0, 1, 2.5, true, null, "no"]}
vnets: {acme: {}}
topology: {clients: {alice: {vnet: acme}}}
steps: [{name: "the ${matrix.n} and more", wait: {tunnels: up}}]
"""
    names = [script.scenario.steps[0].name.split()[1] for script in check(text)]
    assert names == ["0", "1", "2.5", "true", "null", "no"]
