"""A path that carries less than the host's link: routers that tell, routers that do not, and liars."""

from __future__ import annotations

import random
from ipaddress import ip_address

import pytest

from edge.proto.ip import Unreachable, build_tcp, parse_untrusted, too_big, unreachable
from scenarios.proto.ledger import Offence
from scenarios.proto.tcp import MAX_PATHS, PATH_MTU_LIFE, StackLimits, TcpStack
from scenarios.proto.tcp_state import State, StreamError
from tests.scenarios.proto.tcp_world import CLIENT, ROUTER, SERVER, Path, Peer, TcpWorld

DATA = random.Random(3).randbytes(100_000)


def upload(world: TcpWorld) -> float:
    """Seconds that it took."""
    client, server = world.pair()
    began = world.now
    stream = client.connect((world.server.address, 80), DATA, world.now)
    world.run()
    assert server.streams[0].received == DATA
    assert stream.connection.error is None
    assert not any(world.ledger.offences.values())
    return world.now - began


@pytest.mark.parametrize(
    ("ipv6", "mtu"), [(False, 1380), (False, 1000), (False, 576), (True, 1400), (True, 1280)]
)
def test_a_router_that_says_too_big_costs_one_round_trip(ipv6: bool, mtu: int) -> None:
    world = TcpWorld(Path(mtu=mtu), ipv6=ipv6)
    straight = TcpWorld(ipv6=ipv6)
    assert upload(world) < upload(straight) + 1.0
    assert [wire.size for wire in world.wire if wire.size > mtu] == [
        1420
    ] * 3  # the first flight, and no more
    assert max(wire.size for wire in world.wire if wire.size <= mtu) == mtu
    assert world.client.counters["icmp_errors"] == 3


@pytest.mark.parametrize("ipv6", [False, True])
def test_a_path_that_swallows_large_packets_without_a_word_is_found_out(ipv6: bool) -> None:
    world = TcpWorld(Path(mtu=1300, tells=False), ipv6=ipv6)
    upload(world)
    assert max(wire.size for wire in world.wire if wire.size <= 1300) == (1280 if ipv6 else 576)


def test_the_next_connection_knows_the_path_until_it_may_have_changed() -> None:
    world = TcpWorld(Path(mtu=1000))
    client, _ = world.pair()
    client.connect((SERVER, 80), DATA, 0.0)
    world.run()
    before = len(world.wire)
    client.connect((SERVER, 80), DATA, world.now)
    world.run()
    assert max(wire.size for wire in world.wire[before:]) == 1000
    world.now += PATH_MTU_LIFE
    before = len(world.wire)
    client.connect((SERVER, 80), DATA, world.now)
    world.run()
    assert max(wire.size for wire in world.wire[before:]) == 1420


def large_in_flight(ipv6: bool = False):
    """A world whose client has just sent a full segment."""
    world = TcpWorld(ipv6=ipv6)
    client, _ = world.pair()
    stream = client.connect((world.server.address, 80), DATA, 0.0)
    world.run(0.05)
    packet = next(raw for raw in reversed(world.raw) if len(raw) == 1420)
    return world, stream, packet


def report(world: TcpWorld, packet: bytes, mtu: int) -> None:
    error = too_big(packet, parse_untrusted(packet), world.router, mtu)
    assert error is not None
    world.inject(world.client, error)


@pytest.mark.parametrize(("ipv6", "mtu"), [(False, 0), (False, 68), (False, 575), (True, 1279), (True, 0)])
def test_nobody_can_make_us_send_smaller_than_any_real_path(ipv6: bool, mtu: int) -> None:
    world, stream, packet = large_in_flight(ipv6)
    before = stream.connection.mss
    report(world, packet, mtu)
    assert stream.connection.mss == before
    report(world, packet, 1280 if ipv6 else 576)
    assert stream.connection.mss == (1220 if ipv6 else 536)


