"""Scenarios as tests name them: a path, a text, or plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge.errors import ConfigError, Problem
from scenarios import runner
from scenarios.schema import Script

Source = Path | str | Mapping[str, Any]
"""A file, the text of one, or what it would hold."""


def scripts_of(source: Source, folder: Path | None = None) -> tuple[Script, ...]:
    """Every matrix cell of `source`. A path is looked for here, and in `folder`. ConfigError."""
    if isinstance(source, Mapping):
        return runner.check(as_text(source), "<data>")
    if isinstance(source, str) and ("\n" in source or ":" in source):
        return runner.check(source)
    path = Path(source)
    if not path.exists() and folder is not None and (folder / path).exists():
        path = folder / path
    return runner.check(path)


def script_of(source: Source, cell: Mapping[str, Any] | None = None, folder: Path | None = None) -> Script:
    """The one script, or that of the matrix cell that has all of `cell`. ConfigError if that is not one."""
    scripts = scripts_of(source, folder)
    wanted = dict(cell or {})
    found = [script for script in scripts if wanted.items() <= dict(script.cell).items()]
    if len(found) == 1:
        return found[0]
    cells = "; ".join(str(dict(script.cell)) for script in scripts[:10])
    text = f"{len(found)} cells of the matrix have {wanted}" if wanted else f"there are {len(scripts)} cells"
    raise ConfigError([Problem(scripts[0].file, 0, 0, text, f"name one with cell=: {cells}")])


def as_text(data: Mapping[str, Any]) -> str:
    """JSON, which is YAML."""
    return json.dumps(data, indent=2, ensure_ascii=False)
