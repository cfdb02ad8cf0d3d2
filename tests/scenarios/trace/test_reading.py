"""``poplab trace``: selections, lines, differences, diagrams."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from scenarios.cli import poplab
from scenarios.trace import Event, first_difference
from scenarios.trace.mermaid import sequence
from scenarios.trace.selection import FlowEnds, Selection
from scenarios.trace.text import line
from tests.scenarios.trace.runs import SMALL, events, record

THERE = Event(1.0, "sent", "alice", "", "acme", 17, "100.96.0.12", 5060, "10.0.50.60", 5060, 50)
BACK = Event(2.0, "sent", "hq/pbx", "", "acme", 17, "10.0.50.60", 5060, "100.96.0.12", 5060, 50)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(poplab, ["trace", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = tmp_path_factory.mktemp("trace")
    record(SMALL, made)
    return made


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("10.0.50.60:5060>100.96.0.12", True),
        ("100.96.0.12 > 10.0.50.60:5060", True),
        ("100.96.0.12:5061>10.0.50.60", False),
        ("100.96.0.12>10.0.50.61", False),
    ],
)
def test_a_flow_matches_in_both_directions(text: str, matches: bool) -> None:
    flow = FlowEnds.parse(text)
    assert [flow.matches(event) for event in (THERE, BACK)] == [matches, matches]


def test_ipv6_ends_are_compared_as_addresses() -> None:
    assert FlowEnds.parse("[fd00:0::1]:53>fd00::2") == FlowEnds(("fd00::1", 53), ("fd00::2", None))


@pytest.mark.parametrize("text", ["10.0.0.1", "a>b", "10.0.0.1:99999>10.0.0.2", "1.2.3>4.5.6.7"])
def test_what_is_no_flow_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        FlowEnds.parse(text)


def test_everything_that_is_wanted_must_match() -> None:
    event = THERE._replace(tunnel="hq", reason="no_route")
    assert Selection(tunnel="hq", vnet="acme", reason="no_route", begin=1.0, end=1.0).matches(event)
    for wrong in (
        Selection(tunnel="x"),
        Selection(vnet="x"),
        Selection(reason="x"),
        Selection(kinds=("lost",)),
        Selection(begin=1.1),
        Selection(end=0.9),
    ):
        assert not wrong.matches(event)


def test_a_name_in_a_trace_moves_no_cursor() -> None:
    assert "\x1b" not in line(THERE._replace(place="\x1b[2J", detail="\r\n"))


def test_the_first_difference_has_its_place_and_surroundings() -> None:
    common = [THERE._replace(at=float(n)) for n in range(9)]
    found = first_difference([*common, THERE, BACK], [*common, THERE._replace(length=51)])
    assert found is not None
    assert (found.number, len(found.before), found.first[1:]) == (10, 5, (BACK,))
    assert found.lines()[0] == "event 10 differs in length:"
    shorter = first_difference(common, common[:8])
    assert shorter is not None and shorter.second == ()
    assert "  + second ends here" in shorter.lines()
    assert first_difference(common, list(common)) is None


def test_lines_json_and_limits(folder: Path) -> None:
    file = folder / "trace.msgpack"
    assert len(invoke(file).output.splitlines()) == len(events(folder))
    assert "[policy_rejected rule no-ping]" in invoke(file, "--kind", "dropped").output
    out = invoke(file, "--json", "--reason", "policy_rejected", "--limit", 1).output
    assert json.loads(out)["rule"] == "no-ping"
    assert invoke(file, "--flow", "nonsense").exit_code == 2
    assert invoke(folder / "missing").exit_code == 2


def test_two_files_are_compared(folder: Path, tmp_path: Path) -> None:
    record(SMALL, tmp_path, seed=8)
    file = folder / "trace.msgpack"
    same = invoke(file, file)
    assert (same.exit_code, same.output) == (0, "equal\n")
    other = invoke(file, tmp_path / "trace.msgpack")
    assert other.exit_code == 1
    assert "differs in" in other.output and "seed: 7 and 8" in other.output
    assert invoke(file, tmp_path / "trace.msgpack", "--kind", "fault").exit_code == 1  # at another time


def test_a_flow_is_drawn_from_host_to_host(folder: Path) -> None:
    drawn = invoke(
        folder / "trace.msgpack", "--mermaid", "--flow", "100.96.0.12>10.0.50.60:7", "--limit", 4
    ).output
    assert drawn.splitlines()[0] == "sequenceDiagram"
    people = [text.partition(" as ")[2] for text in drawn.splitlines() if "participant" in text]
    assert people == ["alice", "tunnel alice", "PoP", "tunnel hq", "hq/server"]
    assert [text.partition(":")[0].strip() for text in drawn.splitlines() if "->>" in text] == [
        "p0->>p1",
        "p1->>p2",
        "p2->>p3",
        "p3->>p4",
    ]


def test_what_dies_is_a_note_and_nothing_breaks_the_diagram() -> None:
    drawn = sequence(
        [THERE._replace(kind="dropped", place="edge", tunnel="a", reason="no_route", rule="x;#")]
    )
    assert "note over p0: dropped: no_route, rule x#59;#35;" in drawn
    assert "1 more are left out" in sequence([THERE, BACK], most=1)


@pytest.mark.parametrize("files", [1, 2])
def test_a_filter_that_nothing_matches_says_so(folder: Path, files: int) -> None:
    file = folder / "trace.msgpack"
    result = invoke(*[file] * files, "--tunnel", "nobody")
    assert result.exit_code == 0
    assert "is like that" in result.stderr
    assert "is like that" not in invoke(*[file] * files, "--vnet", "acme").stderr
