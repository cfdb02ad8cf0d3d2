"""The language of scenario files, and how a file becomes checked scripts, one for each cell of its matrix."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from edge import document
from edge.document import Document, Path, convert
from edge.errors import ConfigError, Problem
from scenarios.schema import semantics
from scenarios.schema.assemble import Assembly, Cell, assemble, cells, substituted
from scenarios.schema.cast import Actor, Cast
from scenarios.schema.expand import DoesNotFit, Expansion, expand
from scenarios.schema.language import Scenario, Step
from scenarios.schema.semantics import GLOBAL_NAMES
from scenarios.schema.topology import Connector

__all__ = [
    "GLOBAL_NAMES",
    "Actor",
    "Cast",
    "Cell",
    "Connector",
    "Scenario",
    "Script",
    "Step",
    "json_schema",
    "load",
]

SCHEMA_FILE = "scenario.v1.json"


@dataclass(frozen=True, slots=True)
class Script:
    """A checked scenario, everything counted in it written out, and the way back to its text."""

    scenario: Scenario
    cast: Cast
    cell: Cell
    """The values of the matrix in it."""
    places: Assembly
    expansion: Expansion

    @property
    def file(self) -> str:
        return self.places.file

    @property
    def title(self) -> str:
        """The name of the scenario, and of the cell if there are several."""
        values = ", ".join(f"{name}={value}" for name, value in self.cell.items())
        return f"{self.scenario.name} [{values}]" if values else self.scenario.name

    def problem(self, path: Path, message: str, fix: str = "") -> Problem:
        """A problem with a value of the scenario, where it was written."""
        return self.places.problem(self.expansion.place(path), message, fix)


def load(source: FilePath | str, file: str = "<text>") -> tuple[Script, ...]:
    """The scenario in `source`, a path or the text itself, for each cell of its matrix.

    ConfigError with everything that is wrong; what is wrong in every cell is said once.
    """
    if isinstance(source, FilePath):
        whole = assemble(Document.read(source), source.parent)
    else:
        whole = assemble(Document(source, file), None)
    scripts: list[Script] = []
    problems: dict[Problem, None] = {}
    for cell in cells(whole):
        try:
            scripts.append(_script(substituted(whole, cell), cell))
        except ConfigError as error:
            problems.update(dict.fromkeys(error.problems))
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column)))
    return tuple(scripts)


def _script(places: Assembly, cell: Cell) -> Script:
    scenario = convert(places.data, Scenario, places)
    try:
        expansion = expand(scenario)
    except DoesNotFit as error:
        raise ConfigError([places.problem(error.path, str(error), error.fix)]) from error
    script = Script(expansion.scenario, Cast(expansion.scenario, expansion.groups), cell, places, expansion)
    problems = {script.problem(*finding): None for finding in semantics.check(script.scenario, script.cast)}
    if problems:
        raise ConfigError(list(problems))
    return script


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft-07) of scenario files, for editors."""
    schema = document.schema(Scenario)
    text = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    for name in ("Host", "Client", "Site", "Connector", "Step"):
        part = schema["$defs"][name]
        part["properties"]["use"] = {
            **text,
            "description": "templates of this file whose keys hold where none is given",
        }
        part.pop("required", None)  # a template may have it
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": f"https://poplab.invalid/schemas/{SCHEMA_FILE}",
        "title": "poplab scenario",
        **_draft_07(schema),
    }


def _draft_07(schema: Any) -> Any:
    """Draft 2020-12 says `$defs`, draft-07 `definitions`; a `$ref` there has no neighbours."""
    if isinstance(schema, list):
        return [_draft_07(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        reference = {"$ref": schema["$ref"].replace("#/$defs/", "#/definitions/")}
        others = {key: _draft_07(value) for key, value in schema.items() if key != "$ref"}
        return {"allOf": [reference], **others} if others else reference
    return {("definitions" if key == "$defs" else key): _draft_07(value) for key, value in schema.items()}
