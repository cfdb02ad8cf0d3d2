"""Which runs leave traces and captures, and where; which are done twice."""

from __future__ import annotations

from pathlib import Path

from scenarios import report
from scenarios.batch.attempt import Job


def watched(jobs: list[Job], out: Path | None, *, trace: bool, twice: bool) -> list[Job]:
    """`jobs` with what is to be recorded of them."""
    titles = [job.title for job in jobs]
    places = report.folders(out, titles) if out is not None else [None] * len(jobs)
    return [
        job._replace(folder=place, trace=trace, twice=twice) for job, place in zip(jobs, places, strict=True)
    ]
