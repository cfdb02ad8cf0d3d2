"""Agents in scenarios, as far as they are told from our own ends before and beside any process."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import FabricUnavailable
from scenarios import doctor
from scenarios import world as worlds
from scenarios.report import RunRecord, State
from scenarios.runner import check, run
from tests.scenarios.runner.machines import MISSING, Machines

TEXT = """\
version: 1
name: agents
deadline: 30s
vnets: {acme: {}}
topology:
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24]
      connectors: {hq: {agent: daemon}}
  clients:
    alice: {vnet: acme, agent: AGENT}
steps:
"""


def ran(steps: str, agent: str = "poplab") -> RunRecord:
    (script,) = check(TEXT.replace("AGENT", agent) + steps)
    machines = Machines()
    return machines.execute(lambda: run(script, machines), seed=7)


def test_a_file_with_agents_is_for_machines_without_saying_so() -> None:
    (script,) = check(TEXT.replace("AGENT", "poplab") + "  - {wait: {tunnels: up}}\n")
    assert script.scenario.fabrics == ("netns",)
    assert not script.scenario.runs_programs


@pytest.mark.parametrize(
    ("agent", "tunnel"), [("wireguard-go", "wireguard"), ("xray", "masque"), ("daemon", "auto")]
)
def test_the_tunnel_of_a_program_is_what_it_speaks(agent: str, tunnel: str) -> None:
    text = TEXT.replace("AGENT", agent).replace("name: agents", "name: agents\ntunnel: auto")
    (script,) = check(text + "  - {wait: {tunnels: up}}\n")
    assert {end.name: end.tunnel for end in worlds.build(script).ends}["alice"] == tunnel


@pytest.mark.parametrize(
    ("agent", "kept"), [("wireguard-go", "wireguard"), ("xray", "masque"), ("daemon", "masque")]
)
def test_a_tunnel_of_the_command_line_does_not_change_that(agent: str, kept: str) -> None:
    (script,) = check(TEXT.replace("AGENT", agent) + "  - {wait: {tunnels: up}}\n")
    ends = {end.name: end.tunnel for end in worlds.build(script.with_tunnel("masque")).ends}
    assert ends == {"hq": "masque", "alice": kept}


def test_a_client_of_xray_is_a_real_machine() -> None:
    (script,) = check(TEXT.replace("AGENT", "xray") + "  - {exec.run: {on: alice, run: [curl, x]}}\n")
    assert script.cast.real == script.cast.proxied == {"alice"}
    (script,) = check(TEXT.replace("AGENT", "wireguard-go") + "  - {ping: {from: alice, to: 10.0.50.1}}\n")
    assert not script.cast.real


@pytest.mark.skipif(bool(MISSING) or bool(doctor.missing("tun")), reason=MISSING or "no TUN device")
@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("fault.zombie: {machine: '${sites.hq.active}'}", "which nobody can tell to forward nothing"),
        ("fault.rekey-now: {tunnels: '${sites.hq.active}'}", "which nobody can tell when to make new keys"),
    ],
)
def test_a_fault_that_is_worked_out_late_is_refused_late(step: str, words: str) -> None:
    record = ran(f"  - {{wait: {{tunnels: up}}}}\n  - {{{step}}}\n")
    assert record.state is State.FAILED
    assert "the tunnel of hq is made by a daemon" in record.steps[1].error
    assert words in record.steps[1].error


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_a_program_that_is_missing_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FabricUnavailable, match="no wireguard-go: not installed. Fix: "):
        ran("  - {wait: {tunnels: up}}\n", "wireguard-go")


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_everything_that_is_missing_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    steps = "  - {wait: {tunnels: up}}\n  - {exec.run: {on: hq/desk, run: [no-such-program]}}\n"
    text = TEXT.replace("    hq:\n", "    hq:\n      hosts: {desk: {ip: 10.0.50.9, app: {exec: []}}}\n")
    (script,) = check(text.replace("AGENT", "wireguard-go") + steps)
    machines = Machines()
    with pytest.raises(FabricUnavailable, match="no wireguard-go(.|\n)*program no-such-program"):
        machines.execute(lambda: run(script, machines), seed=7)
