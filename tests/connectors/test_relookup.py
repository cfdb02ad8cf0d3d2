"""Names looked up again: only while nobody answers, ever more rarely, and never in the way of anything else."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from connectors.relookup import FIRST_PAUSE, GLANCE, LONGEST_PAUSE, Relookup
from connectors.resolve import Dialled
from edge.errors import FabricUnavailable, PoplabError

OLD, NEW = Dialled(("192.0.2.1", 51820), ()), Dialled(("192.0.2.2", 51820), ())


class Names:
    """What a lookup brings, and when there was one."""

    def __init__(self) -> None:
        self.answers = True
        self.comes_up = False  # during the lookup
        self.result: Dialled | PoplabError = NEW
        self.found: list[float] = []
        self.failed: list[float] = []
        self.relookup = Relookup(self.look_up, lambda: self.answers)

    async def look_up(self) -> tuple[Dialled, ...]:
        await trio.sleep(1)
        if self.comes_up:
            self.answers = True
        if isinstance(self.result, PoplabError):
            raise self.result
        return (self.result,)


@asynccontextmanager
async def names() -> AsyncIterator[Names]:
    one = Names()
    begin = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            one.relookup.follow,
            lambda candidates: one.found.append(trio.current_time() - begin),
            lambda error: one.failed.append(trio.current_time() - begin),
        )
        yield one
        nursery.cancel_scope.cancel()


async def test_nothing_is_looked_up_while_there_are_answers(autojump_clock: trio.testing.MockClock):
    async with names() as one:
        await trio.sleep(10_000)
        for _ in range(100):  # nor for a moment without
            one.answers = False
            await trio.sleep(FIRST_PAUSE - 2 * GLANCE)
            one.answers = True
            await trio.sleep(2 * GLANCE)
        assert one.found == one.failed == []


async def test_after_a_while_without_it_is_and_then_ever_more_rarely(autojump_clock: trio.testing.MockClock):
    async with names() as one:
        one.answers = False
        await trio.sleep(10_000)
        times = [0.0, *one.found]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert all(gap >= FIRST_PAUSE for gap in gaps) and gaps == sorted(gaps)
        assert gaps[0] <= FIRST_PAUSE + GLANCE and gaps[-1] <= LONGEST_PAUSE + 2 * GLANCE
        one.answers = True
        await trio.sleep(100)
        before = len(one.found)
        one.answers = False
        await trio.sleep(FIRST_PAUSE + 2 * GLANCE)
        assert len(one.found) == before + 1


async def test_a_lookup_that_fails_is_said_and_tried_again(autojump_clock: trio.testing.MockClock):
    async with names() as one:
        one.answers = False
        one.result = FabricUnavailable("pop.example.net: Name or service not known")
        await trio.sleep(1000)
        assert 3 < len(one.failed) < 10 and one.found == []


async def test_what_has_come_up_meanwhile_is_left_in_peace(autojump_clock: trio.testing.MockClock):
    async with names() as one:
        one.answers, one.comes_up = False, True
        await trio.sleep(1000)
        assert one.answers and one.found == []


async def test_in_another_network_it_is_asked_sooner(autojump_clock: trio.testing.MockClock):
    async with names() as one:
        one.answers = False
        await trio.sleep(2000)
        before = len(one.found)
        one.relookup.hurry()
        await trio.sleep(FIRST_PAUSE + 2 * GLANCE)
        assert len(one.found) == before + 1
