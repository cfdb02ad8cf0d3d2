"""WireGuard as one way among others: up means that a handshake of this beginning was answered."""

from __future__ import annotations

from hashlib import sha256

import pytest

from connectors.proto.choice import ATTEMPT, LONGEST_PAUSE, NO_ANSWER, Health
from connectors.proto.choosing_end import ChoosingEnd
from connectors.proto.wireguard_way import WireGuardWay
from edge.proto.ip import build_udp
from edge.proto.types import NEVER
from edge.proto.wireguard import Device, Identity, TimestampClock
from tests.connectors.proto.pop import Side

POP, OWN = ("192.0.2.1", 51820), ("198.51.100.7", 40000)
PACKET = build_udp(bytes([100, 96, 0, 12]), bytes([10, 1, 0, 9]), 4000, 5000, b"hello")


def rng(name):
    drawn = iter(range(10**9))
    return lambda size: sha256(f"{name} {next(drawn)}".encode()).digest()[:size]


class World:
    """The way and a PoP that exchange datagrams at once, as long as `carries`."""

    def __init__(self):
        self.now = 1000.0
        self.carries = True
        keys = {name: Identity.from_bytes(sha256(name.encode()).digest()) for name in ("pop", "alice")}
        self.device = Device(keys["alice"], rng=rng("alice"), clock=TimestampClock(1e9), now=self.now)
        tunnel = self.device.add_peer("pop", keys["pop"].public, endpoint=POP, persistent_keepalive=25.0)
        self.way = WireGuardWay(self.device, tunnel)
        self.pop = Device(keys["pop"], rng=rng("pop"), clock=TimestampClock(1e9), now=self.now)
        self.peer = self.pop.add_peer("alice", keys["alice"].public)
        self.sent = 0
        self.got = []  # packets at the way
        self.at_pop = []

    def exchange(self):
        for _ in range(6):
            reads = []
            for _, datagrams in self.way.poll_transmit():
                self.sent += len(datagrams)
                reads += [(memoryview(bytearray(d)), len(d), OWN) for d in datagrams]
            for _, packets in self.pop.open(reads if self.carries else [], self.now):
                self.at_pop += packets
            answers = [
                (memoryview(bytearray(d)), len(d), POP)
                for _, datagrams in self.pop.poll_transmit()
                for d in datagrams
                if self.carries
            ]
            self.got += self.way.turn(answers, [], self.now)

    def run(self, seconds):
        until, spins = self.now + seconds, 0
        self.exchange()
        while (at := min(self.way.poll_timeout(), self.pop.next_timeout())) <= until:
            spins = 0 if at > self.now else spins + 1
            assert spins < 20, "it turns on the spot"
            self.now = max(self.now, at)
            if self.pop.next_timeout() <= self.now:
                self.pop.handle_timeout(self.now)
            self.exchange()
        self.now = until

    @property
    def health(self):
        return self.way.health(self.now)


def test_it_comes_up_and_says_how_long_that_took():
    world = World()
    assert world.health is Health.IDLE and world.way.poll_timeout() == NEVER
    world.way.begin(world.now)
    assert world.health is Health.TRYING
    world.run(1)
    assert world.health is Health.UP and world.way.handshakes == 1
    assert world.way.last_handshake_seconds == 0.0
    world.way.seal([bytearray(PACKET)], world.now)
    world.exchange()
    assert [bytes(packet[: len(PACKET)]) for packet in world.at_pop] == [bytes(PACKET)]
    world.pop.seal(world.peer, [bytearray(PACKET)], world.now)
    world.exchange()
    assert [bytes(packet) for packet in world.got] == [bytes(PACKET)]  # without padding


def test_it_stays_up_for_hours():
    world = World()
    world.way.begin(world.now)
    for _ in range(60):
        world.run(120)
        assert world.health is Health.UP


def test_when_it_begins_again_an_old_session_does_not_count_for_up():
    """The path may be dead by now: only an answer tells."""
    world = World()
    world.way.begin(world.now)
    world.run(1)
    world.way.end(world.now)
    world.run(60)
    world.carries = False
    world.way.begin(world.now)
    world.run(8)
    assert world.health is Health.TRYING
    world.carries = True
    world.run(6)
    assert world.health is Health.UP


