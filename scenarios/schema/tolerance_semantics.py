"""What a file ignores when it runs on several fabrics: facts that there can be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edge.document import did_you_mean
from scenarios.schema.cast import Cast
from scenarios.schema.language import Scenario
from scenarios.schema.places import Finding
from scenarios.schema.tolerance import GROUPS


def check(scenario: Scenario, cast: Cast) -> Iterator[Finding]:
    """The first word of each name is a group of facts, the next something of this file."""
    steps = [step.id or str(number) for number, step in enumerate(scenario.steps, 1)]
    known = {
        "steps": steps,
        "hosts": [*cast.actors],
        "tunnels": [*cast.tunnels],
        "ways": [*cast.tunnels],
        "vnets": [*scenario.vnets],
        "loads": [*scenario.load],
    }
    for index, name in enumerate(scenario.differences.ignore):
        group, _, rest = name.partition(".")
        if "*" in group:
            continue
        path = ("differences", "ignore", index)
        if group not in GROUPS:
            yield Finding(path, f"no fact is called {name!r}", did_you_mean(group, GROUPS))
        elif rest and "*" not in rest and group in known and not _begins(rest, known[group]):
            yield Finding(path, f"no fact is called {name!r}", did_you_mean(rest, known[group]))


def _begins(rest: str, names: Iterable[str]) -> bool:
    """Names may have points in them, so where one ends cannot be seen in `rest`."""
    return any(f"{rest}.".startswith(f"{name}.") for name in names)
