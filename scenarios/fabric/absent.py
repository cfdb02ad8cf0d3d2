"""A fabric that the language knows and this machine does not have."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NoReturn, TypeVar

from edge.errors import FabricUnavailable
from scenarios.fabric.base import Network
from scenarios.fabric.door import Door
from scenarios.world import World

T = TypeVar("T")


class Absent:
    """Says so as soon as somebody wants to run something there."""

    virtual = False

    def __init__(self, name: str) -> None:
        self.name = name

    def prepare(self) -> None:
        self._refuse()

    def execute(self, main: Callable[[], Awaitable[T]], *, seed: int) -> T:
        self._refuse()

    def bring_up(self, world: World, door: Door | None = None) -> AbstractAsyncContextManager[Network]:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise FabricUnavailable(f"there is no fabric {self.name} on this machine")