def test_a_report_about_something_that_is_not_in_flight_is_ignored() -> None:
    world, stream, packet = large_in_flight()
    for offset in (-1, 100_000, 1 << 31):
        forged = bytearray(packet)
        number = int.from_bytes(packet[24:28], "big")
        first = min(w.sequence for w in world.sent_by(world.client) if w.payload)
        forged[24:28] = ((first if offset == -1 else number) + offset & 0xFFFFFFFF).to_bytes(4, "big")
        report(world, forged, 600)
    assert stream.connection.mss == 1380
    assert world.client.tcp is not None
    assert world.client.tcp.counters["errors_ignored"] == 3


def test_a_report_about_a_packet_that_fits_is_ignored() -> None:
    world, _, packet = large_in_flight()
    report(world, packet, 1420)
    report(world, packet, 1421)
    assert world.client.tcp is not None
    assert world.client.tcp.counters["errors_ignored"] == 2


def test_a_report_about_a_connection_that_never_was_is_shown_to_the_ledger() -> None:
    world, stream, packet = large_in_flight()
    forged = bytearray(packet)
    forged[20:22] = b"\x00\x01"
    report(world, forged, 600)
    assert stream.connection.mss == 1380
    assert world.ledger.offences[Offence.FORGED] == 1


def test_a_report_that_comes_after_the_end_offends_nobody() -> None:
    world, _, packet = large_in_flight()
    world.run()
    assert world.quiet()
    report(world, packet, 600)
    assert not any(world.ledger.offences.values())
    assert world.client.counters["icmp_errors"] == 1


@pytest.mark.parametrize(
    ("code", "ends"),
    [(Unreachable.PORT, True), (Unreachable.ADMIN_PROHIBITED, True), (Unreachable.NO_ROUTE, False)],
)
@pytest.mark.parametrize("ipv6", [False, True])
def test_an_unreachable_ends_only_a_connection_that_begins(code: Unreachable, ends: bool, ipv6: bool) -> None:
    world = TcpWorld(Path(vanish=lambda sender, wire: True), ipv6=ipv6)
    client, _ = world.pair()
    stream = client.connect((world.server.address, 80), b"x", 0.0)
    world.collect()
    error = unreachable(world.raw[0], parse_untrusted(world.raw[0]), world.router, code)
    assert error is not None
    world.inject(world.client, error)
    assert (stream.connection.error is StreamError.UNREACHABLE) is ends

    world, stream, packet = large_in_flight(ipv6)
    error = unreachable(packet, parse_untrusted(packet), world.router, code)
    assert error is not None
    world.inject(world.client, error)
    world.run(0.1)
    assert stream.connection.state is not State.CLOSED
    world.run()
    assert stream.connection.error is None


def test_errors_of_a_router_about_our_answers_to_strangers_offend_nobody() -> None:
    world = TcpWorld(Path(vanish=lambda sender, wire: True))
    client, _ = world.pair()
    client.connect((SERVER, 81), b"x", 0.0)
    world.collect()
    world.inject(world.server, world.raw[0])
    reset = world.raw[-1]
    error = unreachable(reset, parse_untrusted(reset), ip_address(ROUTER).packed, Unreachable.NO_ROUTE)
    assert error is not None
    world.inject(world.server, error)
    assert not any(world.ledger.offences.values())


def test_paths_are_remembered_but_not_all_for_ever() -> None:
    own, router = ip_address(CLIENT).packed, ip_address(ROUTER).packed
    stack = TcpStack(own, random.Random(1), StackLimits(max_connections=2 * MAX_PATHS))

    def mss_towards(number: int) -> int:
        return stack.connect((str(ip_address("10.1.0.0") + number), 80), Peer(), 0.0).mss

    for number in range(MAX_PATHS + 1):
        mss_towards(number)
        (syn,) = stack.poll_transmit(0.0)
        header = parse_untrusted(syn)
        sequence = int.from_bytes(syn[24:28], "big")
        large = build_tcp(
            own, header.destination, header.source_port, 80, sequence=sequence, flags=2, payload=bytes(1300)
        )
        inner = parse_untrusted(large)
        error = too_big(large, inner, router, 1000)
        assert error is not None
        assert stack.receive_error(error, parse_untrusted(error), inner, 0.0)
    assert [mss_towards(number) for number in (1, MAX_PATHS, 0)] == [960, 960, 1380]
