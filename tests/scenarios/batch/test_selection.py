"""What the words of a command line mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import ConfigError, Refused
from scenarios.batch import jobs, select

TEXT = """\
version: 1
name: NAME
fabric: sim
matrix: {codec: [G.711, G.729], fast: [true, false]}
vnets: {acme: {}}
topology: {clients: {alice: {vnet: acme}}}
steps: [{wait: {tunnels: up}}]
"""


def write(file: Path, text: str = TEXT) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.replace("NAME", file.stem))
    return file


def test_a_folder_is_every_scenario_below_it_but_parts_and_hidden_ones(tmp_path: Path) -> None:
    plain = TEXT.replace("matrix: {codec: [G.711, G.729], fast: [true, false]}\n", "")
    write(tmp_path / "b.yaml", plain)
    write(tmp_path / "deep/a.yaml", plain.replace("fabric: sim", "include: parts/phones.yaml"))
    write(tmp_path / "deep/parts/phones.yaml", "topology: {clients: {bob: {vnet: acme}}}\n")
    write(tmp_path / ".old/c.yaml", plain)
    (tmp_path / "notes.txt").write_text("no scenario")
    assert [script.scenario.name for script in select([tmp_path])] == ["b", "a"]
    assert len(select([tmp_path, tmp_path / "b.yaml"])) == 2  # once, however often it is named
    (tmp_path / "empty").mkdir()
    with pytest.raises(Refused, match="no scenario"):
        select([tmp_path / "empty"])


def test_the_mistakes_of_all_files_are_said_at_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / f"{name}.yaml", TEXT.replace("vnet: acme", "vnet: acne"))
    with pytest.raises(ConfigError) as caught:
        select([tmp_path])
    assert {Path(problem.file).name for problem in caught.value.problems} == {"a.yaml", "b.yaml"}


def test_set_picks_cells_of_the_matrix(tmp_path: Path) -> None:
    file = write(tmp_path / "a.yaml")
    assert len(select([file])) == 4
    chosen = select([file], {"fast": "true"})
    assert [dict(script.cell) for script in chosen] == [
        {"codec": "G.711", "fast": True},
        {"codec": "G.729", "fast": True},
    ]
    with pytest.raises(
        Refused, match=r"never 'G.722'\n    fix: codec is one of G.711, G.729; fast is one of true, false"
    ):
        select([file], {"codec": "G.722"})
    with pytest.raises(Refused, match="no matrix has an axis 'codek'\n    fix: did you mean 'codec'"):
        select([file], {"codek": "G.711"})


def test_what_repeats_a_run_names_its_cell_seed_and_fabric(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a b.yaml", TEXT.replace("NAME", "ab").replace("fabric: sim", "fabric: [sim, loopback]")
    )
    job = jobs(select([file], {"codec": "G.729", "fast": "false"}), fabric="loopback", seed=3)[0]
    assert job.repeat == f"poplab run '{file}' --set codec=G.729 --set fast=false --seed 3 --fabric loopback"


def test_a_fabric_that_the_file_does_not_list_is_a_reason_to_skip_it(tmp_path: Path) -> None:
    job = jobs(select([write(tmp_path / "a.yaml")]), fabric="loopback", seed=None)[0]
    assert (job.fabric, job.reason) == (None, "the file runs on sim, not on loopback")
