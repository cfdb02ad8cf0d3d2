"""Where packets go on a LAN with route tables, what the router does to them, and where they end."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from edge.proto.ip import build_icmp_echo, is_error, parse_untrusted
from edge.proto.types import NEVER
from scenarios.proto.host import Host
from scenarios.proto.lan import Lan
from scenarios.proto.lan_router import ICMP_BURST, LanRouter
from scenarios.proto.ledger import Ledger
from scenarios.proto.premises import Premises
from scenarios.proto.route_table import Device, Network, Route, RouteTable
from scenarios.proto.routed_lan import LOST, RoutedLan
from scenarios.proto.udp_echo import UdpEcho, UdpProbe


def packed(text: str) -> bytes:
    return ip_address(text).packed


ROUTER, GATEWAY, CLIENT = packed("10.0.50.1"), packed("10.0.50.10"), packed("100.96.0.12")
LINK = Route((packed("10.0.50.0"), 24))
POOL: Network = (packed("100.96.0.0"), 12)
ALL: Network = (bytes(4), 0)


def via(address: bytes, network: Network = ALL) -> Route:
    return Route(network, via=address)


class World:
    """Two hosts and a router behind a connector; `router` are the router's routes beside the link."""

    def __init__(self, *host: Route, router: Sequence[Route] = (), on_link: bool = True) -> None:
        self.ledger = Ledger()
        self.hosts = [
            Host(name, address, vnet="acme", ledger=self.ledger)
            for name, address in (("hq/a", "10.0.50.60"), ("hq/b", "10.0.50.61"))
        ]
        self.probe = UdpProbe()
        self.hosts[0].add(self.probe)
        self.hosts[1].add(UdpEcho(7))
        table = RouteTable([*host, *([LINK] if on_link else [])])
        self.lan = RoutedLan(
            "hq",
            self.hosts,
            tables={each.name: table for each in self.hosts},
            gateways=[GATEWAY],
            router=LanRouter([ROUTER], RouteTable([*router, LINK])),
            connector=LanRouter([GATEWAY], RouteTable([LINK, Route(ALL, Device.TUNNEL)])),
        )
        self.premises = Premises(self.lan, ["hq"])
        self.lost: list[tuple[str, bytes]] = []
        self.premises.on_lost = lambda reason, packets: self.lost.extend((reason, each) for each in packets)
        self.port = self.premises.ports["hq"]
        self.port.running = True
        self.premises.elect(0.0)

    def send(self, to: str = "100.96.0.12", *, ttl: int = 64, source: bytes | None = None) -> list[bytearray]:
        """What leaves by the connector when the first host sends a packet."""
        packet = build_icmp_echo(
            source or self.hosts[0].packed, packed(to), ident=1, sequence=1, payload=b"x" * 32
        )
        packet = with_ttl(packet, ttl)
        self.hosts[0].output(packet, 0.0)
        self.lan.touch(self.hosts[0])
        return self.port.poll_packets()

    @property
    def reasons(self) -> list[str]:
        return [reason for reason, _ in self.lost]

    @property
    def errors(self) -> list[tuple[str, int, int]]:
        """ICMP errors that the first host got: source, type, code."""
        return [(each.source, each.icmp_type, each.icmp_code) for each in self.hosts[0].icmp_errors]


def with_ttl(packet: bytearray, ttl: int) -> bytearray:
    """An IPv4 packet with another TTL and the checksum that belongs to it."""
    total = int.from_bytes(packet[10:12]) - (ttl - packet[8]) * 256
    packet[8] = ttl
    total = (total & 0xFFFF) + (total >> 16)
    packet[10:12] = (total & 0xFFFF).to_bytes(2)
    return packet


def ttl_of(packet: bytearray) -> int:
    return parse_untrusted(packet).ttl


class Seen:
    """The TTLs of the packets that came to a host."""

    def __init__(self) -> None:
        self.ttls: list[int] = []

    def sent(self, host: Host, packets: Sequence[bytes], now: float) -> None: ...

    def received(self, host: Host, packets: Sequence[bytes], now: float) -> None:
        self.ttls += [ttl_of(bytearray(packet)) for packet in packets]


