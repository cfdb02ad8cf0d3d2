"""junit.xml and results.json: complete or not there at all."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from xml.etree import ElementTree

import msgspec

from scenarios.report.record import CheckRecord, ResultsRecord, RunRecord, State, StepRecord

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(directory: Path, runs: list[RunRecord], *, junit: bool = True, json: bool = True) -> list[Path]:
    """Write the reports into `directory`, made if missing; returns what was written."""
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    if json:
        written.append(_replace(directory / "results.json", results_json(runs)))
    if junit:
        written.append(_replace(directory / "junit.xml", junit_xml(runs)))
    return written


def results_json(runs: list[RunRecord]) -> bytes:
    """All runs in the shape of `ResultsRecord`."""
    return (
        msgspec.json.format(msgspec.json.encode(ResultsRecord(runs=runs), enc_hook=_number), indent=2) + b"\n"
    )


def _number(value: object) -> float:
    """Numbers with a unit are plain numbers in JSON: seconds, and parts of one."""
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"a report cannot hold {type(value).__name__}")


def junit_xml(runs: list[RunRecord]) -> bytes:
    """One test suite for each run; one case for each step, condition of the whole run and invariant."""
    root = ElementTree.Element("testsuites", name="poplab")
    for run in runs:
        suite = ElementTree.SubElement(root, "testsuite", name=run.name, time=f"{run.elapsed:.3f}")
        if run.started_at:
            suite.set("timestamp", run.started_at)
        properties = ElementTree.SubElement(suite, "properties")
        for key, value in (
            ("file", run.file),
            ("fabric", run.fabric),
            ("seed", run.seed),
            ("repeat", run.repeat),
        ):
            ElementTree.SubElement(properties, "property", name=key, value=_clean(str(value)))
        for step in run.steps:
            _step_case(suite, run, step)
        for check in run.checks:
            case = _case(suite, run, f"expect: {check.text}")
            if not check.holds:
                _problem(case, "failure", explain(check), check.text)
        for invariant in run.invariants:
            case = _case(suite, run, f"invariant: {invariant.id}")
            if not invariant.holds:
                _problem(case, "failure", invariant.text, "\n".join(invariant.details))
        if run.error:
            _problem(_case(suite, run, "run"), "error", run.error, run.error)
        for element in (suite, root):
            for key, tags in _COUNTED.items():
                found = sum(
                    1 for case in element.iter("testcase") if any(case.find(tag) is not None for tag in tags)
                )
                element.set(key, str(found))
            element.set("tests", str(sum(1 for _ in element.iter("testcase"))))
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


_COUNTED = {"failures": ("failure",), "errors": ("error",), "skipped": ("skipped",)}


def explain(check: CheckRecord) -> str:
    """Why a condition does not hold, in one line."""
    if check.error:
        return f"{check.text}: {check.error}"
    saw = ", ".join(f"{name} = {value}" for name, value in check.saw)
    return f"{check.text} is false" + (f": {saw}" if saw else "")


def _step_case(suite: ElementTree.Element, run: RunRecord, step: StepRecord) -> None:
    took = (step.ended or run.elapsed) - step.started if step.started is not None else 0.0
    case = _case(suite, run, step.name, took)
    match step.state:
        case State.FAILED:
            reasons = [step.error] if step.error else []
            reasons += [explain(check) for check in step.checks if not check.holds]
            _problem(case, "failure", reasons[0] if reasons else "failed", "\n".join(reasons))
        case State.ERROR:
            _problem(case, "error", step.error, step.error)
        case State.INTERRUPTED:
            _problem(
                case,
                "error",
                f"interrupted while {step.waiting}" if step.waiting else "interrupted",
                step.error,
            )
        case State.PENDING:
            _problem(case, "skipped", "not reached", "")
    if step.summary:
        ElementTree.SubElement(case, "system-out").text = _clean(step.summary)


def _case(suite: ElementTree.Element, run: RunRecord, name: str, took: float = 0.0) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite, "testcase", classname=run.name, name=_clean(name), time=f"{took:.3f}"
    )


def _problem(case: ElementTree.Element, kind: str, message: str, text: str) -> None:
    ElementTree.SubElement(case, kind, message=_clean(message)).text = _clean(text)


def _clean(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold at all."""
    return _NOT_XML.sub("\ufffd", text)


def _replace(path: Path, content: bytes) -> Path:
    """A reader sees the old file or the new one, never a part."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path
