"""Reports: the shape that other programs rely on, and no half-written file."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from edge.errors import Refused
from scenarios.report import (
    CallRecord,
    CheckRecord,
    DirectionRecord,
    InvariantRecord,
    LoadRecord,
    ResultsRecord,
    RunRecord,
    State,
    StepRecord,
    ThresholdRecord,
    folders,
    junit_xml,
    prepare,
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


def test_junit_names_the_cell_and_has_cases_for_thresholds_and_loads() -> None:
    record = run()
    record.cell = {"codec": "G.711"}
    record.thresholds = [
        ThresholdRecord(key="rtp.mos", text="avg >= 4", holds=False, saw="3.1", aborted=True)
    ]
    record.loads = [LoadRecord(name="busy", verb="sip.call", started=9, figures=[("setup p95", "41 ms")])]
    (suite,) = ElementTree.fromstring(junit_xml([record]))
    assert suite.get("name") == "a-scenario [codec=G.711]"
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    failure = cases["threshold: rtp.mos: avg >= 4"].find("failure")
    assert failure is not None
    assert failure.get("message") == "rtp.mos is not avg >= 4: 3.1; this ended the run"
    assert "setup p95 41 ms" in str(cases["load: busy"].findtext("system-out"))


@pytest.mark.parametrize(
    ("state", "tag"),
    [
        (State.SKIPPED, "skipped"),
        (State.UNAVAILABLE, "error"),
        (State.ERROR, "error"),
        (State.INTERRUPTED, "error"),
        (State.FAILED, "failure"),
    ],
)
def test_a_run_that_did_not_pass_is_never_green(state: State, tag: str) -> None:
    record = RunRecord(
        file="a",
        name="a",
        about="",
        fabric="sim",
        seed=7,
        deadline=1,
        repeat="",
        state=state,
        error="the reason",
    )
    (case,) = ElementTree.fromstring(junit_xml([record])).iter("testcase")
    found = case.find(tag)
    assert case.get("name") == "run"
    assert found is not None
    assert found.get("message") == "the reason"


def test_several_runs_share_junit_and_results_and_have_folders_of_their_own(tmp_path: Path) -> None:
    hostile = run()
    hostile.name = "../../etc/x y"
    kinds = [("junit", "json", "html", "events"), ("junit",), ("events",)]
    write(tmp_path, [run(), run(State.PASSED), hostile], kinds)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == [
        "a-scenario/events.jsonl",
        "a-scenario/report.html",
        "etc-x-y/events.jsonl",
        "junit.xml",
        "report.html",
        "results.json",
    ]
    index = (tmp_path / "report.html").read_text()
    assert 'href="a-scenario/report.html"' in index
    assert "etc-x-y/report.html" not in index
    assert len(ElementTree.parse(tmp_path / "junit.xml").getroot()) == 3


def test_folders_never_meet(tmp_path: Path) -> None:
    titles = ["a b", "a/b", "A B", "...", "a-b-2"]
    names = [folder.name.lower() for folder in folders(tmp_path, titles)]
    assert len(set(names)) == len(titles)
    assert folders(tmp_path, ["one"]) == [tmp_path]


def test_a_folder_that_cannot_be_written_is_found_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (tmp_path / "file", tmp_path / "file/deeper"):
        with pytest.raises(Refused, match="cannot write reports into"):
            prepare(bad)
    prepare(tmp_path / "new/deep")
    assert list((tmp_path / "new/deep").iterdir()) == []


def test_steps_of_one_name_are_told_apart_in_junit() -> None:
    record = run()
    names = ("ping", "ping", "ping (2)", "ping")
    record.steps = [StepRecord(name=name, verb="ping") for name in names]
    (suite,) = ElementTree.fromstring(junit_xml([record]))
    steps = [case.get("name") for case in suite.iter("testcase")][:4]
    assert steps == ["ping", "ping (3)", "ping (2)", "ping (4)"]
