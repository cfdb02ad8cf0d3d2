"""A wrong file is answered with places and fixes, all of them at once, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.errors import ConfigError
from scenarios.runner import check
from scenarios.schema import load

GOOD = """\
version: 1
name: small
vnets: {acme: {}}
topology:
  sites:
    hq:
      vnet: acme
      routes: [10.0.50.0/24]
      hosts:
        pbx: {ip: 10.0.50.60, app: {sip.pbx: {}}}
        desk: {ip: 10.0.50.101, app: {sip.phone: {}}}
  clients:
    alice: {vnet: acme, ip: 100.96.0.12, app: {sip.phone: {}}}
policy:
  - {id: all, action: allow}
steps:
  - wait: {tunnels: up}
  - id: call
    sip.call: {from: alice, to: hq/desk}
    expect: [setup_time < 2s]
expect: [call.mos > 3]
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        check(text, "a.yaml")
    return [f"{p.line}:{p.column} {p.message} | {p.fix}" for p in caught.value.problems]


def test_the_small_one_is_good() -> None:
    (script,) = check(GOOD)
    assert list(script.cast.actors) == ["hq/pbx", "hq/desk", "alice"]
    assert script.scenario.steps[1].verb[0] == "sip.call"
    assert script.scenario.deadline == 60.0
    pbx = script.cast.actors["hq/pbx"]
    assert script.cast.users(pbx) == ("desk", "alice")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("topology:", "topolgy:", "4:1 unknown key 'topolgy' | did you mean 'topology'?"),
        ("sip.call:", "sip.cal:", "19:5 unknown key 'sip.cal' | did you mean 'sip.call'?"),
        ("from: alice", "from: alcie", "19:22 there is no 'alcie' | did you mean 'alice'?"),
        ("to: hq/desk", "to: hq/dask", "19:33 nobody answers to 'hq/dask' at hq/pbx | did you mean 'hq/desk'?"),
        ("vnet: acme, ip", "vnet: acne, ip", "13:19 unknown vnet 'acne' | did you mean 'acme'?"),
        ("10.0.50.101", "10.0.51.101", "11:20 10.0.51.101 is in none of the routes of hq: 10.0.50.0/24 | move one"),
        ("10.0.50.101", "10.0.50.60", "11:20 'pbx' and 'desk' both have 10.0.50.60 | give one another address"),
        ("setup_time <", "setup_tme <", "20:14 'setup_tme < 2s': there is no 'setup_tme' | did you mean 'setup_time'?"),
        ("call.mos > 3", "call.moss > 3", "21:10 'call.moss > 3': call has no 'moss' | did you mean 'mos'?"),
        ("call.mos > 3", "clients.bob.ip == 3", "21:10 'clients.bob.ip == 3': clients has no 'bob' | known: alice"),
        ("id: call", "id: edge", "18:9 conditions use 'edge' for something else | choose another id"),
        ("tunnels: up", "tunnels: down", "17:21 'down' is not one of the choices | known: up"),
        ("wait: {tunnels: up}", "name: nothing", "17:5 the step does nothing | add `await`, or one of: wait"),
        ("wait: {tunnels: up}", "wait: {step: cal}", "17:18 no step before this one is called 'cal'"),
        ("wait: {tunnels: up}", "ping: {from: alice, to: hq/desc}", "17:29 there is no 'hq/desc' | did you mean"),
        ("100.96.0.12", "100.200.0.12", "13:29 100.200.0.12 is outside the pool 100.96.0.0/12 of vnet acme"),
        ("action: allow", "to: {site: hp}, action: allow", "15:26 vnet acme has no site 'hp' | known: hq"),
        ("steps:", "outputs: {captures: [hq]}\nsteps:",
         "16:21 expected a mapping or nothing, not a list | write `{at: [hq]}`"),
        ("wait: {tunnels: up}", "exec.run: {on: hq/desk, run: ping -c 2 fd00:50::80}",
         '17:34 expected a list, not text | write [ping, -c, "2", "fd00:50::80"]'),
        ("wait: {tunnels: up}", "exec.run: {on: hq/desk, run: dig x | grep y}",
         '17:34 expected a list, not text | write [sh, -c, "dig x | grep y"]'),
        ("wait: {tunnels: up}", "exec.run: {on: hq/desk, run: echo 'no end}",
         "17:34 expected a list, not text | write [program, argument]"),
        ("{sip.pbx: {}}", "{udp.echo: {}}", "11:50 vnet acme has no PBX where hq/desk could register"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_its_fix(old: str, new: str, expected: str) -> None:
    found = problems(GOOD.replace(old, new))
    assert any(problem.startswith(expected) for problem in found), found


def test_all_mistakes_are_named_at_once() -> None:
    text = GOOD.replace("from: alice", "from: alcie").replace("vnet: acme, ip", "vnet: acne, ip")
    assert [found.split(" ")[0] for found in problems(text)] == ["13:19", "19:22"]


def test_a_condition_outside_the_language_is_refused_before_the_run() -> None:
    (found,) = problems(GOOD.replace("setup_time < 2s", "__import__('os').system('true') == 0"))
    assert found.startswith("20:14 ")


def test_two_verbs_in_one_step_are_refused() -> None:
    text = GOOD.replace(
        "  - wait: {tunnels: up}", "  - wait: {tunnels: up}\n    ping: {from: alice, to: hq/pbx}"
    )
    (found,) = problems(text)
    assert "the step does 2 things: wait, ping" in found


def test_targets_of_calls() -> None:
    cast = load(GOOD)[0].cast
    alice = cast.actors["alice"]
    assert cast.sip_uri(alice, "hq/desk") == "sip:desk@10.0.50.60"
    assert cast.sip_uri(alice, "600") == "sip:600@10.0.50.60"
    assert cast.sip_uri(alice, "sip:600@pbx.hq") == "sip:600@10.0.50.60"
    assert (
        cast.sip_uri(alice, "sip:bob@192.0.2.1:5070;transport=udp") == "sip:bob@192.0.2.1:5070;transport=udp"
    )
    assert cast.sip_uri(alice, "601") is None


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[3] / "scenarios/library").glob("*.yaml")), ids=lambda f: f.stem
)
def test_the_library_is_good(file: Path) -> None:
    script = check(file)[0]
    assert script.scenario.about
    assert file.stem.partition("-")[2] == script.scenario.name
    assert file.read_text().startswith("# yaml-language-server: $schema=../../docs/scenario.v1.json\n")
