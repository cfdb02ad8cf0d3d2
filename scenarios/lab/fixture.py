"""What tests get by the name `poplab_world`: it makes worlds, and is the clock that they need.

pytest-trio runs a test under the one argument of it that is a clock: so nothing has to be set up for virtual time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import trio

from scenarios.lab.clock import LabClock
from scenarios.lab.source import Source
from scenarios.lab.world import LabWorld, open_world

T = TypeVar("T")


class WorldMaker(LabClock):
    """Call it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def __call__(
        self,
        scenario: Source,
        *,
        seed: int | None = None,
        fabric: str = "sim",
        cell: Mapping[str, Any] | None = None,
    ) -> AbstractAsyncContextManager[LabWorld]:
        """The world of `scenario`: a path (also beside the test), the text of a file, or plain data."""
        return open_world(scenario, seed=seed, fabric=fabric, cell=cell, folder=self._folder)

    def run(self, scenario: Source, main: Callable[[LabWorld], Awaitable[T]], **options: Any) -> T:
        """For tests without trio: ``await main(world)`` under a ``trio.run`` of its own; `options` as above."""

        async def inside() -> T:
            async with self(scenario, **options) as world:
                return await main(world)

        return trio.run(inside, clock=self)
