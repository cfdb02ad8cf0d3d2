"""What a probe says of a packet is what happened to it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from random import Random

import pytest

from edge.proto.ip import fragment_ipv4, parse_untrusted, too_big
from scenarios.proto.host import Host
from scenarios.proto.ledger import Ledger
from scenarios.proto.mtu_probe import Fate, MtuProbe

Way = Callable[[bytearray], list[bytearray]]
ROUTER = {4: ip_address("10.0.0.1").packed, 6: ip_address("fd00::1").packed}
PROTOCOLS = ("udp", "icmp", "tcp")


class World:
    """A host, another, and a way between them that a test chooses."""

    def __init__(self, *, ipv6: bool = False, mtu: int = 1500) -> None:
        addresses = ("fd00:1::1", "fd00:2::1") if ipv6 else ("10.0.1.1", "10.0.2.1")
        ledger = Ledger()
        self.near, self.far = (
            Host(name, address, vnet="acme", ledger=ledger, rng=Random(name), mtu=mtu)
            for name, address in zip(("near", "far"), addresses, strict=True)
        )

    def tried(self, way: Way, protocol: str, size: int, *, keep: bool = True) -> MtuProbe:
        probe = MtuProbe(self.near, self.far, protocol, size, dont_fragment=keep, port=9, number=1)
        probe.send(1.0)
        for packet in self.near.poll_packets():
            assert len(packet) == size or self.near.mtu < size
            self.far.handle_packets(way(packet), 1.0)
        self.near.handle_packets(self.far.poll_packets(), 1.1)
        probe.look()
        probe.close()
        assert self.far.watchers == []
        return probe

    def router(self, mtu: int, *, speaks: bool = True) -> Way:
        def way(packet: bytearray) -> list[bytearray]:
            header = parse_untrusted(packet)
            if len(packet) <= mtu:
                return [packet]
            if not header.dont_fragment:
                return fragment_ipv4(packet, mtu)
            answer = too_big(packet, header, ROUTER[header.version], mtu)
            if speaks and answer is not None:
                self.near.handle_packets([answer], 1.05)
            return []

        return way


everything = pytest.mark.parametrize("protocol", PROTOCOLS)


@everything
@pytest.mark.parametrize("ipv6", [False, True])
def test_what_fits_is_whole_and_for_what_does_not_the_router_names_its_mtu(protocol: str, ipv6: bool) -> None:
    world = World(ipv6=ipv6)
    way = world.router(1300)
    assert world.tried(way, protocol, 1300).fate is Fate.WHOLE
    large = world.tried(way, protocol, 1301)
    assert (large.fate, large.mtu) == (Fate.TOLD, 1300)
    assert large.told_by == str(ip_address(ROUTER[6 if ipv6 else 4]))


@everything
def test_what_may_be_cut_arrives_in_pieces(protocol: str) -> None:
    world = World()
    probe = world.tried(world.router(600), protocol, 1500, keep=False)
    assert (probe.fate, probe.mtu) == (Fate.PIECES, None)


@everything
def test_a_piece_that_is_missing_is_a_loss(protocol: str) -> None:
    world = World()
    cut = world.router(600)
    assert world.tried(lambda packet: cut(packet)[:-1], protocol, 1500, keep=False).fate is Fate.LOST


@everything
def test_a_router_that_says_nothing_is_a_black_hole(protocol: str) -> None:
    world = World()
    assert world.tried(world.router(600, speaks=False), protocol, 1500).fate is Fate.LOST


@everything
def test_an_interface_refuses_what_it_may_not_cut(protocol: str) -> None:
    world = World(mtu=1280)
    probe = world.tried(world.router(9000), protocol, 1400)
    assert (probe.fate, probe.mtu, probe.told_by) == (Fate.REFUSED, 1280, "10.0.1.1")
    assert world.tried(world.router(9000), protocol, 1400, keep=False).fate is Fate.PIECES
    assert world.tried(world.router(9000), protocol, 1280).fate is Fate.WHOLE


def test_an_error_about_another_packet_says_nothing() -> None:
    world = World()
    world.tried(world.router(600), "udp", 1400)
    assert world.tried(lambda packet: [], "udp", 1500).fate is Fate.LOST
