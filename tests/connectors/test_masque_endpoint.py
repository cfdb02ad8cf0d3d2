"""Far ends of MASQUE tunnels on real sockets: over QUIC, over TCP where UDP is blocked, and how they leave."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connectors.client import Client
from connectors.endpoint import Endpoint
from connectors.proto.choosing_end import ChoosingEnd
from connectors.proto.masque_way import ADVICE
from connectors.ways import MasqueTarget, make_end
from edge.config import TunnelKind, public_key
from edge.io.udp import UdpPort
from tests.edge.io.http2.identities import SERVER_NAME, server
from tests.edge.server.lab import POP_PUBLIC, Host, key, running, until
from tests.edge.server.masque_world import client, config, token

ALICE, BOB = "100.96.0.12", "100.96.0.13"
TWO = config(client("alice", ALICE), client("bob", BOB))


class Blocked:
    """A UDP port of a network that lets no UDP out."""

    def __init__(self, port):
        self._port = port

    def __getattr__(self, name):
        return getattr(self._port, name)

    def send(self, batches):
        pass

    @classmethod
    def bind(cls, address):
        return cls(UdpPort.bind(address))


def target(world, name, **rest):
    return MasqueTarget(
        world.relay.masque_address, SERVER_NAME, pinned_key=server().public_key, token=token(name), **rest
    )


async def attach(world, name, address, *, up=True, **rest):
    host = Host(address)
    settings = {"tunnel": "masque", "masque": target(world, name), **rest}
    end = Client(name, key(name), POP_PUBLIC, world.relay.address, host, **settings)
    return await world.attach(end, host, up)


def way(host):
    core = host.endpoint.core
    assert isinstance(core, ChoosingEnd)
    return core.way


async def test_two_clients_over_quic_talk():
    async with running(TWO) as world:
        alice, bob = await attach(world, "alice", ALICE), await attach(world, "bob", BOB)
        alice.send(BOB, b"hello")
        await bob.receives(b"hello")
        bob.send(ALICE, *[b"%d" % number for number in range(50)])
        await alice.receives(*[b"%d" % number for number in range(50)])
        assert (way(alice), world.snapshot.tunnel("bob").http) == ("h3", "h3")
        world.accounted()


async def test_where_udp_does_not_get_through_they_come_over_tcp():
    async with running(TWO) as world:
        alice = await attach(world, "alice", ALICE)
        bob = await attach(world, "bob", BOB, open_port=Blocked.bind)
        alice.send(BOB, b"hello", bytes(1200))
        await bob.receives(b"hello", bytes(1200))
        assert (way(bob), world.snapshot.tunnel("bob").http) == ("h2", "h2")
        world.accounted()


@pytest.mark.parametrize("port", [UdpPort, Blocked])
async def test_a_stop_is_a_goodbye(port):
    async with running(TWO) as world:
        alice = await attach(world, "alice", ALICE, open_port=port.bind)
        alice.endpoint.stop(graceful=True)
        await until(lambda: not world.snapshot.tunnel("alice").up)
        assert world.snapshot.masque.refused == {}


async def test_a_crash_is_not_and_the_tunnel_comes_back():
    async with running(TWO) as world:
        alice = await attach(world, "alice", ALICE)
        alice.endpoint.stop(graceful=False)
        assert world.snapshot.tunnel("alice").up
        await world.nursery.start(alice.endpoint.run)
        await alice.endpoint.wait_up()
        await until(lambda: world.snapshot.tunnel("alice").handshakes == 2)
        bob = await attach(world, "bob", BOB)
        bob.send(ALICE, b"to the new one")
        await alice.receives(b"to the new one")


@pytest.mark.parametrize("port", [UdpPort, Blocked])
async def test_a_pop_that_stops_tells_its_clients(port):
    async with running(TWO) as world:
        alice = await attach(world, "alice", ALICE, open_port=port.bind)
        await world.stop_pop()
        await until(lambda: way(alice) == "")


async def test_who_may_come_by_both_comes_by_wireguard_where_masque_is_not():
    dave = client("dave", "100.96.0.20", tunnel=TunnelKind.AUTO, public_key=public_key(key("dave")))
    async with running(replace(TWO, tunnels={**TWO.tunnels, "dave": dave})) as world:
        nowhere = replace(target(world, "dave"), pop=("127.0.0.1", 1))
        host = await attach(world, "dave", "100.96.0.20", tunnel="auto", masque=nowhere)
        alice = await attach(world, "alice", ALICE)
        host.send(ALICE, b"by wireguard")
        await alice.receives(b"by wireguard")
        assert way(host) == "wireguard" and world.snapshot.tunnel("dave").tunnel == "wireguard"
        alice.send("100.96.0.20", b"answer")
        await host.receives(b"answer")


async def test_a_wrong_token_is_no_tunnel():
    async with running(TWO) as world:
        wrong = replace(target(world, "alice"), token=b"wrong")
        alice = await attach(world, "alice", ALICE, masque=wrong, up=False)
        await until(lambda: world.snapshot.masque.refused.get(401, 0) > 0)
        assert not alice.endpoint.up and not world.snapshot.tunnel("alice").up
        await until(lambda: len(alice.endpoint.failures) == 2)
        refused = f"the server refuses the tunnel: 401: {ADVICE[401]}"
        assert alice.endpoint.failures == [f"h3: {refused}", f"h2: {refused}"]


async def test_a_closed_tcp_port_is_said_to_be_one():
    async with running(TWO) as world:
        nowhere = replace(target(world, "alice"), pop=("127.0.0.1", 1))
        alice = await attach(world, "alice", ALICE, masque=nowhere, up=False)
        await until(lambda: "h2: connection refused" in alice.endpoint.failures)


def test_what_an_end_needs_to_know_is_asked_for():
    for word in ("masque", "auto"):
        with pytest.raises(ValueError, match="where the PoP is"):
            make_end(
                word,
                Host(ALICE),
                wireguard=None,
                masque=None,
                now=0.0,
                epoch=0.0,
                rng=lambda size: bytes(size),
            )


def test_no_secret_is_in_a_repr():
    secret = replace(
        MasqueTarget(("127.0.0.1", 1), SERVER_NAME, pinned_key=b"k", token=b"token-of-alice"),
        private_key=b"PRIVATE",
    )
    end = Endpoint("alice", key("alice"), POP_PUBLIC, ("127.0.0.1", 1), Host(ALICE), masque=secret)
    assert "token-of" not in f"{secret} {end}" and "PRIVATE" not in f"{secret} {end}"
