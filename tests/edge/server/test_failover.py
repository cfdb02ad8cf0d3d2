"""Replicas of a site with real handshakes: the engine and tunnel ends in virtual time, then the relay on sockets."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from heapq import heappop, heappush
from ipaddress import ip_network

import trio

from connectors.proto import PacketSide, SiteRouter, TunnelEnd
from edge.config import EdgeConfig, ProbeSettings, TunnelConfig
from edge.proto.forwarding import ReplicaState
from edge.proto.types import NEVER, Address, DropReason
from edge.server.engine import Engine
from edge.state import MemoryStore
from tests.edge.server.lab import (
    POP_PUBLIC,
    Host,
    client,
    ip,
    key,
    pop,
    replica,
    running,
    site,
    until,
)

ALICE, PBX, ROUTE = "100.96.0.12", "10.0.50.10", "10.0.50.0/24"
OWN = {"hq-a": "100.96.0.2", "hq-b": "100.96.0.3"}
POP: Address = ("192.0.2.1", 51820)
BOTH = [replica("hq", name, own, ROUTE) for name, own in OWN.items()]
EVERYBODY = (*BOTH, client("alice", ALICE))
WAY = 0.02  # seconds from one end to the other


class World:
    """A PoP and its peers, one event at a time; the accounts are looked at after each."""

    def __init__(self, config: EdgeConfig) -> None:
        self.now = 1000.0
        self.rng = random.Random(5).randbytes
        self.engine = Engine(config, MemoryStore(), now=self.now, epoch=0.0, rng=self.rng, timer=lambda: 0.0)
        self.ends: dict[str, TunnelEnd] = {}
        self.hosts: dict[str, Host] = {}
        self.places: dict[Address, str] = {}
        self.deaf: set[str] = set()  # whom nothing reaches
        self._wire: list[tuple[float, int, str, Address, bytes]] = []
        self._sent = 0
        self._starts = 0

    def start(self, name: str, address: str, *, keepalive: float | None = 25.0) -> Host:
        host = self.hosts[name] = Host(address)
        routes = [ip_network(ROUTE)]
        is_site = name in OWN
        side: PacketSide = SiteRouter(host, routes, addresses=(ip(OWN[name]),)) if is_site else host
        self._starts += 1
        self.places[f"198.51.100.{self._starts}", 5000] = name
        self.ends[name] = TunnelEnd(
            key(name), POP_PUBLIC, POP, side, now=self.now, epoch=0.0, rng=self.rng, keepalive=keepalive
        )
        self._flush(name)
        return host

    def kill(self, name: str) -> None:
        del self.ends[name], self.hosts[name]

    def send(self, name: str, to: str, *payloads: bytes) -> None:
        self.hosts[name].send(to, *payloads)
        self.ends[name].turn([], self.now)
        self._flush(name)

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while True:
            due = {name: end.poll_timeout() for name, end in self.ends.items()}
            wire = self._wire[0][0] if self._wire else NEVER
            at = max(self.now, min(wire, self.engine.poll_timeout(), *due.values(), NEVER))
            if at > until:
                break
            self.now = at
            reads: dict[str, list[tuple[memoryview, int, Address]]] = {}
            while self._wire and self._wire[0][0] <= at:
                _, _, to, source, datagram = heappop(self._wire)
                reads.setdefault(to, []).append((memoryview(datagram), len(datagram), source))
            for name in list(self.ends):
                if due[name] <= at or name in reads:
                    self.ends[name].turn(reads.get(name, []), at)
                    self._flush(name)
            self.turn(reads.get("pop", []))
        self.now = until

    def turn(self, reads: Iterable[tuple[memoryview, int, Address]] = ()) -> None:
        self.engine.turn(list(reads), self.now)
        for to, datagrams in self.engine.poll_transmit():
            name = self.places[to]
            if self._place_of(name) == to and name not in self.deaf:
                self._put(name, POP, datagrams)
        for vnet in self.engine.snapshot(self.now).vnets:
            assert vnet.unaccounted == 0, vnet

    def reload(self, *tunnels: TunnelConfig) -> None:
        self.engine.reload(replace(self.engine.config, tunnels={t.name: t for t in tunnels}), self.now)
        self.turn()

    @property
    def states(self) -> dict[str, str]:
        return {
            name: str(state) for name, state in self.engine.snapshot(self.now).site("hq").replicas.items()
        }

    def drops(self, reason: DropReason) -> int:
        return self.engine.snapshot(self.now).vnet("acme").drops.get(reason, 0)

    def _place_of(self, name: str) -> Address | None:
        return next(
            (at for at, who in reversed(self.places.items()) if who == name and name in self.ends), None
        )

    def _flush(self, name: str) -> None:
        source = self._place_of(name)
        assert source is not None
        for _, datagrams in self.ends[name].poll_transmit():
            self._put("pop", source, datagrams)

    def _put(self, to: str, source: Address, datagrams: list[bytes]) -> None:
        for datagram in datagrams:
            self._sent += 1
            heappush(self._wire, (self.now + WAY, self._sent, to, source, datagram))


def started() -> World:
    world = World(pop(*EVERYBODY))
    for name in OWN:
        world.start(name, PBX)
    world.start("alice", ALICE)
    world.run(2.0)
    return world


def test_a_stream_moves_within_a_second_and_a_half() -> None:
    world = started()
    assert world.states == {"hq-a": "active", "hq-b": "standby"}
    gaps = []
    for n in range(200):
        world.send("alice", PBX, str(n).encode())
        world.run(0.02)
        if n == 100:
            died = world.now
            world.kill("hq-a")
        if n > 100 and not gaps and world.hosts["hq-b"].arrivals:
            gaps.append(world.now - died)
    assert len(world.hosts["hq-b"].arrivals) > 30
    assert 0.7 < gaps[0] < 1.35
    site_now = world.engine.snapshot(world.now).site("hq")
    assert (site_now.active, site_now.failovers) == ("hq-b", 1)
    assert site_now.replicas["hq-a"] is ReplicaState.DOWN
    vnet = world.engine.snapshot(world.now).vnet("acme")
    assert (vnet.flows, vnet.drops.get(DropReason.TUNNEL_DOWN, 0)) == (1, 0)


def test_one_that_was_started_again_is_a_standby() -> None:
    world = started()
    world.kill("hq-a")
    world.run(5.0)
    assert world.states == {"hq-a": "down", "hq-b": "active"}
    world.start("hq-a", PBX)
    world.run(2.9)
    assert world.states["hq-a"] == "down"
    world.run(1.0)
    assert world.states == {"hq-a": "standby", "hq-b": "active"}
    world.send("alice", PBX, b"still b")
    world.run(0.2)
    assert world.hosts["hq-b"].payloads == [b"still b"]
    assert world.engine.snapshot(world.now).site("hq").failovers == 1


def test_the_round_trip_is_measured() -> None:
    world = started()
    rtt = world.engine.snapshot(world.now).site("hq").rtt
    assert {name: round(value, 6) for name, value in rtt.items()} == dict.fromkeys(OWN, 2 * WAY)


def test_a_replica_that_only_hears_us_is_lost() -> None:
    """Its own packets arrive; ours do not reach it, nor the answers that it would give."""
    world = started()
    world.deaf.add("hq-a")
    for _ in range(120):
        world.send("hq-a", ALICE, b"I am here")
        world.run(0.1)
    assert world.states == {"hq-a": "down", "hq-b": "active"}


def test_all_down_and_back() -> None:
    world = started()
    for name in OWN:
        world.kill(name)
    world.run(3.0)
    assert world.states == {"hq-a": "down", "hq-b": "down"}
    before = world.drops(DropReason.TUNNEL_DOWN)
    world.send("alice", PBX, b"into nowhere")
    world.run(1.0)
    assert world.drops(DropReason.TUNNEL_DOWN) == before + 1
    world.start("hq-b", PBX)
    world.run(0.5)
    world.send("alice", PBX, b"back")
    world.run(0.2)
    assert world.hosts["hq-b"].payloads == [b"back"]


def test_what_waits_for_a_session_of_a_dead_one_is_counted() -> None:
    """The PoP knows where hq-a was, so it waits for its handshake; hq-b is there."""
    where = {"hq-a": ("198.51.100.9", 1), "hq-b": None}
    world = World(pop(*(replace(t, endpoint=where.get(t.name)) for t in EVERYBODY)))
    world.places["198.51.100.9", 1] = "nobody"
    world.start("hq-b", PBX)
    world.start("alice", ALICE)
    world.run(0.1)
    world.send("alice", PBX, b"too early", b"also")
    world.run(0.1)
    assert world.engine.snapshot(world.now).vnet("acme").packets_held == 2
    world.run(2.0)
    assert world.states == {"hq-a": "down", "hq-b": "active"}
    assert world.engine.snapshot(world.now).vnet("acme").packets_held == 0
    assert world.drops(DropReason.TUNNEL_DOWN) == 2
    world.send("alice", PBX, b"now")
    world.run(0.2)
    assert world.hosts["hq-b"].payloads == [b"now"]


def test_no_probe_waits_for_a_session() -> None:
    world = World(pop(*(replace(t, endpoint=("198.51.100.9", n)) for n, t in enumerate(EVERYBODY, 1))))
    world.places.update({("198.51.100.9", n): "nobody" for n in (1, 2, 3)})
    world.run(200.0)
    vnet = world.engine.snapshot(world.now).vnet("acme")
    assert (vnet.packets_generated, vnet.packets_held, vnet.dropped) == (0, 0, 0)
    tunnel = world.engine.snapshot(world.now).tunnel("hq-a")
    assert tunnel.handshakes_initiated > 1, "but it is called all the time"


def test_a_replica_that_does_not_dial_is_dialled() -> None:
    """A passive agent that was away for long: nobody else would make a session again."""
    world = started()
    world.kill("hq-b")
    world.run(200.0)
    world.start("hq-b", PBX, keepalive=None)
    world.run(10.0)
    assert world.states == {"hq-a": "active", "hq-b": "standby"}


def test_reload_adds_and_removes_replicas_under_traffic() -> None:
    alone = (BOTH[0], EVERYBODY[2])
    world = World(pop(*alone))
    world.start("hq-a", PBX)
    world.start("alice", ALICE)
    world.run(1.0)
    assert world.engine.snapshot(world.now).sites == ()
    world.send("alice", PBX, b"1")
    world.run(0.2)
    world.reload(*EVERYBODY)
    world.start("hq-b", PBX)
    world.run(1.0)
    assert world.states == {"hq-a": "active", "hq-b": "standby"}
    world.send("alice", PBX, b"2")
    world.run(0.2)
    world.reload(*EVERYBODY[1:])
    world.send("alice", PBX, b"3")
    world.run(0.2)
    assert world.hosts["hq-a"].payloads == [b"1", b"2"]
    assert world.hosts["hq-b"].payloads == [b"3"]
    assert world.engine.snapshot(world.now).vnet("acme").flows == 1
    world.reload(replace(BOTH[0], preference=1), *EVERYBODY[1:])
    world.reload(BOTH[0], *EVERYBODY[1:])
    world.kill("hq-a")  # the PoP has forgotten its session
    world.start("hq-a", PBX)
    world.engine.reload(replace(world.engine.config, probe=ProbeSettings(0.1, 2)), world.now)
    world.run(2.0)
    assert world.states == {"hq-a": "standby", "hq-b": "active"}
    world.kill("hq-b")
    world.run(0.35)
    assert world.states == {"hq-a": "active", "hq-b": "down"}


def test_a_connector_without_a_site_or_a_replica_is_as_before() -> None:
    world = World(pop(site("plain", ROUTE, site=""), client("alice", ALICE)))
    world.run(30.0)
    vnet = world.engine.snapshot(world.now).vnet("acme")
    assert vnet.packets_generated == 0


# -- on sockets --

QUICK = ProbeSettings(interval=0.05, misses=4, hold=0.2)


async def test_the_relay_moves_a_site_to_its_replica_and_nobody_elses_spoof_gets_through() -> None:
    shop = site("shop", "10.0.60.0/24")
    async with running(replace(pop(*EVERYBODY, shop), probe=QUICK)) as lab:
        pbx = {name: await lab.site(name, PBX, ROUTE, own) for name, own in OWN.items()}
        alice = await lab.client("alice", ALICE)
        thief = await lab.site("shop", PBX, ROUTE)  # says that it is hq
        await until(lambda: set(lab.snapshot.site("hq").replicas.values()) == {"active", "standby"})
        alice.send(PBX, b"INVITE")
        await pbx["hq-a"].receives(b"INVITE")
        pbx["hq-a"].scope.cancel()
        await until(lambda: lab.snapshot.site("hq").active == "hq-b")
        alice.send(PBX, b"RTP")
        await pbx["hq-b"].receives(b"RTP")
        pbx["hq-b"].send(ALICE, b"RTP back", ports=(5000, 4000))
        await alice.receives(b"RTP back")
        thief.send(ALICE, b"I am the PBX")
        await until(lambda: lab.snapshot.vnet("acme").drops.get(DropReason.SPOOFED_SOURCE) == 1)
        again = await lab.site("hq-a", PBX, ROUTE, OWN["hq-a"])
        await until(lambda: lab.snapshot.site("hq").replicas["hq-a"] == "standby")
        alice.send(PBX, b"no flap")
        await pbx["hq-b"].receives(b"no flap")
        await trio.sleep(0.05)
        now = lab.snapshot.site("hq")
        assert (now.active, now.failovers) == ("hq-b", 1)
        assert 0 < now.rtt["hq-b"] < 1
        assert not again.arrivals
        assert lab.snapshot.vnet("acme").flows == 1
        lab.accounted()
