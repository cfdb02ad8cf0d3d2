"""Reports: the shape that other programs rely on, and no half-written file."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from scenarios.report import (
    CallRecord,
    CheckRecord,
    DirectionRecord,
    InvariantRecord,
    ResultsRecord,
    RunRecord,
    State,
    StepRecord,
    junit_xml,
    write,
)


def run(state: State = State.FAILED) -> RunRecord:
    check = CheckRecord(text="setup_time < 2s", holds=False, saw=[("setup_time", "2.30 s")])
    return RunRecord(
        file="a.yaml",
        name="a-scenario",
        about="",
        fabric="loopback",
        seed=7,
        deadline=60.0,
        repeat="poplab run a.yaml --seed 7",
        state=state,
        elapsed=3.5,
        steps=[
            StepRecord(
                name="tunnels",
                verb="wait",
                state=State.PASSED,
                started=0.0,
                ended=0.25,
                summary="5 tunnels up",
            ),
            StepRecord(
                name="call", verb="sip.call", state=State.FAILED, started=0.25, ended=3.0, checks=[check]
            ),
            StepRecord(
                name="bad \x00\x1b name", verb="ping", state=State.INTERRUPTED, waiting="waiting for replies"
            ),
            StepRecord(name="never", verb="ping"),
        ],
        checks=[CheckRecord(text="edge.dropped == 0", holds=True)],
        calls=[
            CallRecord(caller="alice", callee="bob", directions=[DirectionRecord(listener="bob", mos=4.41)])
        ],
        invariants=[InvariantRecord(id="isolation", holds=True, text="0 of 9 packets crossed between vnets")],
    )


def test_junit_has_one_case_for_each_step_and_says_what_was_seen() -> None:
    root = ElementTree.fromstring(junit_xml([run()]))
    (suite,) = root
    assert suite.attrib == {
        "name": "a-scenario",
        "time": "3.500",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
        "tests": "6",
    }
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert list(cases) == [
        "tunnels",
        "call",
        "bad �� name",
        "never",
        "expect: edge.dropped == 0",
        "invariant: isolation",
    ]
    failure = cases["call"].find("failure")
    assert failure is not None
    assert failure.get("message") == "setup_time < 2s is false: setup_time = 2.30 s"
    assert cases["call"].get("time") == "2.750"
    assert cases["never"].find("skipped") is not None
    assert {(p.get("name"), p.get("value")) for p in suite.iter("property")} >= {
        ("seed", "7"),
        ("fabric", "loopback"),
    }


def test_results_are_json_in_the_documented_shape(tmp_path: Path) -> None:
    write(tmp_path / "out", [run()])
    content = (tmp_path / "out" / "results.json").read_bytes()
    plain = json.loads(content)
    assert plain["format"] == 1
    (first,) = plain["runs"]
    assert first["state"] == "failed"
    assert first["steps"][1]["checks"] == [
        {"text": "setup_time < 2s", "holds": False, "saw": [["setup_time", "2.30 s"]], "error": ""}
    ]
    assert first["calls"][0]["directions"][0]["mos"] == 4.41
    assert msgspec.json.decode(content, type=ResultsRecord).runs[0].name == "a-scenario"


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    written = write(tmp_path, [run()])
    before = (tmp_path / "results.json").read_bytes()
    broken = run()
    broken.steps[0].results = {"x": object()}
    with pytest.raises(TypeError):
        write(tmp_path, [broken])
    assert (tmp_path / "results.json").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in written)
