"""The command: what it says of a file, what is one line, exit codes, JSON."""

from __future__ import annotations

import io
import json
from itertools import groupby
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from scenarios import batch
from scenarios.cli import poplab
from scenarios.paths import cli
from scenarios.paths import survey as module
from scenarios.paths.survey import advice, survey
from scenarios.runner import check

FILE = """\
version: 1
name: offices
matrix: {pause: [1s, 2s]}
vnets: {acme: {}, other: {}}
topology:
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24]
      deploy: intermediate-gateway
      gateway: 10.0.50.10
      router: {ip: 10.0.50.1, routes: [10.0.60.0/22]}
      hosts: {pbx: {ip: 10.0.50.60}, desk: {ip: 10.0.50.61}}
    branch: {vnet: acme, routes: [10.0.60.0/24], count: 3, hosts: {desk: {ip: 10.0.60.60, count: 2}}}
    stranger: {vnet: other, routes: [10.0.50.0/24, "fd00::/64"], hosts: {x: {ip: 10.0.50.60}, y: {ip: "fd00::1"}}}
  clients:
    alice: {vnet: acme, ip: 100.96.0.12}
    fleet: {vnet: acme, ip: 100.96.1.0, count: 40}
    eve: {vnet: other, ip: 100.96.0.12}
steps: [{wait: {for: "${matrix.pause}"}}]
"""
ROUTE = "on router:hq: ip route add 100.96.0.0/12 via 10.0.50.10"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "offices.yaml"
    file.write_text(FILE)
    return file


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(poplab, ["paths", *map(str, arguments)])


def test_flows_that_are_alike_are_one_line_and_the_missing_route_is_named(file: Path) -> None:
    result = invoke(file)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert (
        "FAIL  41 clients -> 2 hosts of hq: hq/pbx (10.0.50.60) answers 100.96.0.12 via 10.0.50.1: "
        "the router has no route to 100.96.0.0/12, so it goes to the Internet"
    ) in lines
    assert (
        "FAIL  2 hosts of hq -> 41 clients: hq/pbx (10.0.50.60) sends to 100.96.0.12 via 10.0.50.1: "
        "the router has no route to 100.96.0.0/12, so it goes to the Internet"
    ) in lines
    assert (
        "ok    2 hosts of hq -> branch/desk, 6 in all: answers go branch-0/desk-0 > branch-0 > PoP > hq > hq/pbx"
    ) in lines
    assert sum(line.startswith(("ok", "FAIL")) for line in lines) == 9
    between = (
        2 * 41 + 2 * 6 + 6 * 41 + 1
    )  # hq and clients; hq and branches; branches and clients; stranger and eve
    total = 2 * between + 6 * 4  # both ways; and each branch with the others
    assert lines[-2:] == [
        f"{2 * 2 * 41} of {total} flows have no way there or back; what is missing:",
        f"  {ROUTE}",
    ]


def test_only_what_is_asked_for_is_looked_at(file: Path) -> None:
    result = invoke(file, "--from", "fleet", "--to", "hq/desk")
    assert result.stdout.splitlines()[0].startswith(
        "FAIL  fleet, 40 of them -> hq/desk: hq/desk (10.0.50.61)"
    )
    assert result.stdout.splitlines()[1].startswith("40 of 40 flows")
    good = invoke(file, "--from", "branch", "--to", "hq")
    assert (good.exit_code, good.stdout.splitlines()[-1]) == (0, "all 12 flows have a way there and back")
    by_address = invoke(file, "--from", "100.96.1.7", "--to", "10.0.50.61").stdout
    assert by_address.startswith("FAIL  fleet-7 -> hq/desk: hq/desk (10.0.50.61)")
    assert invoke(file, "--from", "alice", "--to", "fleet").stdout == "no flow goes through a connector\n"


def test_programs_get_every_flow_with_its_path(file: Path) -> None:
    result = invoke(file, "--json", "--from", "alice", "--to", "hq")
    document = json.loads(result.stdout)
    assert (result.exit_code, document["returns"], document["fixes"]) == (1, False, [ROUTE])
    (flow,) = document["flows"]
    assert (flow["from"], flow["to"], flow["count"]) == (["alice"], ["hq/pbx", "hq/desk"], 2)
    assert flow["request"] == ["alice", "PoP", "hq", "hq/pbx"]
    assert flow["reply"] == ["hq/pbx", "router:hq", "the Internet"]
    assert (flow["fix"], flow["fixes"]) == (ROUTE, [ROUTE])


def test_a_file_in_which_all_is_well_exits_with_0(file: Path) -> None:
    file.write_text(FILE.replace(", routes: [10.0.60.0/22]", ""))
    result = invoke(file)
    assert result.exit_code == 0
    assert "FAIL" not in result.stdout


