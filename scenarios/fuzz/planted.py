"""Bugs on purpose: POPLAB_PLANTED_BUG=NAME breaks the product in a source checkout, to see whether it is noticed.

A plant is a file of tests/planted/ with a function ``plant(put)``; ``put(owner, name, value)`` replaces an attribute.
Plants are applied by the shell when it starts, in every process of a campaign. A build without its tests refuses.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.document import did_you_mean
from edge.errors import Refused

VARIABLE = "POPLAB_PLANTED_BUG"
PLANTS = Path(__file__).parents[2] / "tests" / "planted"

Put = Callable[[Any, str, Any], None]


def plants() -> list[str]:
    """Every bug that can be planted here."""
    return sorted(file.stem for file in PLANTS.glob("*.py") if not file.stem.startswith("_"))


def plant(name: str, put: Put = setattr, *, hidden: bool = False) -> None:
    """Break the product; Refused where that is not to be had. `hidden`: what is only a part of a bug."""
    if not PLANTS.is_dir():
        raise Refused(
            f"{VARIABLE} is set, but this is no source checkout: it has no {PLANTS.name} bugs to plant"
        )
    if not hidden and name not in plants():
        raise Refused(f"{VARIABLE}: there is no bug {name!r}; {did_you_mean(name, plants())}")
    runpy.run_path(str(PLANTS / f"{name}.py"))["plant"](put)


def from_environment(*, loud: bool = True) -> str | None:
    """Plant what the environment asks for; the name, or None."""
    name = os.environ.get(VARIABLE)
    if not name:
        return None
    plant(name)
    if loud:
        print(f"!!! {VARIABLE}={name}: this poplab is broken on purpose !!!", file=sys.stderr)
    return name
