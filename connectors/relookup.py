"""The names of servers looked up again while nobody answers: a PoP may have got another address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio

from connectors.resolve import Dialled
from edge.errors import PoplabError
from edge.proto.types import NEVER

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 300.0
"""Seconds without an answer until names are looked up, and then again: doubled each time."""

GLANCE = 5.0
"""Seconds between two looks at whether there is an answer."""


class Relookup:
    """`look_up` may raise PoplabError. `answers` says how the tunnel goes."""

    def __init__(
        self, look_up: Callable[[], Awaitable[Sequence[Dialled]]], answers: Callable[[], bool]
    ) -> None:
        self._look_up = look_up
        self._answers = answers
        self._silent_since = NEVER
        self._pause = FIRST_PAUSE

    def hurry(self) -> None:
        """Another network may know other addresses: begin again with the shortest pause."""
        self._pause = FIRST_PAUSE

    async def follow(
        self, found: Callable[[Sequence[Dialled]], None], failed: Callable[[PoplabError], None]
    ) -> None:
        """Call one of the two after each lookup, for ever; none if the tunnel has come up meanwhile."""
        while True:
            await trio.sleep(GLANCE)
            if self._answers():
                self._silent_since, self._pause = NEVER, FIRST_PAUSE
                continue
            now = trio.current_time()
            self._silent_since = min(self._silent_since, now - GLANCE)
            if now < self._silent_since + self._pause:
                continue
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
            try:
                candidates = await self._look_up()
            except PoplabError as error:
                failed(error)
            else:
                if not self._answers():
                    found(candidates)
            self._silent_since = trio.current_time()
