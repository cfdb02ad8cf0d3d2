"""MASQUE at a whole PoP, with real QUIC, TLS and WireGuard in memory: packets, credentials, reloads, accounting."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.config import TunnelKind, public_key
from edge.document import Prefix
from edge.errors import Refused
from edge.proto.forwarding import Action
from edge.proto.masque.capsule import encode_capsule
from edge.proto.masque.client import SessionState
from edge.proto.masque.request import Dialect
from edge.proto.masque.route import prefixes_of
from edge.proto.masque.server import REFUSALS_LIMIT
from edge.proto.types import DropReason
from edge.server.assembly import ADVERTISED
from edge.server.engine import NAMED_UPS
from tests.edge.io.http2 import identities
from tests.edge.server import lab
from tests.edge.server.lab import ip, key, network
from tests.edge.server.masque_world import (
    H2,
    H3,
    WARP_NAME,
    World,
    client,
    config,
    listener,
    packet,
    read,
    site,
    token,
)

VERSIONS = pytest.mark.parametrize("version", [H3, H2])
ALICE, BOB, CAROL = "100.96.0.12", "100.96.0.13", "100.96.0.14"
TWO = (client("alice", ALICE), client("bob", BOB))
MANY = [packet(ALICE, BOB, bytes(1000)) for number in range(240)]


def prefixes(far):
    return [f"{ip_text(address)}/{length}" for address, length in prefixes_of(far.session.routes)]


def ip_text(address):
    return str(Prefix.of(address)).partition("/")[0]


# -- packets --


@VERSIONS
def test_packets_go_between_clients_of_any_version_and_are_all_accounted_for(version):
    world = World(config(*TWO))
    alice, bob = world.dial(version, "alice"), world.dial(H3, "bob")
    assert alice.up and bob.up
    assert [a.prefix for a in alice.session.assigned] == [(ip(ALICE), 32)]
    alice.seal(packet(ALICE, BOB), packet(ALICE, BOB, b"again"))
    world.settle()
    assert bob.payloads() == [b"hello", b"again"]
    bob.seal(packet(BOB, ALICE, b"answer"))
    world.settle()
    assert alice.payloads() == [b"answer"]
    now = world.snapshot
    vnet = now.vnet("acme")
    assert (vnet.packets_in, vnet.packets_out, vnet.dropped, vnet.packets_held) == (3, 3, 0, 0)
    assert (now.tunnel("alice").tunnel, now.tunnel("alice").http, now.tunnel("alice").up) == (
        "masque", str(version), True
    )  # fmt: skip
    assert (now.tunnel("alice").packets_rx, now.tunnel("alice").packets_tx) == (2, 1)
    assert now.masque is not None and sum(now.masque.sessions.values()) == 2
    assert now.masque.connections[version] >= 1 and now.masque.refused == {}


@VERSIONS
def test_packets_of_1280_octets_cross_and_larger_ones_are_answered(version):
    """The MTU of every MASQUE tunnel, whatever that of its network is."""
    world = World(config(*TWO, lab.client("carol", CAROL)))
    alice, bob, carol = world.dial(H3, "alice"), world.dial(version, "bob"), world.device("carol")
    alice.seal(packet(ALICE, BOB, bytes(1280 - 28)))
    world.settle()
    assert bob.payloads() == [bytes(1280 - 28)]
    fixed = bytearray(packet(CAROL, BOB, bytes(1281 - 28)))
    assert fixed[6] & 0x40, "not to be fragmented"
    world.say(carol, bytes(fixed))
    (answer,) = world.from_wireguard["carol"]
    assert answer[20:22] == b"\x03\x04" and int.from_bytes(answer[26:28]) == 1280
    assert bob.payloads() == []
    world.accounted()


def test_a_source_that_is_not_the_tunnels_is_dropped():
    world = World(config(*TWO))
    alice, bob = world.dial(H3, "alice"), world.dial(H3, "bob")
    alice.seal(packet(CAROL, BOB))
    world.settle()
    assert bob.payloads() == []
    assert world.snapshot.vnet("acme").drops[DropReason.SPOOFED_SOURCE] == 1


def test_networks_with_the_same_addresses_do_not_meet():
    vnets = (network(mtu=1420), network("other", mtu=1420))
    world = World(config(*TWO, client("eve", BOB, "other"), vnets=vnets))
    alice, bob, eve = (world.dial(H3, name) for name in ("alice", "bob", "eve"))
    alice.seal(packet(ALICE, BOB))
    world.settle()
    assert bob.payloads() == [b"hello"] and eve.payloads() == []
    eve.seal(packet(BOB, ALICE))
    world.settle()
    assert alice.payloads() == []
    assert world.snapshot.vnet("other").drops == {DropReason.NO_ROUTE: 1}


# -- who is let in --


@pytest.mark.parametrize("shown", [b"wrong", b"", token("bob")])
@VERSIONS
def test_strangers_are_refused(version, shown):
    world = World(config(*TWO))
    far = world.dial(version, shown=shown, user="alice" if shown else "")
    assert (far.session.state, far.session.status) == (SessionState.REFUSED, 401)
    now = world.snapshot
    assert now.masque.refused == {401: 1} and not now.tunnel("alice").up and not now.tunnel("bob").up
    world.later(1.5)
    assert [line["requests"] for line in world.events("masque-refused")] == [1]
    assert not any(token("bob").decode() in str(line) for line in world.lines)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # by our own client
@pytest.mark.parametrize("serial", [0, 7])
@VERSIONS
def test_a_warp_client_is_known_by_its_key(version, serial):
    identity = identities.client(serial=serial)
    world = World(
        config(client("alice", ALICE), client("bob", BOB, token_sha256=b"", client_key=identity.public_key))
    )
    alice = world.dial(H3, "alice")
    bob = world.dial(version, identity=identity, dialect=Dialect.WARP, server_name=WARP_NAME)
    assert bob.up and bob.session.assigned == [] and bob.session.routes == []
    bob.seal(packet(BOB, ALICE))
    alice.seal(packet(ALICE, BOB, b"answer"))
    world.settle()
    assert (alice.payloads(), bob.payloads()) == ([b"hello"], [b"answer"])


@pytest.mark.parametrize("identity", [None, identities.client()], ids=["nobody", "a stranger"])
def test_over_http3_a_warp_client_that_is_not_known_reads_login_failed(identity):
    world = World(config(*TWO))
    far = world.dial(H3, identity=identity, dialect=Dialect.WARP, server_name=WARP_NAME)
    assert far.end is not None
    assert (far.end.code, far.end.reason, far.end.transport, far.end.by_peer) == (0x131, "", True, True)


@pytest.mark.parametrize("server_name", [WARP_NAME, identities.SERVER_NAME])
def test_over_http2_it_is_answered(server_name):
    world = World(config(*TWO))
    far = world.dial(H2, identity=identities.client(), dialect=Dialect.WARP, server_name=server_name)
    assert (far.session.state, far.session.status) == (SessionState.REFUSED, 403)
    assert world.snapshot.masque.refused == {403: 1}


@VERSIONS
def test_a_client_that_asks_in_vain_again_and_again_is_cut_off_and_its_tunnel_is_accounted_for(version):
    world = World(config(*TWO))
    alice, bob = world.dial(version, "alice"), world.dial(H3, "bob")
    for _ in range(REFUSALS_LIMIT):
        carrier = alice.client.carrier
        carrier.end(carrier.request([(b":method", b"CONNECT"), (b":authority", b"x:1"), (b"a", b"b")]))
    bob.seal(packet(BOB, ALICE))  # in the same turn
    world.settle()
    assert alice.end is not None and not world.snapshot.tunnel("alice").up
    vnet = world.snapshot.vnet("acme")
    assert vnet.packets_out == len(alice.payloads()) and vnet.packets_in == vnet.packets_out + vnet.dropped


@VERSIONS
def test_a_malformed_capsule_costs_its_session_and_no_other(version):
    world = World(config(*TWO))
    alice, bob = world.dial(version, "alice"), world.dial(version, "bob")
    alice.client.carrier.send_data(stream_of(alice), encode_capsule(2, b""))
    world.settle()
    assert alice.session.state is SessionState.DOWN and alice.end is None and bob.up
    assert world.snapshot.datagram_drops[DropReason.MALFORMED] == 1
    bob.seal(packet(BOB, "100.96.0.1"))
    world.settle()
    assert world.snapshot.tunnel("bob").packets_rx == 1


def test_whatever_strangers_send_the_others_go_on():
    world = World(config(*TWO))
    alice, bob = world.dial(H3, "alice"), world.dial(H2, "bob")
    for number in range(200):
        junk = sha256(b"%d" % number).digest() * (1 + number % 40)
        if number % 3 == 0:
            junk = bytes([0xC0, 0, 0, 0, 1]) + junk  # a long header of QUIC
        world.engine.turn([], world.now, [read(junk, ("203.0.113.9", number))])
    alice.seal(packet(ALICE, BOB))
    world.settle()
    assert bob.payloads() == [b"hello"]
    assert world.snapshot.masque.connections[H3] <= 2


# -- accounting, whatever becomes of the session --


def fill(world, far, *others):
    """More packets for `far` than its connection takes now: some wait at the PoP."""
    far.hears = False
    others[0].seal(*MANY[:120])
    world.settle()
    others[0].seal(*MANY[120:240])
    world.settle()
    waiting = world.snapshot.vnet("acme").packets_held
    assert waiting > 0
    return waiting


def test_what_waits_is_held_and_leaves_when_it_can():
    world = World(config(*TWO))
    alice, bob = world.dial(H3, "alice"), world.dial(H3, "bob")
    fill(world, bob, alice)
    world.accounted()
    bob.hears = True
    world.later(5)
    vnet = world.snapshot.vnet("acme")
    assert vnet.packets_held == 0 and vnet.packets_in == vnet.packets_out + vnet.dropped
    # What left while nobody listened is lost on the way: QUIC does not repeat datagrams.
    assert len(bob.payloads()) <= vnet.packets_out


def stream_of(far):
    return 0 if far.client.carrier.version is H3 else 1


ENDS = {
    "the connection dies": lambda world, bob: bob.client.carrier.close(0x100),
    "the session ends": lambda world, bob: bob.session.end(),
    "it is reset": lambda world, bob: bob.client.carrier.reset(stream_of(bob), 0x8),
    "the PoP drains": lambda world, bob: world.engine.drain(world.now),
    "it is removed": lambda world, bob: world.engine.reload(config(TWO[0]), world.now),
    "its token is another": lambda world, bob: world.engine.reload(
        config(TWO[0], replace(TWO[1], token_sha256=bytes(32))), world.now
    ),
    "its settings change": lambda world, bob: world.engine.reload(
        config(TWO[0], replace(TWO[1], tags=("new",))), world.now
    ),
    "the network's MTU changes": lambda world, bob: world.engine.reload(
        config(*TWO, vnets=(network(mtu=1300),)), world.now
    ),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@VERSIONS
def test_what_waits_dies_counted_when(version, end):
    world = World(config(*TWO))
    alice, bob = world.dial(H3, "alice"), world.dial(version, "bob")
    waiting = fill(world, bob, alice)
    before = world.snapshot.vnet("acme")
    end(world, bob)
    world.accounted()
    bob.hears = True
    world.settle()
    world.later(2)
    after = world.snapshot.vnet("acme")
    assert after.packets_held == 0 and after.packets_in == before.packets_in == 240
    assert after.packets_in == after.packets_out + after.dropped
    assert after.drops[DropReason.TUNNEL_DOWN] == waiting + before.drops.get(DropReason.TUNNEL_DOWN, 0)


def test_what_waits_for_a_client_that_vanished_dies_with_the_idle_timeout():
    world = World(config(*TWO))
    alice, bob = world.dial(H3, "alice"), world.dial(H3, "bob")
    fill(world, bob, alice)
    world.vanishes(bob)
    world.later(60)
    vnet = world.snapshot.vnet("acme")
    assert not world.snapshot.tunnel("bob").up and vnet.packets_held == 0
    assert vnet.drops == {DropReason.TUNNEL_DOWN: 240 - vnet.packets_out}


def test_a_session_that_is_replaced_sends_what_waits_in_it():
    world = World(config(*TWO))
    alice, bob = world.dial(H3, "alice"), world.dial(H3, "bob")
    fill(world, bob, alice)
    again = world.dial(H3, "bob")
    alice.seal(packet(ALICE, BOB, b"new"))
    world.settle()
    assert again.payloads() == [b"new"]
    world.accounted()
    bob.hears = True
    world.later(40)
    vnet = world.snapshot.vnet("acme")
    assert vnet.packets_held == 0 and vnet.packets_in == vnet.packets_out + vnet.dropped == 241


def test_nothing_leaves_in_another_network_that_was_decided_in_the_old_one():
    """bob moves with his session; what waited for him does not."""
    vnets = (network(mtu=1420), network("other", mtu=1420))
    world = World(config(*TWO, vnets=vnets))
    alice, bob = world.dial(H3, "alice"), world.dial(H3, "bob")
    waiting = fill(world, bob, alice)
    sent = world.snapshot.datagrams_out
    moved = config(TWO[0], replace(TWO[1], vnet="other"), client("eve", CAROL, "other"), vnets=vnets)
    world.engine.reload(moved, world.now)
    bob.hears = True
    world.later(3)
    eve = world.dial(H3, "eve")
    assert bob.up and bob.payloads() == []
    old, new = world.snapshot.vnet("acme"), world.snapshot.vnet("other")
    assert old.drops[DropReason.TUNNEL_DOWN] == waiting and old.packets_held == 0
    assert old.packets_in == old.packets_out + old.dropped == 240
    assert (new.packets_in, new.packets_out, new.dropped) == (0, 0, 0)
    eve.seal(packet(CAROL, BOB))
    alice.seal(packet(ALICE, BOB))
    world.settle()
    assert bob.payloads() == [b"hello"]
    now = world.snapshot
    assert (now.vnet("other").packets_out, now.vnet("acme").drops[DropReason.NO_ROUTE]) == (1, 1)
    assert now.tunnel("bob").vnet == "other" and sent < now.datagrams_out


# -- reloads --


@VERSIONS
def test_the_token_of_a_tunnel_that_is_removed_is_dead_at_once(version):
    world = World(config(*TWO))
    bob = world.dial(version, "bob")
    world.engine.reload(config(TWO[0]), world.now)
    world.settle()
    assert bob.session.state is SessionState.DOWN
    assert world.dial(version, "bob").session.status == 401


def test_a_session_lives_through_a_reload_that_changes_other_things():
    world = World(config(*TWO))
    bob = world.dial(H3, "bob")
    world.engine.reload(config(replace(TWO[0], tags=("x",)), TWO[1]), world.now)
    world.engine.reload(config(TWO[0], replace(TWO[1], name="robert")), world.now)
    world.settle()
    assert bob.up and world.snapshot.tunnel("robert").up
    assert world.dial(H3, user="robert", shown=token("bob")).up  # by its new name
    assert world.dial(H3, user="bob", shown=token("bob")).session.status == 401


def test_routes_are_told_without_a_tunnels_own_and_anew_when_they_change():
    tunnels = (
        client("alice", ALICE),
        site("office", "10.1.0.0/16", "10.9.0.0/16"),
        site("plant", "10.2.0.0/16"),
    )
    world = World(config(*tunnels))
    alice, office = world.dial(H3, "alice"), world.dial(H2, "office")
    assert prefixes(alice) == ["10.1.0.0/16", "10.2.0.0/16", "10.9.0.0/16", "100.96.0.0/24"]
    assert prefixes(office) == ["10.2.0.0/16", "100.96.0.0/24"]
    assert office.session.assigned == []
    changed = replace(tunnels[2], routes=(Prefix.parse("10.3.0.0/16"),))
    world.engine.reload(config(tunnels[0], tunnels[1], changed), world.now)
    world.settle()
    assert prefixes(alice) == ["10.1.0.0/16", "10.3.0.0/16", "10.9.0.0/16", "100.96.0.0/24"]
    assert prefixes(office) == ["10.3.0.0/16", "100.96.0.0/24"]
    moved = replace(tunnels[0], addresses=(ip("100.96.0.99"),))
    world.engine.reload(config(moved, tunnels[1], changed), world.now)
    world.settle()
    assert [a.prefix for a in alice.session.assigned] == [(ip("100.96.0.99"), 32)]


def test_routes_of_wireguard_tunnels_are_told_and_those_of_other_networks_are_not():
    vnets = (network(mtu=1420), network("other", mtu=1420, pool=Prefix.parse("100.97.0.0/24")))
    tunnels = (
        client("alice", ALICE), lab.site("plant", "10.2.0.0/16"), lab.site("foreign", "10.3.0.0/16", vnet="other")
    )  # fmt: skip
    world = World(config(*tunnels, vnets=vnets))
    assert prefixes(world.dial(H3, "alice")) == ["10.2.0.0/16", "100.96.0.0/24"]


def test_more_routes_than_one_may_tell_are_told_as_everything():
    many = tuple(f"10.{n // 256}.{n % 256}.0/24" for n in range(ADVERTISED))
    world = World(config(client("alice", ALICE), site("office", *many), site("plant", "172.16.0.0/16")))
    alice, office = world.dial(H3, "alice"), world.dial(H3, "office")
    assert prefixes(alice) == ["0.0.0.0/0", "::/0"]
    assert prefixes(office) == ["100.96.0.0/24", "172.16.0.0/16"]


def test_a_certificate_that_cannot_be_used_changes_nothing():
    world = World(config(*TWO))
    bad = config(TWO[0], masque=listener(certificate=b"rubbish"))
    with pytest.raises(Refused, match="certificate"):
        world.engine.reload(bad, world.now)
    assert world.engine.generation == 1 and set(world.engine.pop.attachments) == {"alice", "bob"}
    assert world.dial(H3, "bob").up


def test_a_new_certificate_is_for_new_connections():
    world = World(config(*TWO))
    bob = world.dial(H3, "bob")
    other = identities.client()
    world.engine.reload(
        config(*TWO, masque=listener(certificate=other.certificate, private_key=other.private_key)), world.now
    )
    world.settle()
    assert bob.up
    for version in (H3, H2):
        far = world.dial(version, "alice")  # which knows the old key
        assert not far.up and far.end is not None


def test_draining_lets_clients_know():
    world = World(config(*TWO))
    fars = [world.dial(H3, "alice"), world.dial(H2, "bob")]
    world.engine.drain(world.now)
    world.settle()
    for far in fars:
        assert far.session.state is SessionState.DOWN and far.end is not None
        assert far.end.code in (0, 0x100)  # no error


def test_what_is_told_names_the_tunnel_and_no_secret():
    world = World(config(*TWO))
    alice = world.dial(H2, "alice")
    alice.session.end()
    world.settle()
    (up,), (down,) = world.events("tunnel-up"), world.events("session-down")
    assert (up["tunnel"], up["vnet"], up["http"], up["dialect"]) == ("alice", "acme", "h2", "standard")
    assert (down["tunnel"], down["reason"]) == ("alice", "ended by the peer")
    text = f"{world.lines} {world.engine.config} {world.snapshot}"
    assert token("alice").decode() not in text and "PRIVATE" not in text


def test_a_tunnel_that_is_up_already_is_not_told_of_again():
    world = World(config(TWO[0], auto()))
    for version in (H3, H2, H3):
        world.dial(version, "dave")
        world.later(2)
    world.dial(H3, "alice").client.carrier.close(0x100)
    world.settle()
    world.dial(H3, "alice")
    assert [line["tunnel"] for line in world.events("tunnel-up")] == ["dave", "alice", "alice"]


def test_what_happens_to_many_at_once_is_told_as_a_number():
    names = [f"c{number}" for number in range(NAMED_UPS + 3)]
    clients = [client(name, f"100.96.0.{100 + number}") for number, name in enumerate(names)]
    world = World(config(*clients))
    fars = [world.dial(H2, name) for name in names]
    world.later(2)
    for far in fars:
        far.client.carrier.close(0)
    world.settle()
    world.later(2)
    assert len(world.events("session-down")) == NAMED_UPS
    assert [line["sessions"] for line in world.events("more-sessions-down")] == [3]


# -- a peer that may come by both ways --


def auto(name="dave", address="100.96.0.20", **rest):
    return client(name, address, tunnel=TunnelKind.AUTO, public_key=public_key(key(name)), **rest)


DAVE = "100.96.0.20"


def where(world, alice, far):
    """By which way a packet for dave arrives."""
    far.payloads()
    world.from_wireguard["dave"].clear()
    alice.seal(packet(ALICE, DAVE))
    world.settle()
    return ["masque"] * len(far.payloads()) + ["wireguard"] * len(world.from_wireguard["dave"])


def test_replies_follow_the_way_that_the_peer_spoke_last():
    world = World(config(TWO[0], auto()))
    alice, dave = world.dial(H3, "alice"), world.dial(H3, "dave")
    device = world.device("dave")
    assert where(world, alice, dave) == ["masque"]  # a handshake alone is no word
    world.say(device, packet(DAVE, ALICE, b"by wireguard"))
    assert where(world, alice, dave) == ["wireguard"]
    dave.seal(packet(DAVE, ALICE, b"by masque"))
    world.settle()
    assert where(world, alice, dave) == ["masque"]
    dave.session.end()
    world.settle()
    assert where(world, alice, dave) == ["wireguard"]
    assert alice.payloads() == [b"by wireguard", b"by masque"]
    tunnel, vnet = world.snapshot.tunnel("dave"), world.snapshot.vnet("acme")
    assert (tunnel.packets_rx, tunnel.packets_tx) == (2, 4)
    assert (vnet.packets_in, vnet.packets_out, vnet.dropped) == (6, 6, 0)


def test_its_handshakes_are_those_of_both_ways_and_never_fewer():
    world = World(config(TWO[0], auto()))
    dave = world.dial(H3, "dave")
    world.dial(H2, "dave")
    assert world.snapshot.tunnel("dave").handshakes == 2
    world.say(world.device("dave"), packet(DAVE, ALICE))
    tunnel = world.snapshot.tunnel("dave")
    assert (tunnel.handshakes, tunnel.tunnel, tunnel.http) == (3, "wireguard", "")
    dave.seal(packet(DAVE, ALICE))
    world.settle()
    assert world.snapshot.tunnel("dave").handshakes == 3


def test_a_reload_keeps_the_way_that_is_in_use():
    world = World(config(TWO[0], auto()))
    alice, device = world.dial(H3, "alice"), world.device("dave")
    world.say(device, packet(DAVE, ALICE))
    world.engine.reload(config(TWO[0], auto(tags=("new",))), world.now)
    alice.seal(packet(ALICE, DAVE, b"still there"))
    world.settle()
    assert [each[28:39] for each in world.from_wireguard["dave"]] == [b"still there"]
    dave = world.dial(H3, "dave")
    assert where(world, alice, dave) == ["masque"]
    world.engine.reload(config(TWO[0], auto(tags=("newer",))), world.now)
    assert where(world, alice, dave) == ["masque"]
    world.say(device, packet(DAVE, ALICE))
    world.engine.reload(config(TWO[0], auto(tags=("newest",))), world.now)
    assert where(world, alice, dave) == ["wireguard"]
    world.accounted()


def test_it_is_up_by_either_way():
    world = World(config(TWO[0], auto()))
    assert not world.snapshot.tunnel("dave").up
    dave = world.dial(H3, "dave")
    world.say(world.device("dave"), packet(DAVE, ALICE))
    world.later(200)  # the keys of WireGuard are too old by now
    dave_is = world.snapshot.tunnel("dave")
    assert dave.up and dave_is.up and (dave_is.tunnel, dave_is.http) == ("masque", "h3")


def test_a_rule_that_comes_with_a_reload_is_for_masque_too():
    world = World(config(*TWO))
    alice, bob = world.dial(H3, "alice"), world.dial(H3, "bob")
    alice.seal(packet(ALICE, BOB))
    world.settle()
    world.engine.reload(config(*TWO, vnets=(network(mtu=1420, default=Action.BLOCK),)), world.now)
    alice.seal(packet(ALICE, BOB))
    world.settle()
    assert bob.payloads() == [b"hello"]
    assert world.snapshot.vnet("acme").drops == {DropReason.POLICY_BLOCKED: 1}


@pytest.mark.parametrize("version", [H3, H2])
def test_what_a_peer_gives_as_its_reason_forges_no_line_and_steers_no_terminal(version):
    world = World(config(client("alice", "100.96.0.2")))
    alice = world.dial(version, "alice")
    alice.client.carrier.close(0x100 if version is H3 else 1, "bye\nevent=tunnel-up \x1b[31m" + "x" * 900)
    world.settle()
    [line] = world.events("session-down")
    assert line["reason"].isprintable() and len(line["reason"]) <= 200
    assert line["reason"].startswith("bye?event")


def test_a_fallback_and_the_return_from_it_are_told():
    world = World(config(client("alice", "100.96.0.2")))
    first = world.dial(H3, "alice")
    second = world.dial(H2, "alice")
    first.client.carrier.close(0x100)
    world.settle()
    world.dial(H3, "alice")
    second.client.carrier.close(0)
    world.settle()
    told = [(line["tunnel"], line["before"], line["http"]) for line in world.events("tunnel-switched")]
    assert told == [("alice", "h3", "h2"), ("alice", "h2", "h3")]
    assert len(world.events("tunnel-up")) == 1, "it was never down"


# -- whatever happens --

RELOADS = {
    "tags": lambda n: config(TWO[0], replace(TWO[1], tags=(f"t{n}",)), auto()),
    "vnet": lambda n: config(TWO[0], replace(TWO[1], vnet="other"), auto(), vnets=BOTH),
    "home": lambda n: config(*TWO, auto(), vnets=BOTH),
    "gone": lambda n: config(TWO[0], auto()),
    "mtu": lambda n: config(*TWO, auto(), vnets=(network(mtu=1300 + n % 7), BOTH[1])),
}
BOTH = (network(mtu=1420), network("other", mtu=1420))
STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 120)),
    st.tuples(st.just("dial"), st.sampled_from([("bob", H3), ("bob", H2), ("dave", H3), ("alice", H2)])),
    st.tuples(st.sampled_from(["deaf", "hears", "close", "end", "wireguard"]), st.integers(0, 9)),
    st.tuples(st.just("reload"), st.sampled_from(list(RELOADS))),
    st.tuples(st.just("later"), st.floats(0.0, 4.0)),
)


def counters(world):
    """All that may never go back, by network; those of one that went away begin anew."""
    return {
        vnet.name: {
            "in": vnet.packets_in,
            "out": vnet.packets_out,
            "generated": vnet.packets_generated,
            **vnet.drops,
        }
        for vnet in world.snapshot.vnets
    }


@given(st.lists(STEPS, max_size=25))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_at_any_moment_everything_is_accounted_for_and_no_counter_goes_back(steps):
    world = World(config(*TWO, auto(), vnets=BOTH))
    fars = [world.dial(H3, "alice"), world.dial(H3, "bob"), world.dial(H2, "dave")]
    sender, device = fars[0], world.device("dave")
    fill(world, fars[1], sender)
    before = counters(world)
    for number, (what, how) in enumerate(steps):
        if what == "send":
            sender.seal(*[packet(ALICE, to, bytes(900)) for to in (BOB, DAVE) for _ in range(how)])
            world.settle()
        elif what == "dial":
            fars.append(world.dial(how[1], how[0]))
            sender = fars[-1] if how[0] == "alice" else sender
        elif what in ("deaf", "hears"):
            fars[how % len(fars)].hears = what == "hears"
        elif what == "close":
            fars[how % len(fars)].client.carrier.close(0x100)
        elif what == "end":
            fars[how % len(fars)].session.end()
        elif what == "wireguard":
            world.say(device, packet(DAVE, ALICE))
        elif what == "reload":
            world.engine.reload(RELOADS[how](number), world.now)
        else:
            world.later(how)
        world.accounted()
        now = counters(world)
        for name in before.keys() & now.keys():
            assert all(now[name].get(word, 0) >= count for word, count in before[name].items()), (what, how)
            if what == "reload":  # which sends nothing
                assert now[name]["out"] == before[name]["out"]
        before = now
    for far in fars:
        world.vanishes(far)
        far.client.carrier.close(0x100)
    world.later(40)
    world.accounted()
    assert all(vnet.packets_held == 0 for vnet in world.snapshot.vnets)