def test_a_route_to_the_connector_leads_out_without_a_hop() -> None:
    world = World(via(GATEWAY))
    (packet,) = world.send()
    assert ttl_of(packet) == 64
    assert world.lost == []


def test_the_router_is_one_hop_and_its_route_leads_to_the_connector() -> None:
    world = World(via(ROUTER), router=[via(GATEWAY, POOL), Route(ALL, Device.INTERNET)])
    (packet,) = world.send()
    assert ttl_of(packet) == 63
    assert parse_untrusted(packet).source == world.hosts[0].packed, "a router touches no address"
    assert world.ledger.received("acme", "alice", bytes(packet), 0.0) is None


def test_what_the_router_has_no_better_route_for_is_lost_on_the_internet_in_silence() -> None:
    world = World(via(ROUTER), router=[via(GATEWAY, POOL), Route(ALL, Device.INTERNET)])
    assert world.send("10.0.60.9") == []
    assert world.reasons == ["internet"] and world.premises.counters["internet"] == 1
    assert world.errors == []
    assert parse_untrusted(bytearray(world.lost[0][1])).destination == packed("10.0.60.9")


def test_a_router_without_any_route_says_so() -> None:
    world = World(via(ROUTER))
    assert world.send() == []
    assert world.reasons == ["network_unreachable"]
    assert world.errors == [("10.0.50.1", 3, 0)]


def test_a_packet_that_has_too_many_hops_behind_it_is_answered_and_goes_no_further() -> None:
    world = World(via(ROUTER), router=[via(GATEWAY, POOL)])
    assert world.send(ttl=1) == []
    assert world.reasons == ["ttl_exceeded"]
    assert world.errors == [("10.0.50.1", 11, 0)]
    assert [ttl_of(packet) for packet in world.send(ttl=2)] == [1]


def test_a_next_hop_of_the_router_that_nobody_has_is_a_host_unreachable() -> None:
    world = World(via(ROUTER), router=[via(packed("10.0.50.9"), POOL)])
    assert world.send() == []
    assert world.reasons == ["no_neighbour"]
    assert world.errors == [("10.0.50.1", 3, 1)]


def test_a_router_does_not_answer_more_often_than_it_may() -> None:
    world = World(via(ROUTER))
    for _ in range(int(ICMP_BURST) + 5):
        world.send()
    assert len(world.errors) == ICMP_BURST


def test_a_host_without_a_route_sends_nothing() -> None:
    world = World()
    assert world.send() == []
    assert world.reasons == ["network_unreachable"] and world.errors == []


def test_a_next_hop_that_nobody_has_is_a_loss() -> None:
    world = World(via(packed("10.0.50.9")))
    assert world.send() == []
    assert world.reasons == ["no_neighbour"]


def test_a_host_forwards_nothing_for_another() -> None:
    world = World(via(packed("10.0.50.61")))
    assert world.send() == []
    assert world.reasons == ["not_a_router"]
    assert world.hosts[1].counters["received"] == 0


def test_neighbours_reach_each_other_directly_and_only_who_is_there() -> None:
    world = World()
    world.probe.start(("10.0.50.61", 7), b"hello", count=1, interval=1.0, patience=1.0, now=0.0)
    world.lan.touch(world.hosts[0])
    assert world.port.poll_packets() == []
    assert world.hosts[1].counters["received"] == 1 and world.hosts[0].counters["received"] == 1
    world.send("10.0.50.99")
    assert world.reasons == ["no_neighbour"]


def test_the_router_takes_a_packet_to_a_neighbour_whose_link_the_host_does_not_know() -> None:
    world = World(via(ROUTER), on_link=False)
    assert world.send("10.0.50.61") == []
    assert world.hosts[1].counters["received"] == 1
    assert world.lost == []


DESK: Network = (packed("10.0.50.61"), 32)


def test_the_connector_puts_back_on_the_lan_what_is_for_a_neighbour() -> None:
    world = World(via(GATEWAY, DESK))
    seen = world.hosts[1].tap = Seen()
    assert world.send("10.0.50.61") == []
    assert seen.ttls == [63] and world.lost == [], "it is a hop"


