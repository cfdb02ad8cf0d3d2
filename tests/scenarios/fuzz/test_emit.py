"""Data as YAML: what is read back is what was written, and a person can read it too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.document import Document
from scenarios.fuzz.emit import emit

LIBRARY = sorted((Path(__file__).parents[3] / "scenarios/library").glob("*.yaml"))

texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=40)
scalars = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | texts
keys = st.text("abcdefgh-_.0123", min_size=1, max_size=12)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=25,
)


@pytest.mark.parametrize("file", LIBRARY, ids=lambda file: file.stem)
def test_the_library_survives(file: Path) -> None:
    data = Document.read(file).data
    assert Document(emit(data), "again").data == data


@given(st.dictionaries(keys, values, min_size=1, max_size=4))
def test_anything_survives(data: dict[str, Any]) -> None:
    assert Document(emit(data), "again").data == data


def test_short_parts_stay_on_a_line() -> None:
    data = {
        "name": "a-case",
        "at": "1.5s",
        "ip": "10.0.0.1",
        "on": "on",
        "number": "7",
        "steps": [{"name": "one thing", "ping": {"from": "alice", "to": "hq/pbx", "count": 3}}],
    }
    assert emit(data, ["What it is."]) == (
        "# What it is.\n"
        'name: a-case\nat: 1.5s\nip: 10.0.0.1\n"on": "on"\nnumber: "7"\nsteps:\n'
        "  - {name: one thing, ping: {from: alice, to: hq/pbx, count: 3}}\n"
    )
