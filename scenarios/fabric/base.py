"""What a fabric is: it brings a world up and says what time it is there."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from edge.metrics import Snapshot
from scenarios.world import World


class Network(Protocol):
    """A world that is up."""

    @property
    def address(self) -> str:
        """Where the PoP listens."""

    def now(self) -> float:
        """The time of this world, in seconds."""

    def wake(self, end: str) -> None:
        """Somebody gave a host behind the tunnel `end` something to do."""

    def snapshot(self) -> Snapshot:
        """What the PoP has counted."""

    def up(self) -> dict[str, bool]:
        """Which tunnels have had a handshake."""

    def handshake_seconds(self) -> dict[str, float]:
        """How long the last handshake of each tunnel took, as the far end saw it."""

    async def wait_up(self) -> None:
        """Until every tunnel is up."""

    async def drain(self) -> None:
        """Until what is on its way has arrived; then nothing new is sent."""


class Fabric(Protocol):
    """Where a scenario runs."""

    @property
    def name(self) -> str: ...

    def bring_up(self, world: World) -> AbstractAsyncContextManager[Network]:
        """The world is up inside the block, and gone after it. FabricUnavailable if this machine cannot."""