def test_a_table_that_tells_clients_apart_makes_several_of_them(file: Path) -> None:
    file.write_text(FILE.replace("10.0.60.0/22]", "10.0.60.0/22, 100.96.1.0/27]"))
    few, many, *_ = invoke(file, "--to", "hq/pbx", "--from", "fleet").stdout.splitlines()
    assert few.startswith("FAIL  8 clients -> hq/pbx")
    assert many.startswith("ok    32 clients -> hq/pbx")


def test_hosts_with_other_tables_are_other_parties(file: Path) -> None:
    file.write_text(FILE.replace("{ip: 10.0.50.61}", "{ip: 10.0.50.61, gateway: 10.0.50.10}"))
    one, other, *_ = invoke(file, "--to", "hq", "--from", "alice").stdout.splitlines()
    assert one.startswith("FAIL  alice -> hq/pbx") and other.startswith("ok    alice -> hq/desk")


def test_each_broken_copy_has_a_line_and_a_fix_of_its_own(file: Path) -> None:
    wrong = "{ip: 10.0.60.60, gateway: 10.0.60.9}"
    file.write_text(FILE.replace("{ip: 10.0.60.60, count: 2}", wrong))
    *lines, _, first, _, third = invoke(file, "--from", "alice", "--to", "branch").stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"FAIL  alice -> branch-{n}/desk" for n in range(3)]
    assert first == "  on branch-0/desk: ip route replace default via 10.0.60.1"
    assert third == "  on branch-2/desk: ip route replace default via 10.0.62.1"


def test_all_that_one_flow_needs_is_named_at_once(file: Path) -> None:
    file.write_text(FILE.replace("pbx: {ip: 10.0.50.60}", "pbx: {ip: 10.0.50.60, gateway: 10.0.50.9}"))
    *_, first, second = invoke(file, "--from", "alice", "--to", "hq/pbx").stdout.splitlines()
    assert (first, second) == ("  on hq/pbx: ip route replace default via 10.0.50.1", f"  {ROUTE}")


def test_who_is_not_there_is_refused(file: Path) -> None:
    result = invoke(file, "--from", "alicia")
    assert result.exit_code == 2
    assert "there is no 'alicia'" in result.stderr and "alice" in result.stderr


def test_a_bad_file_is_refused(file: Path) -> None:
    file.write_text(FILE.replace("router: {ip: 10.0.50.1,", "router: {ip: 10.9.9.9,"))
    result = invoke(file)
    assert result.exit_code == 2
    assert "10.9.9.9 is not on the LAN of hq" in result.stderr


def test_too_many_flows_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FLOWS", 3)
    result = invoke(file)
    assert result.exit_code == 2
    assert "name some with --from or --to" in result.stderr


def test_nobody_of_another_ip_version_or_network_is_in_a_flow(file: Path) -> None:
    script = check(file)[0]
    pairs = {(each.source.vnet, each.destination.vnet) for each in survey(script)}
    assert pairs == {("acme", "acme"), ("other", "other")}
    assert not any("stranger/y" in each.source.members for each in survey(script))


@pytest.mark.parametrize(("expected", "told"), [("steps.failed == 1", True), ("steps.failed == 0", False)])
def test_a_run_that_fails_ends_with_the_command_if_routes_are_missing(
    tmp_path: Path, expected: str, told: bool
) -> None:
    file = tmp_path / "one.yaml"
    text = FILE.replace("matrix: {pause: [1s, 2s]}", "fabric: [sim]").replace("${matrix.pause}", "1s")
    file.write_text(f'{text}expect: ["{expected}"]\n')
    result = CliRunner().invoke(poplab, ["run", str(file)])
    assert result.exit_code == told, result.output
    line = f" flows have no way there or back: poplab paths {file}"
    assert result.output.splitlines()[-1].endswith(line) == told


def test_where_too_many_flows_differ_a_run_says_nothing_of_them(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (script, _) = check(file)
    assert advice(script).endswith(f"flows have no way there or back: poplab paths {file}")
    monkeypatch.setattr(module, "MOST_BESIDE", 3)
    assert advice(script) == ""


def test_routes_of_one_machine_are_named_together_and_no_name_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    lesson = Path(batch.__file__).parents[1] / "library/19-deploy-modes.yaml"
    lines = invoke(lesson).stdout.splitlines()
    machines = [line.partition(": ")[0] for line in lines if line.startswith("  on ")]
    assert len(machines) > len(set(machines)) > 2
    assert [machine for machine, _ in groupby(machines)] == list(dict.fromkeys(machines))
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, color_system=None, width=80, highlight=False)
    monkeypatch.setattr(cli, "Console", lambda **_: console)
    invoke(lesson)
    assert "\n✗  " in stream.getvalue()
    assert "…" not in stream.getvalue()
