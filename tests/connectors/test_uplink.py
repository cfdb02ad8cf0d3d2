"""Another network under the feet of a daemon, told by hand in virtual time; by a kernel in tests/interop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing

from connectors.uplink import CALM, LONGEST_PAUSE, SETTLING, Uplink, source_towards
from edge.proto.types import Address

POP, OTHER = ("192.0.2.1", 51820), ("192.0.2.2", 443)
HOME, STREET, TRAIN = "198.51.100.7", "203.0.113.9", "203.0.113.99"


class Machine:
    """Has a source address towards each PoP; changes of the network are told to whoever waits."""

    def __init__(self) -> None:
        self.sources: dict[Address, str] = {POP: HOME, OTHER: HOME}
        self.looks = 0
        self.moves: list[tuple[str, str]] = []
        self._news = trio.Event()
        self.uplink = Uplink([POP, OTHER], self, look=self.look)

    def look(self, pop: Address) -> str:
        self.looks += 1
        return self.sources[pop]

    async def wait(self) -> None:
        await self._news.wait()

    def forget(self) -> None:
        self._news = trio.Event()

    def move(self, source: str) -> None:
        self.sources = dict.fromkeys(self.sources, source)
        self._news.set()

    def stir(self) -> None:
        """Something changed that matters to nobody."""
        self._news.set()


@asynccontextmanager
async def machine() -> AsyncIterator[Machine]:
    one = Machine()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.uplink.follow, lambda was, now: one.moves.append((was, now)))
        await trio.testing.wait_all_tasks_blocked()
        yield one
        nursery.cancel_scope.cancel()


async def test_another_address_is_told_once_it_has_settled(autojump_clock: trio.testing.MockClock):
    async with machine() as one:
        one.move("")
        await trio.sleep(SETTLING / 2)
        one.move(STREET)
        assert one.moves == []
        await trio.sleep(SETTLING)
        assert one.moves == [(HOME, STREET)]


async def test_what_leaves_the_address_as_it_is_is_no_move(autojump_clock: trio.testing.MockClock):
    async with machine() as one:
        one.stir()
        await trio.sleep(10)
        one.move(STREET)
        one.move(HOME)
        await trio.sleep(10)
        assert one.moves == []


async def test_the_way_that_was_lost_and_is_back_is_told_even_if_it_is_the_same(
    autojump_clock: trio.testing.MockClock,
):
    """Meanwhile it may have been another network with the same address, and what was sent is lost."""
    async with machine() as one:
        one.move("")
        await trio.sleep(2)
        assert not one.uplink.is_there
        one.move(HOME)
        await trio.sleep(2)
        assert one.uplink.is_there
        assert one.moves == [(HOME, ""), ("", HOME)]


async def test_of_several_pops_the_one_that_can_be_reached_is_told(autojump_clock: trio.testing.MockClock):
    async with machine() as one:
        one.sources = {POP: "", OTHER: STREET}
        one.stir()
        await trio.sleep(2)
        assert one.moves == [(HOME, STREET)]


async def test_pops_that_are_new_are_looked_at_as_they_are(autojump_clock: trio.testing.MockClock):
    async with machine() as one:
        new = ("2001:db8::1", 443)
        one.sources[new] = "2001:db8::7"
        one.uplink.head_for([new])
        one.stir()
        await trio.sleep(2)
        assert one.moves == []
        one.move(TRAIN)
        await trio.sleep(2)
        assert one.moves == [("2001:db8::7", TRAIN)]


async def test_a_network_that_never_rests_is_followed_ever_more_slowly_to_the_last(
    autojump_clock: trio.testing.MockClock,
):
    async with machine() as one:
        for number in range(12_000):
            one.move(f"203.0.113.{number % 251}")
            await trio.sleep(0.0101)
        assert len(one.moves) < 20 and one.looks < 100
        one.move("192.0.2.77")
        await trio.sleep(LONGEST_PAUSE + 1)
        assert one.moves[-1][1] == "192.0.2.77"
        await trio.sleep(CALM * LONGEST_PAUSE)
        one.move(HOME)  # at rest again: soon
        await trio.sleep(SETTLING * 1.1)
        assert one.moves[-1] == ("192.0.2.77", HOME)


def test_the_kernel_is_asked_without_a_packet():
    assert source_towards(("127.0.0.1", 9)) == "127.0.0.1"
    assert source_towards(("255.255.255.255", 9)) == ""  # it lets nobody send there unasked
    assert source_towards(("not an address", 9)) == ""
