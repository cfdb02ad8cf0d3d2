"""junit.xml: what CI systems show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from scenarios.report.findings import WHY, differences, exceeded, explain, outcome
from scenarios.report.record import ComparisonRecord, LoadRecord, RunRecord, State, StepRecord

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_COUNTED = {"failures": ("failure",), "errors": ("error",), "skipped": ("skipped",)}


def junit_xml(runs: list[RunRecord], comparisons: Sequence[ComparisonRecord] = ()) -> bytes:
    """One test suite for each run, and one for all comparisons.

    One case for each step, condition of the whole run, invariant, threshold and load; one called "run" if nothing
    else says why the run did not pass. One for each comparison.
    """
    root = ElementTree.Element("testsuites", name="poplab", time=f"{sum(run.elapsed for run in runs):.3f}")
    for run in runs:
        _count(_suite(root, run))
    if comparisons:
        _count(_compared(root, comparisons))
    _count(root)
    document: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _suite(root: ElementTree.Element, run: RunRecord) -> ElementTree.Element:
    suite = ElementTree.SubElement(root, "testsuite", name=_clean(run.title), time=f"{run.elapsed:.3f}")
    if run.started_at:
        suite.set("timestamp", run.started_at)
    properties = ElementTree.SubElement(suite, "properties")
    given = {"file": run.file, "fabric": run.fabric, "seed": run.seed, "repeat": run.repeat}
    given |= {f"matrix.{name}": value for name, value in run.cell.items()}
    for key, value in given.items():
        ElementTree.SubElement(properties, "property", name=_clean(key), value=_clean(str(value)))
    for step in run.steps:
        _step_case(suite, run, step)
    for check in run.checks:
        case = _case(suite, run, f"expect: {check.text}")
        if not check.holds:
            _problem(case, "failure", explain(check), check.text)
    for law in run.invariants:
        case = _case(suite, run, f"invariant: {law.id}")
        if not law.holds:
            _problem(case, "failure", law.text, "\n".join(law.details))
    for limit in run.thresholds:
        case = _case(suite, run, f"threshold: {limit.key}: {limit.text}")
        if not limit.holds:
            _problem(case, "failure", exceeded(limit), exceeded(limit))
        elif limit.saw:
            ElementTree.SubElement(case, "system-out").text = _clean(limit.saw)
    for load in run.loads:
        ElementTree.SubElement(_case(suite, run, f"load: {load.name}"), "system-out").text = _clean(
            _figures(load)
        )
    _whole(suite, run)
    _tell_apart(suite)
    return suite


def _compared(root: ElementTree.Element, comparisons: Sequence[ComparisonRecord]) -> ElementTree.Element:
    suite = ElementTree.SubElement(root, "testsuite", name="comparisons", time="0.000")
    for each in comparisons:
        name = f"{each.title} on {' and '.join(each.fabrics)}"
        case = _named_case(suite, "comparisons", name, 0.0)
        text = "\n".join([*(found.text for found in differences(each)), f"again: {each.repeat}"])
        match each.state:
            case State.PASSED:
                ElementTree.SubElement(case, "system-out").text = _clean(outcome(each))
            case State.FAILED:
                _problem(case, "failure", outcome(each), text)
            case State.SKIPPED:
                _problem(case, "skipped", each.reason, "")
            case _:
                _problem(case, "error", outcome(each), each.reason)
    _tell_apart(suite)
    return suite


def _tell_apart(suite: ElementTree.Element) -> None:
    """Readers take two cases of one name for one: the second one is called "ping (2)"."""
    names = {case.get("name", "") for case in suite.iter("testcase")}
    met: set[str] = set()
    for case in suite.iter("testcase"):
        name = plain = case.get("name", "")
        number = 1
        while name in met or (number > 1 and name in names):
            number += 1
            name = f"{plain} ({number})"
        met.add(name)
        case.set("name", name)


def _whole(suite: ElementTree.Element, run: RunRecord) -> None:
    """A case for the run itself, where no other says why it did not pass."""
    message = run.error.splitlines()[-1].strip() if run.error else WHY.get(run.state, "")
    match run.state:
        case State.SKIPPED:
            _problem(_case(suite, run, "run"), "skipped", message, "")
        case State.PASSED:
            return
        case State.FAILED if any(case.find("failure") is not None for case in suite.iter("testcase")):
            return
        case State.INTERRUPTED if any(case.find("error") is not None for case in suite.iter("testcase")):
            return
        case State.FAILED:
            _problem(_case(suite, run, "run"), "failure", run.stopped_by or message, run.error)
        case _:
            _problem(_case(suite, run, "run"), "error", message, run.error)


def _step_case(suite: ElementTree.Element, run: RunRecord, step: StepRecord) -> None:
    ended = run.elapsed if step.ended is None else step.ended
    took = ended - step.started if step.started is not None else 0.0
    case = _case(suite, run, step.name, took)
    match step.state:
        case State.FAILED if not step.excused:
            reasons = [step.error] if step.error else []
            reasons += [explain(check) for check in step.checks if not check.holds]
            said = reasons[0] if reasons else "failed"
            _problem(case, "failure", said, "\n".join([*reasons, *_written(step)]))
        case State.ERROR:
            _problem(case, "error", step.error, step.error)
        case State.INTERRUPTED:
            text = f"interrupted while {step.waiting}" if step.waiting else "interrupted"
            _problem(case, "error", text, "\n".join([step.error, *_written(step)]))
        case State.RUNNING:
            _problem(case, "error", WHY[State.RUNNING], "")
        case State.PENDING:
            _problem(case, "skipped", "not reached", "")
    if step.summary:
        ElementTree.SubElement(case, "system-out").text = _clean(step.summary)


def _written(step: StepRecord) -> list[str]:
    return ["", "the program wrote:", *step.output] if step.output else []


def _figures(load: LoadRecord) -> str:
    counts = f"{load.verb}: started {load.started}, passed {load.passed}, failed {load.failed}"
    parts = [f"{counts}, not started {load.skipped}", *(f"{name} {value}" for name, value in load.figures)]
    return "\n".join(parts)


def _case(suite: ElementTree.Element, run: RunRecord, name: str, took: float = 0.0) -> ElementTree.Element:
    return _named_case(suite, run.title, name, took)


def _named_case(suite: ElementTree.Element, whose: str, name: str, took: float) -> ElementTree.Element:
    attributes = {"classname": _clean(whose), "name": _clean(name), "time": f"{max(0.0, took):.3f}"}
    return ElementTree.SubElement(suite, "testcase", attributes)


def _problem(case: ElementTree.Element, kind: str, message: str, text: str) -> None:
    ElementTree.SubElement(case, kind, message=_clean(message)).text = _clean(text)


def _count(element: ElementTree.Element) -> None:
    cases = list(element.iter("testcase"))
    for key, tags in _COUNTED.items():
        found = sum(any(case.find(tag) is not None for tag in tags) for case in cases)
        element.set(key, str(found))
    element.set("tests", str(len(cases)))


def _clean(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold at all."""
    return _NOT_XML.sub("\ufffd", text)
