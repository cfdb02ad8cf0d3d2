"""What is drawn: the same for one seed, within the file's bounds, and always undone."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random

from scenarios import runner
from scenarios.fuzz import campaign
from scenarios.fuzz.campaign import text_of
from scenarios.fuzz.draw import DWELL, LONGEST, Fault, draw, targets
from scenarios.schema.language import EVERY_FAULT

FILE = Path(__file__).parents[3] / "scenarios/library/22-fuzz-me.yaml"


def script(text: str = FILE.read_text()) -> runner.preflight.Script:  # type: ignore[name-defined]
    return runner.check(text)[0]


def many(count: int = 300) -> list[tuple[Fault, ...]]:
    kinds = targets(script())
    return [draw(Random(f"1/{number}"), kinds, (2, 8), 12.0) for number in range(count)]


def test_a_seed_gives_the_same_faults_again() -> None:
    assert many() == many()
    assert len({str(faults) for faults in many()}) > 290


def test_the_bounds_of_the_file_hold() -> None:
    kinds = targets(script())
    for faults in many():
        assert 2 <= len(faults) <= 8
        assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
        for fault in faults:
            assert fault.target in kinds[fault.kind]
            assert 0 <= fault.at <= 12
            assert fault.duration in (0.0, 0.1) or DWELL <= fault.duration <= LONGEST


def test_each_run_has_only_some_kinds_and_all_runs_have_all() -> None:
    used = Counter(kind for faults in many() for kind in {fault.kind for fault in faults})
    assert set(used) == set(targets(script()))
    assert max(used.values()) < 200


def test_what_lasts_ends() -> None:
    ends = {"kill": "restart", "restart": "restart", "zombie": "zombie"}
    for faults in many(40):
        for number, fault in enumerate(faults, 1):
            steps = fault.steps(number)
            assert steps[0]["id"] == f"fault_{number}"
            if fault.kind in ("roam", "rebind", "rekey-now", "pause"):
                assert len(steps) == 1
            else:
                assert f"fault.{ends.get(fault.kind, 'heal')}" in steps[1]


def test_spared_tunnels_and_impossible_kinds() -> None:
    text = FILE.read_text().replace("  recover: 30s", "  recover: 30s\n  spare: [hq, bob]")
    kinds = targets(script(text))
    assert kinds["partition"] == ("decoy", "alice", "eve")
    assert kinds["kill"] == ("decoy", "alice", "eve", "edge")
    assert kinds["zombie"] == ("decoy",)
    assert "rebind" not in kinds  # nobody else is behind a NAT


def test_every_kind_is_a_scenario_that_can_be_read() -> None:
    plan, before = campaign.plan(script(), 1)
    assert plan is not None, before
    for kind, names in targets(script()).items():
        rng = Random(kind)
        faults = draw(rng, {kind: names}, (3, 3), 5.0)
        (read,) = runner.check(text_of(campaign.with_faults(plan.case, faults, 5.0)))
        assert len(read.scenario.steps) > 15
    assert set(EVERY_FAULT) - {"reorder", "corrupt"} <= set(targets(script()))


def test_nothing_is_done_to_devices_from_outside() -> None:
    text = """\
version: 1
name: lab
vnets: {acme: {default: allow}}
topology:
  clients: {alice: {vnet: acme}, phone: {vnet: acme, outside: true}}
steps: [{wait: {tunnels: up}}]
"""
    (script,) = runner.check(text)
    assert "phone" not in {name for names in targets(script).values() for name in names}
