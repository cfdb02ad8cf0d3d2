"""events.jsonl: what happened in a run, one JSON object a line, in the order of time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from scenarios.report.findings import explain
from scenarios.report.record import CallRecord, ComparisonRecord, RunRecord

Event = dict[str, Any]

_ORDER = ("run started", "step started", "fault", "way", "call", "sample", "invariant broken", "step ended")
"""Of those that happened at the same moment; what is not named comes last."""


def events_jsonl(run: RunRecord, comparison: ComparisonRecord | None = None) -> bytes:
    """Every line has `at`, seconds since the run began, and `event`, one of the words in docs/scenarios.md."""
    middle = sorted(_events(run), key=lambda event: (event["at"], _rank(event["event"])))
    events = [_begin(run), *middle, *_end(run)]
    if comparison is not None:
        events.append(_compared(run, comparison))
    return b"".join(msgspec.json.encode(event, enc_hook=float) + b"\n" for event in events)


def _rank(word: str) -> int:
    return _ORDER.index(word) if word in _ORDER else len(_ORDER)


def _begin(run: RunRecord) -> Event:
    return {
        "at": 0.0,
        "event": "run started",
        "name": run.name,
        "cell": run.cell,
        "file": run.file,
        "fabric": run.fabric,
        "seed": run.seed,
        "started_at": run.started_at,
        "pop": run.pop,
        "tunnels": sum(len(vnet.members) for vnet in run.vnets),
    }


def _events(run: RunRecord) -> Iterator[Event]:
    for step in run.steps:
        named = {"step": step.name, "id": step.id, "verb": step.verb}
        if step.started is not None:
            yield {"at": step.started, "event": "step started", **named, "background": step.background}
        if step.ended is not None:
            failed = [explain(check) for check in step.checks if not check.holds]
            yield {
                "at": step.ended,
                "event": "step ended",
                **named,
                "state": step.state,
                "summary": step.summary,
                "error": step.error,
                "failed": failed,
            }
    for fault in run.faults:
        yield {
            "at": fault.at,
            "event": "fault",
            "kind": fault.kind,
            "target": fault.target,
            "text": fault.text,
        }
    for change in run.ways:
        yield {"at": change.at, "event": "way", **_fields(change, "at")}
    for call in run.calls:
        yield _call(run, call)
    for sample in run.samples:
        yield {"at": sample.at, "event": "sample", **_fields(sample, "at")}
    for law in run.invariants:
        if not law.holds:
            at = run.elapsed if law.at is None else law.at
            yield {
                "at": at,
                "event": "invariant broken",
                "id": law.id,
                "text": law.text,
                "details": law.details,
            }


def _call(run: RunRecord, call: CallRecord) -> Event:
    """When it has ended."""
    heard = [_fields(direction, "windows") for direction in call.directions]
    at = run.elapsed if call.ended is None else call.ended
    return {"at": at, "event": "call", **_fields(call, "directions"), "directions": heard}


def _end(run: RunRecord) -> Iterator[Event]:
    for limit in run.thresholds:
        yield {"at": run.elapsed, "event": "threshold", **_fields(limit)}
    reason = run.error or run.stopped_by
    yield {
        "at": run.elapsed,
        "event": "run ended",
        "state": run.state,
        "wall": run.wall,
        "reason": reason,
        "repeat": run.repeat,
    }


def _compared(run: RunRecord, comparison: ComparisonRecord) -> Event:
    """The last line, where the same was run elsewhere too."""
    return {"at": run.elapsed, "event": "compared", **_fields(comparison, "file", "name", "cell", "seed")}


def _fields(record: msgspec.Struct, *without: str) -> Event:
    return {key: value for key, value in msgspec.structs.asdict(record).items() if key not in without}
