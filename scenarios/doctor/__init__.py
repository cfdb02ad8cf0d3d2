"""What this machine can do, and how to get what is missing: tried in earnest, and nothing of the machine is changed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from scenarios.doctor.catalogue import CATALOGUE, any_program
from scenarios.doctor.examination import Examination
from scenarios.doctor.finding import Finding, Group, State
from scenarios.doctor.machine import Attempt, Machine
from scenarios.doctor.programs import OTHERS, PROGRAMS, Program, program

__all__ = [
    "NAMES",
    "PROGRAM_NAMES",
    "Attempt",
    "Finding",
    "Group",
    "Machine",
    "Program",
    "State",
    "UnknownName",
    "examine",
    "find_program",
    "missing",
    "program",
    "way_to",
]

NAMES = tuple(CATALOGUE)
"""All that can be asked for."""
PROGRAM_NAMES = frozenset({*OTHERS, *(known.name for known in PROGRAMS)})
"""Of programs that the doctor knows how to get."""


class UnknownName(ValueError):
    """The doctor has no such finding."""


def examine(
    names: Iterable[str] | None = None, *, machine: Machine | None = None, versions: bool = True
) -> list[Finding]:
    """Findings of these names in this order, or all; the name of a group stands for what is in it.

    Takes a tenth of a second, a little more with the `versions` of programs. Raises UnknownName.
    """
    wanted = NAMES if names is None else _expand(names)
    look = Examination(CATALOGUE, wanted, machine or Machine(), versions=versions)
    return [look.finding(name) for name in wanted]


def missing(*names: str, machine: Machine | None = None) -> list[Finding]:
    """Those of them that are not there at all. Only what they depend on is tried."""
    return [finding for finding in examine(names, machine=machine, versions=False) if not finding.there]


def find_program(name: str, *, machine: Machine | None = None) -> Finding:
    """As for the programs of the catalogue, for any program."""
    item = CATALOGUE.get(name)
    if item is None or item.program is None:
        item = any_program(program(name))
    return Examination({name: item}, [name], machine or Machine(), versions=False).finding(name)


def way_to(name: str) -> str:
    """How to get a program that is not here: a command, or words."""
    distribution = Examination({}, [], Machine(), versions=False).distribution
    return program(name.rpartition("/")[2]).install(distribution)


def _expand(names: Iterable[str]) -> list[str]:
    found = []
    for name in names:
        group = [item.name for item in CATALOGUE.values() if item.group == name]
        if not group and name not in CATALOGUE:
            known = [*Group, *CATALOGUE]
            close = difflib.get_close_matches(name, known, n=1)
            raise UnknownName(f"{name}: " + (f"did you mean {close[0]}?" if close else "no such finding"))
        found += group or [name]
    return list(dict.fromkeys(found))
