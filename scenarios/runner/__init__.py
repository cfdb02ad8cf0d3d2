"""Scenarios at work: what a file says is done, and what came of it is judged."""

from scenarios.runner.observer import Nobody, Observer
from scenarios.runner.preflight import check
from scenarios.runner.run import Performance, run
from scenarios.runner.staying import Staying

__all__ = ["Nobody", "Observer", "Performance", "Staying", "check", "run"]
