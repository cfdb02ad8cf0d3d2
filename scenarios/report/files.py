"""The files of ``--out``: each complete, or not there at all."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec

from edge.errors import PoplabError, Refused
from scenarios.report.events import events_jsonl
from scenarios.report.html import index_html, report_html
from scenarios.report.junit import junit_xml
from scenarios.report.record import ComparisonRecord, ResultsRecord, RunRecord

KINDS = frozenset({"junit", "json", "html", "events"})
"""What a scenario may want under `outputs.report`, and gets unless it says otherwise."""

MAX_SLUG = 80


class Unwritable(PoplabError):
    """A report that was wanted could not be written."""


def write(
    directory: Path,
    runs: Sequence[RunRecord],
    kinds: Sequence[Collection[str]] | None = None,
    comparisons: Sequence[ComparisonRecord] = (),
) -> list[Path]:
    """Write the reports into `directory`, made if missing; returns what was written. OSError if that is impossible.

    `kinds` is what each run wants; `comparisons` are between some of the runs. One junit.xml and one results.json hold
    everything. report.html and events.jsonl of a run are in `folders(...)`; if there are several runs, `directory` has
    a report.html that leads to them.
    """
    wanted = [KINDS] * len(runs) if kinds is None else kinds
    together = {kind for each in wanted for kind in each}
    places = folders(directory, [run.title for run in runs])
    written = []
    directory.mkdir(parents=True, exist_ok=True)
    if "json" in together:
        written.append(_replace(directory / "results.json", results_json(runs, comparisons)))
    if "junit" in together:
        written.append(_replace(directory / "junit.xml", junit_xml(list(runs), comparisons)))
    for run, place, each in zip(runs, places, wanted, strict=True):
        if {"events", "html"} & set(each):
            place.mkdir(exist_ok=True)
        comparison = next((found for found in comparisons if found.is_of(run)), None)
        if "events" in each:
            written.append(_replace(place / "events.jsonl", events_jsonl(run, comparison)))
        if "html" in each:
            written.append(_replace(place / "report.html", report_html(run, comparison)))
    if "html" in together and len(runs) > 1:
        links = [place.name if "html" in each else "" for place, each in zip(places, wanted, strict=True)]
        written.append(_replace(directory / "report.html", index_html(list(runs), links, comparisons)))
    return written


def folders(directory: Path, titles: Sequence[str]) -> list[Path]:
    """Where the files of each run go: `directory` itself if there is one run, else a folder for each title."""
    if len(titles) == 1:
        return [directory]
    taken: set[str] = set()
    places = []
    for title in titles:
        base = slug = _slug(title)
        number = 1
        while slug.lower() in taken:
            number += 1
            slug = f"{base}-{number}"
        taken.add(slug.lower())
        places.append(directory / slug)
    return places


def prepare(directory: Path) -> None:
    """Find out before a run whether reports can be written; Refused with the reason if not."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        text = error.strerror or str(error)
        raise Refused(f"cannot write reports into {directory}: {text}; choose another --out") from error


def results_json(runs: Sequence[RunRecord], comparisons: Sequence[ComparisonRecord] = ()) -> bytes:
    """All runs in the shape of `ResultsRecord`."""
    results = ResultsRecord(runs=list(runs), comparisons=list(comparisons))
    return msgspec.json.format(msgspec.json.encode(results, enc_hook=_number), indent=2) + b"\n"


def _number(value: object) -> float:
    """Numbers with a unit are plain numbers in JSON: seconds, and parts of one."""
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"a report cannot hold {type(value).__name__}")


def _slug(title: str) -> str:
    """A file name that every system takes and no shell minds."""
    return re.sub(r"[^A-Za-z0-9=._-]+", "-", title).strip("-.")[:MAX_SLUG] or "run"


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
