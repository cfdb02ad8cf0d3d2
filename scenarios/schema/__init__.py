"""The language of scenario files, and how a file becomes checked scripts, one for each cell of its matrix."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

from msgspec import structs

from edge import document
from edge.document import Document, Mismatch, Path, convert, differences
from edge.errors import ConfigError, Problem
from scenarios.schema import editors, semantics
from scenarios.schema.assemble import Assembly, Cell, assemble, cells, substituted, written
from scenarios.schema.cast import Actor, Cast
from scenarios.schema.expand import Expansion, expand, too_many
from scenarios.schema.language import Scenario, Step
from scenarios.schema.omit import without
from scenarios.schema.semantics import GLOBAL_NAMES
from scenarios.schema.topology import TUNNEL_WORDS, Connector, TunnelWord, own_tunnel

__all__ = [
    "GLOBAL_NAMES",
    "TUNNEL_WORDS",
    "Actor",
    "Cast",
    "Cell",
    "Connector",
    "Reading",
    "Scenario",
    "Script",
    "Step",
    "json_schema",
    "load",
    "raise_if",
    "read",
    "written",
]


@dataclass(frozen=True, slots=True)
class Script:
    """A checked scenario, everything counted in it written out, and the way back to its text."""

    scenario: Scenario
    cast: Cast
    cell: Cell
    """The values of the matrix in it, and what was set besides."""
    places: Assembly
    expansion: Expansion
    vague: frozenset[Path] = frozenset()
    """Parts with a mistake of form, which are left out here."""

    @property
    def file(self) -> str:
        return self.places.file

    @property
    def title(self) -> str:
        """The name of the scenario, and of the cell if there are several."""
        values = ", ".join(f"{name}={value}" for name, value in self.cell.items())
        return f"{self.scenario.name} [{values}]" if values else self.scenario.name

    def command(self, fabric: str, seed: int) -> str:
        """What to type in a shell to run this, and of a matrix only this cell, again."""
        words = ["poplab", "run", self.file]
        for axis, value in self.cell.items():
            words += ["--set", f"{axis}={written(value)}"]
        words += ["--seed", str(seed)]
        if fabric != self.scenario.fabrics[0]:
            words += ["--fabric", fabric]
        return shlex.join(words)

    def with_tunnel(self, word: TunnelWord) -> Script:
        """The same, with connectors and clients of that kind where they name none themselves, whatever the top says."""
        topology = self.scenario.topology
        words = [own_tunnel(client) for client in topology.clients.values()]
        for site in topology.sites.values():  # without connectors it has one that names nothing
            words += [own_tunnel(each) for each in site.connectors.values()] or [None]
        if None not in words or word == self.scenario.tunnel:
            return self  # nothing changes, and the title claims nothing
        scenario = structs.replace(self.scenario, tunnel=word)
        return replace(self, scenario=scenario, cell={**self.cell, "tunnel": word})

    def problem(self, path: Path, message: str, fix: str = "") -> Problem:
        """A problem with a value of the scenario, where it was written."""
        return self.places.problem(self.expansion.place(path), message, fix)

    @property
    def step_places(self) -> list[str]:
        """Where each step was written, as FILE:LINE."""
        found = [self.problem(("steps", index), "") for index in range(len(self.scenario.steps))]
        return [f"{each.file}:{each.line}" for each in found]

    def is_vague(self, path: Path) -> bool:
        """Whether a mistake of form lies in `path`, or the other way round."""
        return any(part[: len(path)] == path or path[: len(part)] == part for part in self.vague)


@dataclass(frozen=True, slots=True)
class Reading:
    """What could be made of a file, and everything that is wrong with it so far."""

    scripts: tuple[Script, ...]
    problems: dict[Problem, None]


def load(source: FilePath | str, file: str = "<text>") -> tuple[Script, ...]:
    """The scenario in `source`, a path or the text itself, for each cell of its matrix.

    ConfigError with everything that is wrong; what is wrong in every cell is said once.
    """
    reading = read(source, file)
    raise_if(reading.problems)
    return reading.scripts


def read(source: FilePath | str, file: str = "<text>") -> Reading:
    """The same, for who has more to check: scripts with mistakes are there too if one can make sense of them."""
    if isinstance(source, FilePath):
        whole, found = assemble(Document.read(source), source.parent)
    else:
        whole, found = assemble(Document(source, file), None)
    problems = dict.fromkeys(found)
    scripts: list[Script] = []
    try:
        several = cells(whole)
    except ConfigError as error:
        return Reading((), {**problems, **dict.fromkeys(error.problems)})
    for cell in several:
        places, unknown = substituted(whole, cell)
        problems.update(dict.fromkeys(unknown))
        script = _script(places, cell, problems)
        if script is not None:
            scripts.append(script)
    return Reading(tuple(scripts), problems)


def raise_if(problems: Iterable[Problem]) -> None:
    """ConfigError with `problems`, as they follow one another in the file, if there are any."""
    found = sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))
    if found:
        raise ConfigError(found)


def _script(places: Assembly, cell: Cell, problems: dict[Problem, None]) -> Script | None:
    """One cell; None if its form is so wrong that looking at its meaning would lead to false complaints."""
    wrong = [each for each in differences(places.data, Scenario) if not _excused(each, places)]
    problems.update(
        dict.fromkeys(places.problem(path, text, fix, key=at_key) for path, text, fix, at_key in wrong)
    )
    if places.incomplete:
        return None
    vague = frozenset(each.path for each in wrong)
    data = without(places.data, wrong) if wrong else places.data
    if data is None:
        return None
    try:
        scenario = convert(data, Scenario, places)
    except ConfigError as error:
        if not wrong:
            problems.update(dict.fromkeys(error.problems))
        return None
    crowd = too_many(scenario)
    if crowd is not None:
        problems[places.problem(*crowd)] = None
        return None
    expansion = expand(scenario)
    cast = Cast(expansion.scenario, expansion.groups)
    script = Script(expansion.scenario, cast, cell, places, expansion, vague)
    problems.update(dict.fromkeys(script.problem(*misfit) for misfit in expansion.misfits))
    said: set[Path] = set()
    for finding in semantics.check(script.scenario, script.cast):
        path = expansion.place(finding.path)
        if script.is_vague(path) or (path != finding.path and path in said):
            continue  # the copies of a counted part have their mistakes in common
        said.add(path)
        problems[script.problem(*finding)] = None
    return script


def _excused(mismatch: Mismatch, places: Assembly) -> bool:
    """What nobody can know: the template is missing, or the value of the matrix."""
    return any(mismatch.path[: len(part)] == part for part in places.incomplete)


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft-07) of scenario files, for editors."""
    return editors.draft_07(document.schema(Scenario))
