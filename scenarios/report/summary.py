"""The Markdown that a CI system shows on the page of a job."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from scenarios.report.findings import differences, findings
from scenarios.report.record import ComparisonRecord, LoadRecord, RunRecord, State

_SIGNS = {
    State.PASSED: "✅ passed",
    State.FAILED: "❌ failed",
    State.ERROR: "💥 error",
    State.INTERRUPTED: "⏹ interrupted",
    State.SKIPPED: "⏭ skipped",
    State.UNAVAILABLE: "🚫 not available",
}
MAX_REASON = 400
MAX_BYTES = 900_000
"""GitHub takes a mebibyte for each step, and nothing of a greater one."""


def step_summary(runs: list[RunRecord], comparisons: Sequence[ComparisonRecord] = ()) -> str:
    """A table with a line for each run, what comparisons came to, and how to do again what did not pass."""
    passed = sum(run.state is State.PASSED for run in runs)
    counted = [run for run in runs if run.state is not State.SKIPPED]
    lines = [f"### poplab: {passed} of {len(counted)} passed", ""]
    lines += ["| scenario | result | time | worst MOS | why |", "| --- | --- | ---: | ---: | --- |"]
    size = 0
    for run in runs:
        scores = [d.mos for call in run.calls for d in call.directions if d.mos is not None]
        why = "; ".join(f"{found.where}: {found.text}" for found in findings(run))
        cells = (
            escaped(run.title),
            _SIGNS.get(run.state, run.state),
            took(run),
            f"{min(scores):.2f}" if scores else "",
            escaped(why[:MAX_REASON]),
        )
        line = f"| {' | '.join(cells)} |"
        size += len(line.encode()) + 200
        if size > MAX_BYTES:
            lines.append("| and more |  |  |  | see results.json |")
            break
        lines.append(line)
    lines += _compared(comparisons, MAX_BYTES - size)
    bad: list[RunRecord | ComparisonRecord] = [*runs, *comparisons]
    bad = [each for each in bad if each.state not in (State.PASSED, State.SKIPPED) and each.repeat]
    if bad:
        lines += [
            "",
            "Again:",
            "",
            "```sh",
            *(re.sub(r"[\r\n`]", " ", each.repeat) for each in bad[:20]),
            "```",
        ]
    return "\n".join(lines) + "\n"


def _compared(comparisons: Sequence[ComparisonRecord], room: int) -> Iterator[str]:
    if not comparisons:
        return
    yield from ("", "| compared | result | facts | differences |", "| --- | --- | ---: | --- |")
    for each in comparisons:
        found = "; ".join(difference.text for difference in differences(each)) or each.reason
        cells = (
            escaped(each.title),
            _SIGNS.get(each.state, each.state),
            str(each.facts),
            escaped(found[:MAX_REASON]),
        )
        line = f"| {' | '.join(cells)} |"
        room -= len(line.encode()) + 200
        if room < 0:
            yield "| and more |  |  | see results.json |"
            return
        yield line


def took(run: RunRecord) -> str:
    """How long, in the world's time and, where that is not ours, in ours."""
    return lasts(run.elapsed, run.wall, virtual=run.virtual)


def lasts(elapsed: float, wall: float, *, virtual: bool) -> str:
    """The same of a run that goes on: so long until now."""
    return f"{elapsed:.1f} s virtual, {wall:.1f} s wall" if virtual else f"{elapsed:.1f} s"


def figures(load: LoadRecord) -> Iterator[str]:
    """A line for each quantity: setup p50 51 ms, p95 54 ms."""
    lines: dict[str, list[str]] = {}
    for name, value in load.figures:
        quantity, _, percentile = name.rpartition(" ")
        lines.setdefault(quantity, []).append(f"{percentile} {value}")
    for quantity, parts in lines.items():
        yield f"{quantity} {', '.join(parts)}".strip()


def escaped(text: str) -> str:
    """As it is, in a cell of a table: neither Markdown nor HTML."""
    plain = re.sub(r"([\\`*_{}\[\]<>()#!|~@$&])", r"\\\1", " ".join(text.split()))
    return plain.replace("://", ":\u200b//")  # and no link


def aligned(table: list[list[str]]) -> list[str]:
    """A line for each row, columns below each other."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