def test_so_it_does_with_what_the_router_sends_it() -> None:
    world = World(via(ROUTER, DESK), router=[via(GATEWAY, DESK)])
    assert world.send("10.0.50.61") == []
    assert world.hosts[1].counters["received"] == 1 and world.lost == []


def test_of_what_ends_at_the_connector_the_sender_is_told_from_its_address() -> None:
    world = World(via(GATEWAY, (packed("10.0.50.0"), 25)), on_link=False)
    assert world.send("10.0.50.61", ttl=1) == world.send("10.0.50.99") == []
    assert world.reasons == ["ttl_exceeded", "no_neighbour"]
    assert world.errors == [("10.0.50.10", 11, 0), ("10.0.50.10", 3, 1)]


def test_the_router_is_a_neighbour_too_and_the_connector_itself_answers_beyond_the_lan() -> None:
    world = World(via(GATEWAY), on_link=False)
    assert world.send("10.0.50.1") == []
    assert world.reasons == ["for_the_router"] and world.hosts[0].counters["received"] == 1
    assert len(world.send("10.0.50.10")) == 1


def test_the_router_answers_a_ping_from_the_lan_and_from_the_tunnel() -> None:
    world = World(via(GATEWAY), router=[via(GATEWAY, POOL)])
    world.ledger.routers["acme"] = {ROUTER}
    assert world.send("10.0.50.1") == []
    assert world.hosts[0].counters["received"] == 1 and not world.ledger.findings
    world.port.handle_packets(
        [build_icmp_echo(CLIENT, ROUTER, ident=9, sequence=1, payload=b"from far away")], 0.0
    )
    (answer,) = world.port.poll_packets()
    header = parse_untrusted(answer)
    assert (header.source, header.destination) == (ROUTER, CLIENT)
    assert world.reasons == ["for_the_router"] * 2


def test_its_answer_needs_a_route_too() -> None:
    world = World(router=[Route(ALL, Device.INTERNET)])
    world.port.handle_packets([build_icmp_echo(CLIENT, ROUTER, ident=9, sequence=1, payload=b"x")], 0.0)
    assert world.port.poll_packets() == []
    assert world.reasons == ["for_the_router", "internet"]


def test_what_comes_for_a_host_goes_straight_to_it() -> None:
    world = World(via(ROUTER))
    world.port.handle_packets(
        [build_icmp_echo(CLIENT, packed("10.0.50.60"), ident=9, sequence=1, payload=b"x")], 0.0
    )
    assert world.hosts[0].counters["received"] == 1 and world.lost == []
    world.port.handle_packets(
        [build_icmp_echo(CLIENT, packed("10.0.50.99"), ident=9, sequence=1, payload=b"x")], 0.0
    )
    assert world.lan.counters["no_host"] == 1


def test_a_router_that_cannot_read_a_packet_drops_it() -> None:
    lost: list[str] = []
    router = LanRouter([ROUTER], RouteTable([Route(ALL, Device.INTERNET)]))
    assert router.forward(bytearray(b"\x45" + bytes(30)), 0.0, lambda reason, _: lost.append(reason)) == []
    assert lost == ["bad_packet"]


def test_ipv6_has_its_own_address_of_the_router() -> None:
    six = packed("fd00:50::1")
    source, far = packed("fd00:50::60"), packed("fd00:60::1")
    router = LanRouter([ROUTER, six], RouteTable([Route((packed("fd00:50::"), 64))]))
    packet = build_icmp_echo(source, far, ident=1, sequence=1, payload=b"x")
    (told,) = router.forward(packet, 0.0, lambda *_: None)
    header = parse_untrusted(told.packet)
    assert is_error(header) and (header.source, header.destination) == (six, source)


def test_every_loss_has_a_name_that_conditions_know() -> None:
    assert len(set(LOST)) == len(LOST) == 7


@pytest.mark.parametrize("kind", [Lan, RoutedLan])
def test_an_idle_lan_has_no_deadline(kind: type[Lan]) -> None:
    world = World(via(GATEWAY))
    lan = world.lan if kind is RoutedLan else Lan("hq", world.hosts)
    lan.handle_timeout(0.0)
    lan.poll_packets()
    assert lan.poll_timeout() == NEVER
