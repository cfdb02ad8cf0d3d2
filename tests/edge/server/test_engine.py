"""The PoP without IO, in virtual time: what it logs, and what it counts before anything happens."""

from __future__ import annotations

from collections.abc import MutableMapping
from hashlib import sha256
from typing import Any

import pytest
import structlog

from edge.config import EdgeConfig
from edge.proto.forwarding import Action
from edge.proto.forwarding.policy import Rule
from edge.proto.wireguard import Device, Identity, TimestampClock, Tunnel
from edge.server.engine import NAMED_UPS, STRANGERS_PACE, Engine
from edge.state import MemoryStore
from tests.edge.server.lab import POP_PUBLIC, client, key, network, pop

POP = ("192.0.2.1", 51820)


def rng(seed: str) -> Any:
    drawn = iter(range(10**9))
    return lambda size: sha256(f"{seed} {next(drawn)}".encode()).digest()[:size]


class World:
    """A PoP and far ends that exchange datagrams at once; `lines` is what the PoP logged."""

    def __init__(self, config: EdgeConfig) -> None:
        self.now = 100.0
        self.lines: list[MutableMapping[str, Any]] = []
        capture = structlog.testing.LogCapture()
        self.lines = capture.entries
        log = structlog.wrap_logger(
            None, processors=[capture], wrapper_class=structlog.make_filtering_bound_logger("info")
        )
        self.engine = Engine(
            config, MemoryStore(), now=self.now, epoch=1e9, rng=rng("pop"), timer=lambda: 0.0, log=log
        )
        self.ends: dict[tuple[str, int], Device] = {}

    def end(self, name: str, n: int = 7) -> tuple[Device, Tunnel]:
        device = Device(
            Identity.from_bytes(key(name)), rng=rng(name), clock=TimestampClock(1e9), now=self.now
        )
        self.ends["192.0.2.9", 4000 + n] = device
        return device, device.add_peer("pop", POP_PUBLIC, endpoint=POP)

    def settle(self) -> None:
        for _ in range(6):
            reads = [
                (memoryview(bytearray(data)), len(data), address)
                for address, device in self.ends.items()
                for _, datagrams in device.poll_transmit()
                for data in datagrams
            ]
            self.engine.turn(reads, self.now)
            for address, datagrams in self.engine.poll_transmit():
                answers = [(memoryview(bytearray(data)), len(data), POP) for data in datagrams]
                self.ends[address].open(answers, self.now)

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.engine.turn([], self.now)

    def events(self, name: str) -> list[MutableMapping[str, Any]]:
        return [line for line in self.lines if line["event"] == name]


def test_a_tunnel_that_comes_up_is_told_once_and_again_after_it_was_down() -> None:
    world = World(pop(client("alice", "100.96.0.12")))
    device, tunnel = world.end("alice")
    for seconds, told in ((0.0, 1), (100.0, 1), (100.0, 1), (181.0, 2)):
        world.now += seconds
        device.initiate(tunnel, world.now)
        world.settle()
        assert world.engine.pop.attachments["alice"].link.is_up(world.now)
        assert len(world.events("tunnel-up")) == told
    assert world.engine.pop.attachments["alice"].link.handshakes == 4
    up = world.events("tunnel-up")[0]
    assert (up["tunnel"], up["vnet"], up["endpoint"]) == ("alice", "acme", "192.0.2.9:4007")
    assert up["log_level"] == "info"


def test_a_tunnel_that_was_removed_and_added_again_comes_up_anew() -> None:
    both, without = pop(client("alice", "100.96.0.12")), pop()
    world = World(both)
    device, tunnel = world.end("alice")
    for expected in (1, 2):
        world.now += 10.0
        device.initiate(tunnel, world.now)
        world.settle()
        assert len(world.events("tunnel-up")) == expected
        world.engine.reload(without, world.now)
        world.engine.reload(both, world.now)


def test_many_that_come_up_at_once_are_told_as_a_number() -> None:
    names = [f"c{n}" for n in range(NAMED_UPS + 5)]
    world = World(pop(*(client(name, f"100.96.0.{10 + n}") for n, name in enumerate(names))))
    for n, name in enumerate(names):
        device, tunnel = world.end(name, n)
        device.initiate(tunnel, world.now)
        world.settle()
    world.later(1.5)
    assert len(world.events("tunnel-up")) == NAMED_UPS
    assert [line["tunnels"] for line in world.events("more-tunnels-up")] == [5]


def test_handshakes_of_strangers_are_counted_in_one_line_a_minute() -> None:
    world = World(pop(client("alice", "100.96.0.12")))
    for n in range(5):
        device, tunnel = world.end(f"stranger-{n}", n)
        device.initiate(tunnel, world.now)
        world.settle()
    assert world.events("unknown-keys") == [], "no packet causes a line"
    world.later(1.5)
    assert [line["handshakes"] for line in world.events("unknown-keys")] == [5]
    device, tunnel = world.end("one more", 9)
    device.initiate(tunnel, world.now)
    world.settle()
    world.later(1.5)
    assert len(world.events("unknown-keys")) == 1
    world.later(STRANGERS_PACE)
    assert [line["handshakes"] for line in world.events("unknown-keys")] == [5, 1]
    world.later(2 * STRANGERS_PACE)
    assert len(world.events("unknown-keys")) == 2


@pytest.mark.parametrize("default", [Action.BLOCK, Action.REJECT])
def test_a_rule_that_never_decided_has_a_count_of_none(default: Action) -> None:
    rules = (Rule("voice", Action.ALLOW), Rule("note", Action.LOG))
    world = World(pop(client("alice", "100.96.0.12"), vnets=(network(policy=rules, default=default),)))
    hits = world.engine.snapshot(world.now).vnet("acme").rule_hits
    assert hits == {("voice", "allow"): 0, ("note", "log"): 0, ("default", str(default)): 0}
