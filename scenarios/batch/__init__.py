"""One command, many runs: which scripts are meant, and how each runs in a process of its own."""

from __future__ import annotations

from scenarios.batch.attempt import Job, attempt, until_interrupted
from scenarios.batch.board import Board, LiveBoard, PlainBoard, board
from scenarios.batch.comparing import comparisons
from scenarios.batch.pool import Pool
from scenarios.batch.selection import fabrics, jobs, select, select_file
from scenarios.batch.watching import watched

__all__ = [
    "Board",
    "Job",
    "LiveBoard",
    "PlainBoard",
    "Pool",
    "attempt",
    "board",
    "comparisons",
    "fabrics",
    "jobs",
    "select",
    "select_file",
    "until_interrupted",
    "watched",
]
