"""TCP under tunnels in virtual time: what cores see of it, whatever the path does to segments."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.types import Eof, Octets, Opened, StreamOutput, Written
from scenarios.proto.streams import Streams

CLIENT, SERVER = "198.18.0.2", "198.18.0.1"


class Machine:
    """What one end has been told, and what it has to say."""

    def __init__(self, address, seed):
        self.address = address
        self.streams = Streams(address, Random(seed))
        self.told = []

    def of(self, kind, number=1):
        return [event for event in self.told if isinstance(event, kind) and event.connection_id == number]

    def octets(self, number=1):
        return b"".join(event.data for event in self.of(Octets, number))


class World:
    """`lose` says which segments die, by their number; segments that arrive at one moment are handled in one turn."""

    def __init__(self, lose=lambda number: False, delay=0.01):
        self.now = 0.0
        self.lose = lose
        self.delay = delay
        self.client, self.server = Machine(CLIENT, 1), Machine(SERVER, 2)
        self.server.streams.listen(443)
        self._wire = []
        self._sequence = count()
        self._sent = count()

    def dial(self, number=1):
        self.client.streams.dial(number, (SERVER, 443), self.now)
        self.run(0.1)

    def turn(self, machine):
        machine.told += machine.streams.poll_events(self.now)
        for host, packet in machine.streams.poll_transmit(self.now):
            if not self.lose(next(self._sent)):
                heappush(self._wire, (self.now + self.delay, next(self._sequence), host, packet))
        machine.told += machine.streams.poll_events(self.now)

    def run(self, seconds):
        until, spins = self.now + seconds, 0
        machines = (self.client, self.server)
        for machine in machines:
            self.turn(machine)
        while True:
            wire = self._wire[0][0] if self._wire else float("inf")
            at = min(wire, *(machine.streams.poll_timeout() for machine in machines))
            if at > until:
                break
            spins = 0 if at > self.now else spins + 1
            assert spins < 20, "it turns on the spot"
            self.now = max(self.now, at)
            arrived = {CLIENT: [], SERVER: []}
            while self._wire and self._wire[0][0] <= self.now:
                _, _, host, packet = heappop(self._wire)
                arrived[host].append(packet)
            for machine in machines:
                machine.streams.receive(arrived[machine.address], self.now)
                self.turn(machine)
        self.now = until


def test_a_connection_comes_about_carries_octets_both_ways_and_ends():
    world = World()
    world.dial(7)
    assert world.client.told == [Opened(7, (SERVER, 443))]
    (opened,) = world.server.told
    assert isinstance(opened, Opened) and opened.connection_id == 1 and opened.peer[0] == CLIENT
    world.client.streams.send([StreamOutput(7, b"question")])
    world.server.streams.send([StreamOutput(1, b"answer")])
    world.run(1)
    assert (world.server.octets(1), world.client.octets(7)) == (b"question", b"answer")
    assert world.client.of(Written, 7) == [Written(7, 8)]
    world.client.streams.send([StreamOutput(7, b"goodbye", close=True)])
    world.run(1)
    assert world.server.octets(1) == b"questiongoodbye"
    assert world.server.of(Eof, 1) == [Eof(1)] and world.client.of(Eof, 7) == [Eof(7)]
    world.run(300)
    assert world.client.streams.poll_timeout() == world.server.streams.poll_timeout() == float("inf")


def test_octets_are_never_empty_though_several_segments_come_at_one_moment():
    """Empty would be the end of the connection for those who take them."""
    world = World()
    world.dial()
    world.client.streams.send([StreamOutput(1, bytes(10_000))])
    world.run(1)
    assert world.server.octets() == bytes(10_000)
    assert all(event.data for event in world.server.of(Octets))


def test_nobody_listens():
    world = World()
    world.client.streams.dial(1, (SERVER, 444), world.now)
    world.run(1)
    (eof,) = world.client.told
    assert isinstance(eof, Eof) and eof.reason


def test_nobody_answers():
    world = World(lose=lambda number: True)
    world.client.streams.dial(1, (SERVER, 443), world.now)
    world.run(1000)
    (eof,) = world.client.told
    assert isinstance(eof, Eof) and eof.reason


def test_closing_while_it_is_dialled_is_the_end():
    world = World()
    world.client.streams.dial(1, (SERVER, 443), world.now)
    world.client.streams.send([StreamOutput(1, b"", close=True)])
    world.run(300)
    assert len(world.client.of(Eof)) == 1 and len(world.server.of(Eof)) == 1


def test_what_a_slow_peer_does_not_take_waits_and_is_written_later():
    world = World()
    world.dial()
    size = 1_000_000
    world.client.streams.send([StreamOutput(1, bytes(size))])
    assert sum(event.octets for event in world.client.of(Written)) < size
    world.run(60)
    assert sum(event.octets for event in world.client.of(Written)) == size
    assert len(world.server.octets()) == size


def test_output_for_a_connection_that_is_not_there_is_ignored():
    world = World()
    world.client.streams.send([StreamOutput(9, b"x"), StreamOutput(9, b"", close=True)])
    world.run(1)
    assert world.client.told == []


@pytest.mark.parametrize("rubbish", [b"", b"\x45", bytes(60)])
def test_rubbish_is_no_segment(rubbish):
    world = World()
    world.dial()
    world.server.streams.receive([rubbish], world.now)
    world.run(1)
    assert len(world.server.told) == 1


def test_a_damaged_segment_is_no_segment():
    world = World()
    world.dial()
    world.client.streams.send([StreamOutput(1, b"question")])
    ((_, packet),) = world.client.streams.poll_transmit(world.now)
    damaged = bytearray(packet)
    damaged[-1] ^= 1
    world.server.streams.receive([bytes(damaged)], world.now)
    world.turn(world.server)
    assert world.server.octets() == b""
    world.run(5)
    assert world.server.octets() == b"question"


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 5000)), max_size=15),
    st.integers(0, 1000),
    st.sampled_from([0.0, 0.05, 0.2]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_octets_come_in_order_whatever_is_lost(writes, seed, loss):
    draw = Random(seed)
    world = World(lose=lambda number: number > 3 and draw.random() < loss)
    world.dial()
    said = {True: b"", False: b""}
    for by_client, size in writes:
        data = draw.randbytes(size)
        said[by_client] += data
        (world.client if by_client else world.server).streams.send([StreamOutput(1, data)])
        world.run(0.02)
    world.run(120)
    assert (world.server.octets(), world.client.octets()) == (said[True], said[False])
    world.client.streams.send([StreamOutput(1, b"", close=True)])
    world.run(120)
    for machine in (world.client, world.server):
        assert len(machine.of(Eof)) == 1 and machine.told[-1] == machine.of(Eof)[0]


def test_after_a_reset_connections_are_over_and_new_ones_can_be_had():
    """A NAT has forgotten them: only this end hears of it, the other one is answered by a reset."""
    world = World()
    world.dial()
    world.client.streams.send([StreamOutput(1, bytes(200_000))])
    world.client.streams.reset()
    assert world.client.streams.waiting == 0
    world.run(1)
    assert world.client.of(Eof) == [Eof(1, "connection reset")]
    world.server.streams.send([StreamOutput(1, b"are you there")])
    world.run(5)
    assert len(world.server.of(Eof)) == 1
    world.dial(2)
    world.client.streams.send([StreamOutput(2, b"anew")])
    world.run(1)
    assert world.server.octets(2) == b"anew"