def test_a_handshake_of_just_now_counts():
    """None may be started so soon after it: it would be tried for nothing."""
    world = World()
    world.way.begin(world.now)
    world.run(1)
    world.way.end(world.now)
    world.way.begin(world.now + 1)
    assert world.way.health(world.now + 1) is Health.UP


def test_it_is_quiet_when_its_own_timers_have_asked_twice_in_vain():
    world = World()
    world.way.begin(world.now)
    world.run(1)
    world.carries = False
    world.way.seal([bytearray(PACKET)], world.now)
    world.run(14)
    assert world.health is Health.UP
    world.run(10)
    assert world.health is Health.QUIET
    world.carries = True
    world.run(10)
    assert world.health is Health.UP


def test_when_it_has_ended_it_is_silent_but_still_answers():
    """The PoP may send through it what was decided before it heard from another way."""
    world = World()
    world.way.begin(world.now)
    world.run(1)
    world.way.end(world.now)
    assert world.health is Health.IDLE
    world.exchange()
    sent = world.sent
    assert world.way.poll_timeout() == NEVER
    world.run(100)
    assert world.sent == sent
    world.pop.seal(world.peer, [bytearray(PACKET)], world.now)
    world.exchange()
    assert len(world.got) == 1


def test_what_comes_from_elsewhere_is_not_its():
    world = World()
    world.way.begin(world.now)
    world.run(1)
    before = world.way.datagrams_dropped
    assert world.way.turn([(memoryview(bytearray(100)), 100, ("203.0.113.9", 443))], [], world.now) == []
    assert world.way.datagrams_dropped == before


def test_alone_it_makes_a_far_end_that_comes_up_and_again_after_an_outage():
    world = World()
    end = ChoosingEnd([world.way], Side(), now=world.now, jitter=lambda: 0.5)

    def run(seconds):
        until, spins = world.now + seconds, 0
        while (at := min(end.poll_timeout(), world.pop.next_timeout())) <= until:
            spins = 0 if at > world.now else spins + 1
            assert spins < 20, "it turns on the spot"
            world.now = max(world.now, at)
            if world.pop.next_timeout() <= world.now:
                world.pop.handle_timeout(world.now)
            turn()
        world.now = until

    def turn():
        end.turn([], world.now)
        world.exchange()
        end.turn([], world.now)

    turn()
    run(1)
    assert end.way == "wireguard"
    world.carries = False
    end.side.talk(world.now, 1.0)
    run(600)
    assert end.way == ""
    world.carries = True
    run(100)
    assert end.way == "wireguard"


def test_moving_is_told_at_once_but_not_by_who_has_ended():
    world = World()
    world.way.begin(world.now)
    world.run(3)
    sent = world.sent
    world.way.moved(world.now)
    world.exchange()
    assert world.sent == sent + 1
    world.way.end(world.now)
    world.way.moved(world.now)
    world.exchange()
    assert world.sent == sent + 1


@pytest.mark.parametrize("seconds", [0.0, 3.0])
def test_moving_and_a_farewell_dial_nothing(seconds):
    world = World()
    world.way.begin(world.now)
    world.run(seconds)
    world.way.moved(world.now)
    assert world.way.poll_dials() == [] and world.way.poll_streams() == []


def test_it_says_that_nobody_answers_once_that_took_too_long():
    world = World()
    world.carries = False
    world.way.begin(world.now)
    assert not world.way.failure(world.now)
    world.run(ATTEMPT)
    assert world.way.failure(world.now) == NO_ANSWER
    world.way.end(world.now)
    assert world.way.failure(world.now) == NO_ANSWER
    world.carries = True
    world.way.begin(world.now)
    world.run(LONGEST_PAUSE)
    assert not world.way.failure(world.now)
    world.way.end(world.now)
    assert not world.way.failure(world.now), "it was up"
