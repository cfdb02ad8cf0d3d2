"""The far end of a tunnel, whoever makes it: a task of ours, or a program in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import trio

from connectors.proto import ChoosingEnd, EndpointStatistics, TunnelEnd


class FarEnd(Protocol):
    """One run of it after the other; at most one at a time."""

    on_way: Callable[[str], None] | None
    """Told the word of the way that packets take from now on; empty: none."""

    @property
    def up(self) -> bool:
        """Whether there was a handshake in this run, or, after it, in the last one."""

    @property
    def way(self) -> str:
        """How packets go to the PoP now: h3, h2 or wireguard; empty if they do not."""

    @property
    def core(self) -> TunnelEnd | ChoosingEnd | None:
        """What drives the tunnel, if that is ours to touch."""

    async def run(self, *, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
        """Until it is stopped, or cancelled, which is graceful."""

    async def wait_up(self) -> None: ...

    def statistics(self) -> EndpointStatistics: ...

    def stop(self, *, graceful: bool) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def wake(self) -> None:
        """Somebody gave a host behind it something to do."""

    def moved(self) -> None:
        """Its address has changed."""
