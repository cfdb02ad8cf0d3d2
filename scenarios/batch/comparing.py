"""Runs of one script on several fabrics, put together again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scenarios.batch.attempt import Job
from scenarios.comparison import compared
from scenarios.report import ComparisonRecord, RunRecord


def comparisons(jobs: Sequence[Job], runs: Sequence[RunRecord]) -> list[ComparisonRecord]:
    """One for each script that ran on several fabrics; `jobs` has all of a script one after the other, like `runs`."""
    return list(_comparisons(jobs, runs))


def _comparisons(jobs: Sequence[Job], runs: Sequence[RunRecord]) -> Iterator[ComparisonRecord]:
    at = 0
    while at < len(jobs):
        job = jobs[at]
        size = len(job.beside) or 1
        if job.beside:
            repeat = job.script.command(",".join(job.beside), job.seed)
            allowed = job.script.scenario.differences
            yield compared(runs[at : at + size], job.beside, allowed, repeat)
        at += size
