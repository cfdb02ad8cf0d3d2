"""What may be different when a file runs on several fabrics: tolerances, and facts that do not matter."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edge.document import Duration
from scenarios.schema.scalars import Share
from scenarios.schema.words import Section, written

GROUPS = (
    "run", "steps", "expect", "calls", "sightings", "invariants", "thresholds", "loads", "faults", "ways", "masque",
    "vnets", "tunnels", "hosts",
)  # fmt: skip
"""What the facts of a run are about: the first word of their names."""


class Tolerance(Section, frozen=True, kw_only=True):
    """How far figures may lie apart. What is no figure is equal or not."""

    time: Duration = written(Duration(0.25))
    """Times may differ by this and, besides, by `ratio` of the longer one."""
    ratio: Share = written(Share(0.25))
    mos: Annotated[float, msgspec.Meta(ge=0, le=4)] = 0.3
    loss: Share = written(Share(0.02))
    """Percentage points."""
    count: Share = written(Share(0.2))
    """What is sent again, or dropped, may differ by this part of the greater number, and always by two."""


class Differences(Section, frozen=True, kw_only=True):
    """For `--fabric` with several: what does not count as a difference."""

    tolerance: Tolerance = written(Tolerance())
    ignore: tuple[str, ...] = ()
    """Names of facts, such as steps.ask.rtt_max, or of all below one, such as vnets.acme.drops; `*` is any part."""
