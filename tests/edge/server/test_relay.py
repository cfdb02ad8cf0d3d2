"""The PoP whole, with real connectors and clients on real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import trio

from edge.config import EdgeConfig, public_key
from edge.document import Prefix
from edge.errors import ConfigError, Refused
from edge.io.udp import UdpPort
from edge.proto.forwarding import Action
from edge.proto.forwarding.policy import Rule
from edge.proto.types import DropReason
from edge.server.engine import GREETINGS
from edge.server.relay import Relay
from edge.state import MemoryStore, PeerState
from edge.state.memory import Cells
from tests.edge.server.lab import (
    PATIENCE,
    POP_KEY,
    Arrival,
    Hand,
    Lab,
    Nat,
    by_hand,
    client,
    ip,
    key,
    network,
    pop,
    running,
    site,
    until,
)

ALICE, BOB, PBX = "100.96.0.12", "100.96.0.13", "10.0.50.10"
HANDSHAKE_INITIATION, RESPONSE = 1, 2

alice_and_bob = pop(client("alice", ALICE), client("bob", BOB))


def changed(config: EdgeConfig, *tunnels, vnet=None) -> EdgeConfig:
    """`config` with these tunnels, and its first network as in `vnet`."""
    return replace(
        config,
        tunnels={t.name: t for t in tunnels} or config.tunnels,
        vnets={**config.vnets, **({vnet.name: vnet} if vnet else {})},
    )


# -- forwarding --


async def test_site_and_client_reach_each_other_under_their_true_addresses() -> None:
    async with running(pop(site("hq", "10.0.50.0/24"), client("alice", ALICE))) as lab:
        pbx = await lab.site("hq", PBX, "10.0.50.0/24")
        alice = await lab.client("alice", ALICE)
        pbx.send(ALICE, b"INVITE")
        await until(lambda: bool(alice.arrivals))
        alice.send(PBX, b"200 OK", ports=(5000, 4000))
        await until(lambda: bool(pbx.arrivals))
        # The PoP is a hop; the connector is one more.
        assert alice.arrivals == [Arrival(PBX, ALICE, b"INVITE", 62)]
        assert pbx.arrivals == [Arrival(ALICE, PBX, b"200 OK", 62)]
        lab.accounted()
        vnet = lab.snapshot.vnet("acme")
        assert (vnet.packets_in, vnet.packets_out, vnet.flows, vnet.dropped) == (2, 2, 1, 0)
        tunnel = lab.snapshot.tunnel("alice")
        assert (tunnel.packets_rx, tunnel.packets_tx, tunnel.handshakes, tunnel.up) == (1, 1, 1, True)


async def test_ipv6_inside() -> None:
    v6 = network(pool6=Prefix.parse("fd00:96::/64"))
    config = pop(site("hq", "fd00:50::/64"), client("alice", "fd00:96::12"), vnets=(v6,))
    async with running(config) as lab:
        pbx = await lab.site("hq", "fd00:50::10", "fd00:50::/64")
        alice = await lab.client("alice", "fd00:96::12")
        alice.send("fd00:50::10", b"REGISTER")
        await until(lambda: bool(pbx.arrivals))
        assert pbx.arrivals == [Arrival("fd00:96::12", "fd00:50::10", b"REGISTER", 62)]


async def test_networks_with_the_same_addresses_never_touch() -> None:
    both = tuple(
        tunnel
        for vnet in ("acme", "umbrella")
        for tunnel in (
            site(f"{vnet}-hq", "10.0.50.0/24", vnet=vnet),
            client(f"{vnet}-alice", ALICE, vnet=vnet),
        )
    )
    config = pop(*both, client("lonely", BOB, vnet="umbrella"), vnets=(network("acme"), network("umbrella")))
    async with running(config) as lab:
        pbx = {v: await lab.site(f"{v}-hq", PBX, "10.0.50.0/24") for v in ("acme", "umbrella")}
        alice = {v: await lab.client(f"{v}-alice", ALICE) for v in ("acme", "umbrella")}
        lonely = await lab.client("lonely", BOB)
        for vnet in ("acme", "umbrella"):
            alice[vnet].send(PBX, f"from {vnet}".encode())
            pbx[vnet].send(ALICE, f"to {vnet}".encode())
        alice["acme"].send(BOB, b"only umbrella has this address")
        for vnet in ("acme", "umbrella"):
            await pbx[vnet].receives(f"from {vnet}".encode())
            await alice[vnet].receives(f"to {vnet}".encode())
        await until(lambda: lab.snapshot.vnet("acme").packets_in == 3)
        assert lab.snapshot.vnet("acme").drops == {DropReason.NO_ROUTE: 1}
        assert not lonely.arrivals and not lonely.others
        lab.accounted()


async def test_a_false_source_goes_nowhere() -> None:
    async with running(alice_and_bob) as lab:
        alice, bob = await lab.client("alice", ALICE), await lab.client("bob", BOB)
        alice.send(BOB, b"I am the PBX", source=PBX)
        alice.send(BOB, b"I am alice")
        await bob.receives(b"I am alice")
        assert lab.snapshot.vnet("acme").drops == {DropReason.SPOOFED_SOURCE: 1}
        lab.accounted()


async def test_what_strangers_send_is_counted_and_hurts_nobody() -> None:
    async with running(alice_and_bob) as lab:
        alice, bob = await lab.client("alice", ALICE), await lab.client("bob", BOB)
        before = lab.snapshot.datagrams_in
        junk = [os.urandom(n) for n in (0, 1, 31, 32, 92, 148, 1400, 65000)]
        junk += [bytes([n, 0, 0, 0]) + os.urandom(144) for n in range(6)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for data in junk:
                stranger.sendto(data, lab.relay.address)
        await until(lambda: lab.snapshot.datagrams_in >= before + len(junk) - 1)  # the empty one is none
        alice.send(BOB, b"still here")
        await bob.receives(b"still here")
        assert sum(lab.snapshot.datagram_drops.values()) == len(junk) - 1


async def test_a_key_that_is_not_configured_gets_no_answer() -> None:
    async with running(alice_and_bob) as lab:
        with by_hand("mallory", lab.relay.address, ALICE) as mallory:
            mallory.device.initiate(mallory.tunnel, trio.current_time())
            mallory.flush()
            await until(lambda: lab.snapshot.datagram_drops == {DropReason.UNKNOWN_PEER: 1})
            assert mallory.port.receive() == []
            assert lab.snapshot.datagrams_out == 0


async def test_a_default_route_does_not_hold_the_free_addresses_of_the_pool() -> None:
    exit_ = site("exit", "0.0.0.0/0", default_route=True)
    async with running(pop(client("alice", ALICE), exit_)) as lab:
        alice = await lab.client("alice", ALICE)
        far = await lab.site("exit", "203.0.113.5", "0.0.0.0/0")
        alice.send("203.0.113.5", b"out")
        await far.receives(b"out")
        far.send(ALICE, b"in the name of bob", source=BOB)
        alice.send(BOB, b"for bob")
        await until(
            lambda: lab.snapshot.vnet("acme").drops == {DropReason.SPOOFED_SOURCE: 1, DropReason.NO_ROUTE: 1}
        )
        lab.relay.reload(
            pop(client("alice", ALICE), exit_, vnets=(network(pool=Prefix.parse("100.96.0.0/28")),))
        )
        alice.send("100.96.0.77", b"not of the pool any more")
        await far.receives(b"not of the pool any more")
        lab.accounted()


# -- reload --


async def test_a_change_of_policy_reaches_live_flows() -> None:
    rule = Rule("voice", Action.ALLOW)
    allowed, blocked = network(policy=(rule,)), network(policy=(Rule("no-more", Action.BLOCK),))
    async with running(changed(alice_and_bob, vnet=allowed)) as lab:
        alice, bob = await lab.client("alice", ALICE), await lab.client("bob", BOB)
        for _ in range(3):
            alice.send(BOB, b"one")
            bob.send(ALICE, b"back")
            await bob.receives(b"one")
            await alice.receives(b"back")
        lab.relay.reload(changed(alice_and_bob, vnet=blocked))
        alice.send(BOB, b"two")
        bob.send(ALICE, b"back two")
        await until(lambda: lab.snapshot.vnet("acme").drops == {DropReason.POLICY_BLOCKED: 2})
        lab.relay.reload(changed(alice_and_bob, vnet=allowed))
        alice.send(BOB, b"three")
        await bob.receives(b"three")
        assert not alice.arrivals
        hits = lab.snapshot.vnet("acme").rule_hits
        assert hits["voice", "allow"] >= 2, "counters go on over a reload"
        assert hits["no-more", "block"] >= 1
        assert lab.snapshot.tunnel("alice").handshakes == 1
        assert (lab.snapshot.generation, lab.snapshot.reloads_ok) == (3, 2)
        lab.accounted()


async def test_a_tunnel_that_is_added_may_attach_from_then_on() -> None:
    alone = changed(alice_and_bob, client("alice", ALICE))
    async with running(alone) as lab:
        alice = await lab.client("alice", ALICE)
        with by_hand("bob", lab.relay.address, BOB) as early:
            early.device.initiate(early.tunnel, trio.current_time())
            early.flush()
            await until(lambda: lab.snapshot.datagram_drops == {DropReason.UNKNOWN_PEER: 1})
        alice.send(BOB, b"too early")
        await until(lambda: lab.snapshot.vnet("acme").drops == {DropReason.NO_ROUTE: 1})
        lab.relay.reload(alice_and_bob)
        bob = await lab.client("bob", BOB)
        alice.send(BOB, b"welcome")
        await bob.receives(b"welcome")
        lab.accounted()


async def test_a_tunnel_that_is_removed_is_cut_off_at_once() -> None:
    cells = Cells()
    async with running(alice_and_bob, MemoryStore(cells)) as lab:
        alice, bob = await lab.client("alice", ALICE), await lab.client("bob", BOB)
        alice.send(BOB, b"hello")
        await bob.receives(b"hello")
        lab.relay.reload(changed(alice_and_bob, client("alice", ALICE)))
        bob.send(ALICE, b"still there?")
        await until(lambda: lab.snapshot.datagram_drops.get(DropReason.UNKNOWN_SESSION) == 1)
        alice.send(BOB, b"anybody?")
        await until(lambda: lab.snapshot.vnet("acme").drops == {DropReason.NO_ROUTE: 1})
        assert not alice.arrivals and not bob.arrivals
        assert [t.name for t in lab.snapshot.tunnels] == ["alice"]
        assert set(cells.peers) == {public_key(key("alice"))}
        lab.accounted()


async def test_a_tunnel_that_changes_keeps_its_session_if_it_keeps_its_keys() -> None:
    async with running(alice_and_bob) as lab:
        alice, bob = await lab.client("alice", ALICE), await lab.client("bob", BOB)
        bob.send(ALICE, b"hello")
        await alice.receives(b"hello")
        moved = "100.96.0.99"
        lab.relay.reload(
            changed(alice_and_bob, client("alice", moved, tags=("guest",), keepalive=20), client("bob", BOB))
        )
        alice.send(BOB, b"old address")
        alice.send(BOB, b"new address", source=moved)
        bob.send(ALICE, b"to the old address")
        bob.send(moved, b"to the new address")
        await bob.receives(b"new address")
        await alice.receives(b"to the new address")
        drops = lab.snapshot.vnet("acme").drops
        assert drops == {DropReason.SPOOFED_SOURCE: 1, DropReason.NO_ROUTE: 1}
        assert [t.handshakes for t in lab.snapshot.tunnels] == [1, 1]
        lab.accounted()


async def test_a_tunnel_that_is_renamed_keeps_its_session() -> None:
    async with running(alice_and_bob) as lab:
        alice, bob = await lab.client("alice", ALICE), await lab.client("bob", BOB)
        exchanged = [replace(client("alice", ALICE), name="bob"), replace(client("bob", BOB), name="carol")]
        lab.relay.reload(changed(alice_and_bob, *exchanged))
        alice.send(BOB, b"hello")
        await bob.receives(b"hello")
        assert [(t.name, t.up, t.handshakes) for t in lab.snapshot.tunnels] == [
            ("bob", True, 1),
            ("carol", True, 1),
        ]
        lab.accounted()


async def test_a_keepalive_that_is_configured_later_begins_without_traffic() -> None:
    async with running(alice_and_bob) as lab:
        with by_hand("bob", lab.relay.address, BOB) as bob:
            await bob.up()
            await until(lambda: lab.snapshot.tunnel("bob").up)
            before = bob.device.datagrams_in
            lab.relay.reload(changed(alice_and_bob, client("alice", ALICE), client("bob", BOB, keepalive=1)))
            with trio.fail_after(PATIENCE):
                while bob.device.datagrams_in == before:
                    await bob.port.wait_readable()
                    bob.receive()


@pytest.mark.parametrize(
    "fresh", [{"public_key": public_key(key("new phone"))}, {"preshared_key": key("psk")}]
)
async def test_a_tunnel_that_changes_its_key_loses_its_session(fresh: dict[str, bytes]) -> None:
    async with running(alice_and_bob) as lab:
        await lab.client("alice", ALICE)
        old = await lab.client("bob", BOB)
        lab.relay.reload(changed(alice_and_bob, client("alice", ALICE), replace(client("bob", BOB), **fresh)))
        old.send(ALICE, b"x")
        await until(lambda: lab.snapshot.datagram_drops.get(DropReason.UNKNOWN_SESSION) == 1)
        assert not lab.snapshot.tunnel("bob").up


async def test_a_tunnel_that_moves_to_another_network_leaves_the_first() -> None:
    vnets = (network("acme"), network("umbrella"))
    before = pop(client("alice", ALICE), client("bob", BOB), vnets=vnets)
    async with running(before) as lab:
        alice, bob = await lab.client("alice", ALICE), await lab.client("bob", BOB)
        alice.send(BOB, b"hello")
        await bob.receives(b"hello")
        lab.relay.reload(changed(before, client("alice", ALICE), client("bob", BOB, vnet="umbrella")))
        alice.send(BOB, b"are you there?")
        bob.send(ALICE, b"and you?")
        await until(lambda: lab.snapshot.vnet("acme").drops == {DropReason.NO_ROUTE: 1})
        await until(lambda: lab.snapshot.vnet("umbrella").drops == {DropReason.NO_ROUTE: 1})
        assert not alice.arrivals and not bob.arrivals
        assert lab.snapshot.tunnel("bob").handshakes == 1
        lab.accounted()


async def test_a_network_that_comes_back_counts_from_zero() -> None:
    nowhere = client("nowhere", BOB, vnet="umbrella", endpoint=("127.0.0.1", 9))
    vnets = (network("acme"), network("umbrella"))
    full = pop(client("alice", ALICE, vnet="umbrella"), nowhere, vnets=vnets)
    empty = replace(full, vnets={"acme": network("acme")}, tunnels={})
    async with running(full) as lab:
        alice = await lab.client("alice", ALICE)
        alice.send(BOB, b"x")
        await until(lambda: lab.snapshot.vnet("umbrella").packets_held == 1)
        lab.relay.reload(empty)
        assert [v.name for v in lab.snapshot.vnets] == ["acme"]
        lab.relay.reload(full)
        vnet = lab.snapshot.vnet("umbrella")
        assert (vnet.packets_in, vnet.packets_out, vnet.dropped, vnet.packets_held) == (0, 0, 0, 0)
        lab.accounted()


async def test_an_endpoint_that_is_configured_later_is_called() -> None:
    async with running(alice_and_bob) as lab:
        with by_hand("bob", lab.relay.address, BOB) as bob:
            lab.relay.reload(
                changed(alice_and_bob, client("alice", ALICE), client("bob", BOB, endpoint=bob.port.address))
            )
            await until(lambda: lab.snapshot.tunnel("bob").handshakes_initiated == 1)
            await is_called(lab, bob)


async def is_called(lab: Lab, bob: Hand) -> None:
    with trio.fail_after(PATIENCE):
        while not lab.snapshot.tunnel("bob").up:
            await bob.port.wait_readable()
            bob.receive()
            await trio.sleep(0.001)


async def test_an_endpoint_that_is_corrected_is_called() -> None:
    nobody = changed(alice_and_bob, client("bob", BOB, endpoint=("127.0.0.1", 9)))
    async with running(nobody) as lab:
        with by_hand("bob", lab.relay.address, BOB) as bob:
            lab.relay.reload(changed(nobody, client("bob", BOB, endpoint=bob.port.address)))
            await is_called(lab, bob)


async def test_an_endpoint_that_nobody_answered_from_is_not_remembered() -> None:
    """Or a wrong one would win over its correction after every restart."""
    cells = Cells()
    nobody = changed(alice_and_bob, client("bob", BOB, endpoint=("127.0.0.1", 9)))
    store = MemoryStore(cells)
    async with running(nobody, store) as lab:
        await until(lambda: lab.snapshot.datagrams_out == 1)
        await lab.stop_pop()
    store.close()
    async with running(alice_and_bob) as elsewhere:
        with by_hand("bob", elsewhere.relay.address, BOB) as bob:
            right = changed(nobody, client("bob", BOB, endpoint=bob.port.address))
            async with running(right, MemoryStore(cells)) as lab:
                await is_called(lab, bob)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (changed(alice_and_bob, client("alice", ALICE), client("bob", ALICE)), ConfigError),
        (changed(alice_and_bob, client("alice", "10.1.1.1")), ConfigError),
        (changed(alice_and_bob, client("alice", ALICE, vnet="nowhere")), ConfigError),
        (replace(alice_and_bob, listen=("127.0.0.1", 51820)), Refused),
        (replace(alice_and_bob, metrics=("127.0.0.1", 9180)), Refused),
        (replace(alice_and_bob, private_key=key("another")), Refused),
    ],
    ids=["address-twice", "outside-pool", "unknown-vnet", "listen", "metrics", "key"],
)
async def test_a_wrong_configuration_changes_nothing(wrong: EdgeConfig, error: type[Exception]) -> None:
    async with running(alice_and_bob) as lab:
        alice, bob = await lab.client("alice", ALICE), await lab.client("bob", BOB)
        with pytest.raises(error):
            lab.relay.reload(wrong)
        assert lab.relay.config is alice_and_bob
        alice.send(BOB, b"as before")
        await bob.receives(b"as before")
        snapshot = lab.snapshot
        assert (snapshot.generation, snapshot.reloads_ok, snapshot.reloads_failed) == (1, 0, 1)
        assert [t.name for t in snapshot.tunnels] == ["alice", "bob"]
        assert snapshot.vnet("acme").flows == 1


def test_a_wrong_configuration_never_starts() -> None:
    with pytest.raises(ConfigError, match="both have it"):
        Relay(changed(alice_and_bob, client("alice", ALICE), client("bob", ALICE)), MemoryStore())


async def test_no_packet_is_lost_over_reloads_under_traffic() -> None:
    variants = [
        changed(
            alice_and_bob,
            client("alice", ALICE, tags=(f"generation-{n}",), keepalive=20 + n),
            client("bob", BOB),
            *(client(f"other-{m}", f"100.96.0.{100 + m}") for m in range(n)),
            vnet=network(policy=(Rule(f"rule-{n}", Action.ALLOW),)),
        )
        for n in range(10)
    ]
    async with running(alice_and_bob) as lab:
        alice, bob = await lab.client("alice", ALICE), await lab.client("bob", BOB)
        sent = []
        for n, variant in enumerate(variants):
            batch = [f"{n}.{m}".encode() for m in range(40)]
            sent += batch
            alice.send(BOB, *batch[:20])
            await trio.lowlevel.checkpoint()  # alice may have sent them, the PoP not yet forwarded
            lab.relay.reload(variant)
            alice.send(BOB, *batch[20:])
            await trio.lowlevel.checkpoint()
        await bob.receives(*sent)
        assert lab.snapshot.generation == 11
        assert lab.snapshot.tunnel("alice").handshakes == 1
        assert lab.snapshot.vnet("acme").dropped == 0
        lab.accounted()


# -- restart --


async def test_a_restarted_pop_calls_its_peers_and_forwards_before_they_speak() -> None:
    cells = Cells()
    async with trio.open_nursery() as far:
        store = MemoryStore(cells)
        async with running(alice_and_bob, store) as first:
            first.nursery = far  # alice and bob outlive the PoP
            alice, bob = await first.client("alice", ALICE), await first.client("bob", BOB)
            alice.send(BOB, b"before")
            await bob.receives(b"before")
            address = first.relay.address
        store.close()
        again = MemoryStore(cells)
        async with running(replace(alice_and_bob, listen=address), again) as second:
            await until(lambda: all(t.up for t in second.snapshot.tunnels))
            assert [t.handshakes_initiated for t in second.snapshot.tunnels] == [1, 1]
            await until(lambda: alice.endpoint.statistics().handshakes == 2)
            alice.send(BOB, b"after")
            await bob.receives(b"after")
            assert bob.endpoint.statistics().packets_out == 0, "bob never said a word"
            second.accounted()
        far.cancel_scope.cancel()


async def test_a_recorded_initiation_stays_a_replay_over_a_restart() -> None:
    cells = Cells()
    store = MemoryStore(cells)
    async with running(alice_and_bob, store) as first:
        nat = Nat(first.nursery, first.relay.address)
        await first.client("alice", ALICE, via=await nat.start())
    store.close()
    (initiation,) = [data for data in nat.captured if data[0] == HANDSHAKE_INITIATION]
    async with running(alice_and_bob, MemoryStore(cells)) as second:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mallory:
            mallory.setblocking(False)
            for count in (1, 2):
                mallory.sendto(initiation, second.relay.address)
                await until(
                    lambda count=count: (
                        second.snapshot.datagram_drops == {DropReason.HANDSHAKE_REPLAYED: count}
                    )
                )
            with pytest.raises(BlockingIOError):
                mallory.recv(2048)
            assert second.snapshot.tunnel("alice").endpoint != f"127.0.0.1:{mallory.getsockname()[1]}"
        assert not second.snapshot.tunnel("alice").up


async def test_the_same_initiation_is_answered_by_a_pop_that_forgot() -> None:
    """The control of the test above: without the state the recording would do."""
    async with running(alice_and_bob) as first:
        nat = Nat(first.nursery, first.relay.address)
        await first.client("alice", ALICE, via=await nat.start())
    (initiation,) = [data for data in nat.captured if data[0] == HANDSHAKE_INITIATION]
    async with running(alice_and_bob) as second:
        with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as mallory:
            await mallory.sendto(initiation, second.relay.address)
            with trio.fail_after(PATIENCE):
                assert (await mallory.recv(2048))[0] == RESPONSE


async def test_a_tunnel_that_a_reload_removes_during_the_greetings_is_not_called() -> None:
    names = [f"peer-{n}" for n in range(60)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.setblocking(False)
        endpoint = sink.getsockname()
        full = pop(*(client(n, f"100.96.0.{10 + i}", endpoint=endpoint) for i, n in enumerate(names)))
        async with running(full) as lab:
            await until(lambda: lab.snapshot.datagrams_out >= 16)
            called = lab.snapshot.datagrams_out
            assert called < len(names), "they are called in handfuls"
            lab.relay.reload(changed(full, client("other", BOB)))
            await trio.sleep(0.15)  # the rest would have been called in this time
            # One handful may have been on its way out already.
            assert lab.snapshot.datagrams_out <= called + GREETINGS < len(names)


# -- state that cannot be kept --


class FullDisk(MemoryStore):
    """Reads, and refuses to write while `full`."""

    full = True
    refused = 0

    def save(self, peers: Iterable[PeerState], clock: bytes | None = None) -> None:
        if self.full:
            self.refused += 1
            raise Refused("the state cannot be written: disk full")
        super().save(peers, clock)

    def forget(self, public_keys: Iterable[bytes]) -> None:
        if self.full:
            self.refused += 1
            raise Refused("the state cannot be written: disk full")
        super().forget(public_keys)


async def test_a_state_that_cannot_be_written_does_not_stop_forwarding() -> None:
    cells = Cells()
    store = FullDisk(cells)
    async with running(alice_and_bob, store) as lab:
        alice, bob = await lab.client("alice", ALICE), await lab.client("bob", BOB)
        alice.send(BOB, b"hello")
        await bob.receives(b"hello")
        assert store.refused >= 2 and not cells.peers
        store.full = False
        await lab.stop_pop()
    assert {peer.endpoint is not None for peer in cells.peers.values()} == {True}, "saved when it could be"


async def test_a_reload_is_in_force_even_if_the_state_cannot_be_written() -> None:
    store = FullDisk()
    async with running(alice_and_bob, store) as lab:
        alice = await lab.client("alice", ALICE)
        lab.relay.reload(changed(alice_and_bob, client("alice", ALICE), client("carol", "100.96.0.14")))
        assert (lab.snapshot.generation, lab.snapshot.reloads_ok, lab.snapshot.reloads_failed) == (2, 1, 0)
        carol = await lab.client("carol", "100.96.0.14")
        alice.send("100.96.0.14", b"hello")
        await carol.receives(b"hello")


async def test_a_response_leaves_only_after_its_timestamp_is_kept() -> None:
    """Else that initiation could be replayed after a crash."""
    kept_before_sent = []
    with by_hand("alice", ("127.0.0.1", 9), ALICE) as alice:

        class Watching(MemoryStore):
            def save(self, peers: Iterable[PeerState], clock: bytes | None = None) -> None:
                kept_before_sent.append(alice.port.receive() == [])
                super().save(peers, clock)

        async with running(alice_and_bob, Watching()) as lab:
            alice.tunnel.endpoint = lab.relay.address
            await alice.up()
            assert kept_before_sent and all(kept_before_sent)


# -- accounting --


async def test_packets_for_a_tunnel_that_is_down_are_held_then_dead_and_never_unaccounted() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
        nobody.bind(("127.0.0.1", 0))  # a peer that never answers
        silent = client("silent", BOB, endpoint=nobody.getsockname())
        unseen = client("unseen", "100.96.0.14")  # nobody knows where
        config = pop(client("alice", ALICE), silent, unseen)
        async with running(config) as lab:
            alice = await lab.client("alice", ALICE)

            def vnet():
                found = lab.snapshot.vnet("acme")
                assert found.unaccounted == 0
                return found

            alice.send(BOB, *[b"x"] * 100)
            await until(lambda: vnet().packets_in == 100)
            assert (vnet().packets_held, vnet().dropped, vnet().packets_out) == (100, 0, 0)
            alice.send(BOB, *[b"x"] * 100)
            await until(lambda: vnet().packets_in == 200)
            assert (vnet().packets_held, vnet().drops) == (128, {DropReason.TUNNEL_DOWN: 72})
            alice.send("100.96.0.14", b"x", b"x")
            await until(lambda: vnet().packets_in == 202)
            assert (vnet().packets_held, vnet().drops) == (128, {DropReason.TUNNEL_DOWN: 74})
            # A change of the tunnel, then its removal: what waited dies, counted once.
            lab.relay.reload(changed(config, client("alice", ALICE), replace(silent, tags=("x",)), unseen))
            assert (vnet().packets_held, vnet().drops) == (0, {DropReason.TUNNEL_DOWN: 202})
            alice.send(BOB, b"x")
            await until(lambda: vnet().packets_held == 1)
            lab.relay.reload(changed(config, client("alice", ALICE)))
            assert (vnet().packets_held, vnet().drops) == (0, {DropReason.TUNNEL_DOWN: 203})
            assert vnet().packets_out == 0


async def test_packets_that_wait_for_a_handshake_leave_when_it_is_made() -> None:
    async with running(alice_and_bob) as lab:
        with by_hand("bob", lab.relay.address, BOB) as bob:
            lab.relay.reload(
                changed(alice_and_bob, client("alice", ALICE), client("bob", BOB, endpoint=bob.port.address))
            )
            alice = await lab.client("alice", ALICE)
            alice.send(BOB, b"1", b"2")
            await until(lambda: lab.snapshot.vnet("acme").packets_held == 2)
            with trio.fail_after(PATIENCE):
                while len(bob.host.arrivals) < 2:
                    await bob.port.wait_readable()
                    bob.receive()
            assert bob.host.payloads == [b"1", b"2"]
            vnet = lab.snapshot.vnet("acme")
            assert (vnet.packets_held, vnet.packets_out, vnet.dropped) == (0, 2, 0)
            lab.accounted()


async def test_generated_answers_are_accounted() -> None:
    async with running(alice_and_bob) as lab:
        alice = await lab.client("alice", ALICE)
        alice.send("192.168.7.7", b"nobody has this")
        await until(lambda: len(alice.others) == 1)
        assert (alice.others[0].icmp_type, alice.others[0].source) == (3, ip("100.96.0.1"))
        vnet = lab.snapshot.vnet("acme")
        assert (vnet.packets_in, vnet.packets_generated, vnet.packets_out) == (1, 1, 1)
        lab.accounted()


def test_a_pop_that_does_not_run_has_an_empty_snapshot() -> None:
    relay = Relay(alice_and_bob, MemoryStore())
    assert relay.snapshot().vnets == () and relay.snapshot().started_at > 0
    assert relay.public_key == public_key(POP_KEY)


# -- stop --


async def test_a_stop_forwards_what_has_arrived() -> None:
    async with running(alice_and_bob) as lab:
        with (
            by_hand("alice", lab.relay.address, ALICE) as alice,
            by_hand("bob", lab.relay.address, BOB) as bob,
        ):
            await alice.up()
            await bob.up()
            await until(lambda: all(t.up for t in lab.snapshot.tunnels))
            payloads = [f"{n}".encode() for n in range(200)]  # more than one turn of the PoP reads
            alice.host.send(BOB, *payloads)
            alice.flush()
            await lab.stop_pop()
            bob.receive()
            assert bob.host.payloads == payloads
            assert lab.snapshot.vnet("acme").packets_out == 200
            lab.accounted()


async def test_a_stop_frees_the_port() -> None:
    async with running(alice_and_bob) as first:
        address = first.relay.address
        with pytest.raises(ExceptionGroup) as refused:
            async with running(replace(alice_and_bob, listen=address)):
                pass
        assert refused.group_contains(Refused, match="taken")
    async with running(replace(alice_and_bob, listen=address)) as second:
        assert second.relay.address == address


# -- roaming --


async def test_a_client_whose_port_changes_keeps_its_session_in_both_directions() -> None:
    async with running(alice_and_bob) as lab:
        nat = Nat(lab.nursery, lab.relay.address)
        alice = await lab.client("alice", ALICE, via=await nat.start())
        bob = await lab.client("bob", BOB)
        for n in range(3):
            host, port = await nat.rebind()
            alice.send(BOB, b"moved %d" % n)
            await bob.receives(b"moved %d" % n)
            assert lab.snapshot.tunnel("alice").endpoint == f"{host}:{port}"
            bob.send(ALICE, b"followed %d" % n)
            await alice.receives(b"followed %d" % n)
        assert lab.snapshot.tunnel("alice").handshakes == 1


async def test_a_recorded_packet_from_elsewhere_moves_nobody() -> None:
    async with running(alice_and_bob) as lab:
        nat = Nat(lab.nursery, lab.relay.address)
        alice = await lab.client("alice", ALICE, via=await nat.start())
        bob = await lab.client("bob", BOB)
        alice.send(BOB, b"hello")
        await bob.receives(b"hello")
        endpoint = lab.snapshot.tunnel("alice").endpoint
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mallory:
            for data in nat.captured:
                mallory.sendto(data, lab.relay.address)
        await until(lambda: sum(lab.snapshot.datagram_drops.values()) == len(nat.captured))
        assert lab.snapshot.tunnel("alice").endpoint == endpoint
        bob.send(ALICE, b"where are you?")
        await alice.receives(b"where are you?")


async def test_its_sockets_are_opened_where_the_caller_says() -> None:
    events: list[str] = []

    @contextmanager
    def elsewhere() -> Iterator[None]:
        events.append("enter")
        yield
        events.append("leave")

    config = pop()
    taken = UdpPort.bind(("127.0.0.1", 0))
    relay = Relay(replace(config, listen=taken.address), MemoryStore(), opening=elsewhere)
    with pytest.raises(Refused):  # inside, where the port is looked for
        await relay.run()
    assert events == ["enter"]
    taken.close()
    async with trio.open_nursery() as nursery:
        await nursery.start(relay.run)
        assert events == ["enter", "enter", "leave"]  # left again before anything is served
        nursery.cancel_scope.cancel()
