"""Worlds for tests in Python: the same pieces as a scenario file, one call at a time."""

from scenarios.lab.clock import LabClock
from scenarios.lab.source import Source, script_of
from scenarios.lab.world import Done, LabWorld, StepFailed, open_world, run_file

__all__ = [
    "Done",
    "LabClock",
    "LabWorld",
    "Source",
    "StepFailed",
    "open_world",
    "run_file",
    "script_of",
]
