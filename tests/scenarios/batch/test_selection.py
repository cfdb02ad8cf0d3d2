"""What the words of a command line mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.lowlevel

from edge.errors import ConfigError, FabricUnavailable, Refused
from scenarios.batch import Job, attempt, jobs, select
from scenarios.fabric.absent import Absent
from scenarios.report import State
from scenarios.runner import Nobody
from scenarios.world import build

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


PLAIN = TEXT.replace("matrix: {codec: [G.711, G.729], fast: [true, false]}\n", "")
AXIS = PLAIN.replace(
    "fabric: sim", "fabric: sim\nmatrix: {tunnel: [wireguard, auto]}\ntunnel: ${matrix.tunnel}"
)


def test_set_makes_tunnels_of_another_kind_where_the_file_names_none(tmp_path: Path) -> None:
    named = PLAIN.replace("{vnet: acme}}}", "{vnet: acme}, bob: {vnet: acme, tunnel: wireguard}}}")
    (script,) = select([write(tmp_path / "a.yaml", named)], {"tunnel": "masque"})
    assert (script.scenario.tunnel, script.title) == ("masque", "a [tunnel=masque]")
    world = build(script)
    assert {end.name: end.tunnel for end in world.ends} == {"alice": "masque", "bob": "wireguard"}
    assert jobs([script], fabrics=(), seed=1)[0].repeat.endswith("a.yaml --set tunnel=masque --seed 1")
    with pytest.raises(Refused, match="a tunnel is one of wireguard, masque, auto"):
        select([tmp_path / "a.yaml"], {"tunnel": "mask"})


def test_what_the_file_says_already_is_not_set(tmp_path: Path) -> None:
    (script,) = select([write(tmp_path / "a.yaml", PLAIN)], {"tunnel": "wireguard"})
    assert script.title == "a"


def test_set_overrides_the_tunnel_at_the_top_and_claims_nothing_where_it_changes_nothing(
    tmp_path: Path,
) -> None:
    top = PLAIN.replace("fabric: sim", "fabric: sim\ntunnel: masque")
    (script,) = select([write(tmp_path / "a.yaml", top)], {"tunnel": "auto"})
    assert ([end.tunnel for end in build(script).ends], script.title) == (["auto"], "a [tunnel=auto]")
    named = top.replace("{vnet: acme}}}", "{vnet: acme, tunnel: wireguard}}}")
    (script,) = select([write(tmp_path / "b.yaml", named)], {"tunnel": "auto"})
    assert ([end.tunnel for end in build(script).ends], script.title) == (["wireguard"], "b")
    site = named.replace("topology: {", "topology: {sites: {hq: {vnet: acme, routes: [10.0.50.0/24]}}, ")
    (script,) = select([write(tmp_path / "c.yaml", site)], {"tunnel": "auto"})
    assert ([end.tunnel for end in build(script).ends], script.title) == (
        ["auto", "wireguard"],
        "c [tunnel=auto]",
    )


def test_set_of_a_tunnel_holds_for_files_beside_one_that_has_it_as_an_axis(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", AXIS)
    write(tmp_path / "b.yaml", PLAIN)
    found = {
        script.scenario.name: script.scenario.tunnel for script in select([tmp_path], {"tunnel": "auto"})
    }
    assert found == {"a": "auto", "b": "auto"}
    with pytest.raises(Refused, match="tunnel is never 'masque'"):
        select([tmp_path / "a.yaml"], {"tunnel": "masque"})
    found = {
        script.scenario.name: script.scenario.tunnel for script in select([tmp_path], {"tunnel": "masque"})
    }
    assert found == {"b": "masque"}


def test_a_network_too_narrow_for_masque_is_a_mistake_of_the_file(tmp_path: Path) -> None:
    narrow = PLAIN.replace("{acme: {}}", "{acme: {mtu: 1200}}")
    (script,) = select([write(tmp_path / "a.yaml", narrow)], {"tunnel": "masque"})
    with pytest.raises(ConfigError, match="1200 is less than that of MASQUE tunnels") as caught:
        build(script)
    assert caught.value.problems[0].line > 0


def test_what_repeats_a_run_names_its_cell_seed_and_fabric(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a b.yaml", TEXT.replace("NAME", "ab").replace("fabric: sim", "fabric: [sim, loopback]")
    )
    job = jobs(select([file], {"codec": "G.729", "fast": "false"}), fabrics=("loopback",), seed=3)[0]
    assert job.repeat == f"poplab run '{file}' --set codec=G.729 --set fast=false --seed 3 --fabric loopback"


def test_real_programs_run_on_machines_and_nowhere_else(tmp_path: Path) -> None:
    plain = TEXT.replace("fabric: sim\n", "").replace(
        "matrix: {codec: [G.711, G.729], fast: [true, false]}\n", ""
    )
    (script,) = select([write(tmp_path / "plain.yaml", plain)])
    assert script.scenario.fabrics == ("sim", "loopback", "netns")
    text = plain.replace("{wait: {tunnels: up}}", "{exec.run: {on: alice, run: [date]}}")
    (script,) = select([write(tmp_path / "real.yaml", text)])
    assert script.scenario.fabrics == ("netns",)
    (job,) = jobs([script], fabrics=("sim",), seed=None)
    assert (job.fabric, job.reason) == (None, "the file runs on netns, not on sim")
    (job,) = jobs([script], fabrics=(), seed=None)
    assert job.fabric is not None and job.fabric.name == "netns"


def test_a_fabric_that_is_not_here_is_not_available_and_no_defect(tmp_path: Path) -> None:
    where = Absent("moon")
    with pytest.raises(FabricUnavailable, match="no fabric moon on this machine"):
        where.execute(trio.lowlevel.checkpoint, seed=7)
    (script,) = select([write(tmp_path / "a.yaml")], {"codec": "G.711", "fast": "true"})
    record = attempt(Job(script, where, 7, "again"), Nobody())
    assert (record.state, record.error) == (State.UNAVAILABLE, "there is no fabric moon on this machine")


def test_a_fabric_that_the_file_does_not_list_is_a_reason_to_skip_it(tmp_path: Path) -> None:
    job = jobs(select([write(tmp_path / "a.yaml")]), fabrics=("loopback",), seed=None)[0]
    assert (job.fabric, job.reason) == (None, "the file runs on sim, not on loopback")
