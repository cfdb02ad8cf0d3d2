"""Scenarios at work: what a file says is done, and what came of it is judged."""

from scenarios.runner.preflight import check
from scenarios.runner.run import Nobody, Observer, run

__all__ = ["Nobody", "Observer", "check", "run"]
