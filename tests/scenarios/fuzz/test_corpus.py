"""What once broke, or nearly: each file must pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from scenarios import runner
from scenarios.fuzz.trial import attempt

CORPUS = sorted((Path(__file__).parents[1] / "corpus").glob("*.yaml"))


@pytest.mark.parametrize("file", CORPUS, ids=lambda file: file.stem)
def test_it_passes(file: Path) -> None:
    (script,) = runner.check(file)
    assert attempt(script).failures == ()


def test_there_is_a_corpus() -> None:
    assert len(CORPUS) >= 5
