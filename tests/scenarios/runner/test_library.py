"""What we ship passes in virtual time; what it claims of itself is so."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios.fabric import Sim
from scenarios.report import RunRecord, State
from scenarios.runner import check, run
from tests.scenarios.trace.runs import LIBRARY, ON_REAL_MACHINES

FILES = sorted(file for file in LIBRARY.glob("*.yaml") if file.stem not in ON_REAL_MACHINES)


def ran(file: Path, seed: int | None = None) -> list[RunRecord]:
    """Every cell of its matrix."""
    return [
        Sim().execute(lambda script=script: run(script, Sim(), seed=seed), seed=7) for script in check(file)
    ]  # type: ignore[misc]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_scenario_of_the_library_passes_in_virtual_time(file: Path) -> None:
    for record in ran(file):
        wrong = [(check.text, check.saw, check.error) for check in record.failed_checks]
        late = [limit.key for limit in record.thresholds if not limit.holds]
        assert record.state is State.PASSED, (record.error, wrong, late, [s.error for s in record.steps])
        assert all(law.holds for law in record.invariants)
        if file.stem.startswith("08"):
            assert sum(account.packets_in for account in record.accounts) > 100_000


@pytest.mark.parametrize("name", ON_REAL_MACHINES)
def test_lessons_with_real_programs_say_that_they_need_real_machines(name: str) -> None:
    for script in check(LIBRARY / f"{name}.yaml"):
        assert script.scenario.fabrics == ("netns",)


@pytest.mark.parametrize(
    "file",
    [file for file in FILES if file.stem[:2] in ("01", "02", "03", "04", "05", "06", "07", "10", "22")],
    ids=lambda f: f.stem,
)
def test_lessons_hold_for_masque_tunnels_too(file: Path) -> None:
    for script in check(file):
        masque = script.with_tunnel("masque")
        record = Sim().execute(lambda masque=masque: run(masque, Sim()), seed=7)  # type: ignore[misc]
        assert record.state is State.PASSED, (record.error, [check.text for check in record.failed_checks])
        assert record.masque is not None and record.masque.sessions["h3"] > 0


@pytest.mark.parametrize(
    "file", [file for file in FILES if file.stem[:2] in ("05", "06", "07")], ids=lambda f: f.stem
)
def test_no_seed_is_a_lucky_one(file: Path) -> None:
    for seed in (1, 2):
        assert [record.state for record in ran(file, seed)] == [State.PASSED]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_lesson_says_what_it_is_about(file: Path) -> None:
    scripts = check(file)
    assert all(script.scenario.about and len(script.scenario.steps) > 1 for script in scripts)
    assert "# Lesson" in file.read_text()
