"""One mistake in a configuration."""

from __future__ import annotations

from typing import NamedTuple

from edge.document import Path


class Finding(NamedTuple):
    """`path` is where in edge.yaml, as in ``("tunnels", "hq", "routes", 0)``."""

    path: Path
    message: str
    fix: str = ""
    other: Path = ()  # the other half of a contradiction
