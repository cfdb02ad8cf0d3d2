"""Real TCP on 127.0.0.1 behind a simulated path; the clock is virtual."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
import trio
from trio.testing import MockClock

from edge.io.streams import StreamPort
from edge.proto.types import Eof, Octets, Opened, StreamEvent, StreamOutput
from scenarios.fabric.linked_streams import LinkedStreams
from scenarios.proto.link_pair import LinkPair, Traffic
from scenarios.proto.link_profile import LinkProfile, PathProfile

PATIENCE = 60.0


class Echo:
    """A server that sends back what it gets."""

    def __init__(self, port: StreamPort) -> None:
        self.port = port
        self.open = 0

    def serve(self) -> None:
        for event in self.port.receive():
            self.open += isinstance(event, Opened) - isinstance(event, Eof)
            if isinstance(event, Octets):
                self.port.send([(event.connection_id, event.data, False)])
            elif isinstance(event, Eof):
                self.port.send([(event.connection_id, b"", True)])


class World:
    def __init__(self, streams: LinkedStreams, echo: Echo) -> None:
        self.streams = streams
        self.echo = echo
        self.links = streams.links
        self.events: list[StreamEvent] = []

    @property
    def octets(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, Octets))

    async def drive(self, seconds: float) -> float:
        """So long, or until everything that was sent is back; returns how long it took."""
        began = trio.current_time()
        before = len(self.octets)
        while trio.current_time() < began + seconds and len(self.octets) == before:
            self.events += self.streams.receive()
            await trio.sleep(0.001)
        return trio.current_time() - began

    def dial(self, number: int = 1) -> None:
        self.streams.dial(number, self.echo.port.address)

    def say(self, data: bytes, number: int = 1) -> None:
        self.streams.send([StreamOutput(number, data)])


@asynccontextmanager
async def world(**profile) -> AsyncIterator[World]:
    both = LinkProfile(**profile)
    links = LinkPair.of(PathProfile(both, both), Random("up"), Random("down"))
    echo = Echo(StreamPort.bind(("127.0.0.1", 0)))
    async with trio.open_nursery() as nursery:
        await nursery.start(echo.port.serve, echo.serve)
        ports = {echo.port.address[1]: 443}
        streams = LinkedStreams(links, Random("streams"), ports=ports).open(nursery, lambda: None)
        yield World(streams, echo)
        nursery.cancel_scope.cancel()


async def test_octets_take_as_long_as_the_path_says(autojump_clock: MockClock) -> None:
    async with world(delay=0.1) as here:
        here.dial()
        here.say(b"hello")
        assert 0.4 <= await here.drive(PATIENCE) < 0.6, "a round trip to open, one there and back"
        assert here.octets == b"hello"


async def test_what_is_lost_arrives_later_and_all_in_order(autojump_clock: MockClock) -> None:
    sent = b"".join(n.to_bytes(4) for n in range(10_000))
    async with world(delay=0.01, loss=0.05) as here:
        here.dial()
        here.say(sent)
        while len(here.octets) < len(sent) and await here.drive(PATIENCE) < PATIENCE:
            pass
        assert here.octets == sent
        assert here.links.up.counters.lost and here.links.down.counters.lost


@pytest.mark.parametrize("how", ["partition", "block", "block a port"])
async def test_what_is_blocked_waits(autojump_clock: MockClock, how: str) -> None:
    async with world(delay=0.01) as here:
        here.dial()
        here.say(b"before")
        await here.drive(PATIENCE)
        if how == "partition":
            here.links.partition()
        else:
            here.links.block([Traffic("tcp", 443 if how == "block a port" else 0)])
        here.say(b", after")
        await here.drive(2.0)
        assert here.octets == b"before"
        here.links.heal()
        here.links.unblock()
        await here.drive(PATIENCE)
        assert here.octets == b"before, after"


async def test_another_port_and_udp_are_not_blocked(autojump_clock: MockClock) -> None:
    async with world(delay=0.01) as here:
        here.links.block([Traffic("udp"), Traffic("tcp", 444)])
        here.dial()
        here.say(b"hello")
        await here.drive(PATIENCE)
        assert here.octets == b"hello"


async def test_a_nat_that_forgets_breaks_connections_and_new_ones_are_open_to_all(
    autojump_clock: MockClock,
) -> None:
    async with world(delay=0.01) as here:
        here.dial()
        here.say(b"old")
        await here.drive(PATIENCE)
        here.streams.forget()
        await here.drive(0.5)
        assert [event.connection_id for event in here.events if isinstance(event, Eof)] == [1]
        here.dial(2)
        here.say(b"new", 2)
        await here.drive(PATIENCE)
        assert here.octets == b"oldnew"


async def test_after_a_move_nothing_of_the_old_connection_arrives(autojump_clock: MockClock) -> None:
    async with world(delay=0.1) as here:
        here.dial()
        here.say(b"old")
        await here.drive(PATIENCE)
        here.say(b"lost")
        await here.drive(0.15)
        here.streams.move()
        await here.drive(5.0)
        assert here.octets == b"old"
        here.dial(2)
        here.say(b"new", 2)
        await here.drive(PATIENCE)
        assert here.octets == b"oldnew"


async def test_a_port_that_nobody_listens_on_is_an_end(autojump_clock: MockClock) -> None:
    async with world(delay=0.01) as here:
        here.streams.dial(1, ("127.0.0.1", 1))
        await here.drive(5.0)
        assert isinstance(here.events[-1], Eof)
