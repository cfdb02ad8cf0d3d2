"""The language of scenario files, and how a file becomes a `Scenario`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge import document
from edge.document import Document
from edge.errors import ConfigError
from scenarios.schema import semantics
from scenarios.schema.cast import Actor, Cast
from scenarios.schema.language import Connector, Scenario, Step
from scenarios.schema.semantics import GLOBAL_NAMES

__all__ = ["GLOBAL_NAMES", "Actor", "Cast", "Connector", "Scenario", "Script", "Step", "json_schema", "load"]


@dataclass(frozen=True, slots=True)
class Script:
    """A checked scenario together with its text, so that later mistakes can be placed too."""

    scenario: Scenario
    cast: Cast
    document: Document

    @property
    def file(self) -> str:
        return self.document.file


def load(source: Path | str, file: str = "<text>") -> Script:
    """The scenario in `source`, a path or the text itself; ConfigError with everything that is wrong."""
    text = Document.read(source) if isinstance(source, Path) else Document(source, file)
    scenario = text.decode(Scenario)
    problems = [text.problem(path, message, fix) for path, message, fix in semantics.check(scenario)]
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: (problem.line, problem.column)))
    return Script(scenario, Cast(scenario), text)


def json_schema() -> dict[str, Any]:
    """JSON Schema of scenario files, for editors."""
    return {
        "$id": "https://poplab.invalid/schemas/scenario.v1.json",
        "title": "poplab scenario",
        **document.schema(Scenario),
    }
