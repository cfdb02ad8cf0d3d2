"""The site's router: what may pass between tunnel and LAN, and that it changes nothing but the hop count."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from connectors.proto import SiteRouter
from edge.proto.ip import (
    build_icmp_echo,
    build_tcp,
    build_udp,
    checksum,
    fragment_ipv4,
    parse_untrusted,
    reported_mtu,
)
from edge.proto.ip.tcp import ACK, RST, SYN
from edge.proto.types import NEVER, DropReason

PHONE, PHONE6 = "10.0.50.10", "fd00:50::10"
ALICE, ALICE6 = "100.96.0.12", "fd00:96::12"
ROUTER = "10.0.50.1"
OWN, OWN6, GATEWAY = "100.96.0.2", "fd00:96::2", "100.96.0.1"


def ip(text: str) -> bytes:
    return ip_address(text).packed


def udp(source: str, destination: str, payload: bytes = b"hello", **rest) -> bytearray:
    return build_udp(ip(source), ip(destination), 5060, 5060, payload, **rest)


class Lan:
    """Hosts that say what they are told to; `answer` makes packets out of what arrives."""

    def __init__(self) -> None:
        self.received: list[bytearray] = []
        self.outbox: list[bytearray] = []
        self.deadline = NEVER
        self.timeouts: list[float] = []
        self.answer = lambda packet: []

    def handle_packets(self, packets: list[bytearray], now: float) -> None:
        for packet in packets:
            self.received.append(packet)
            self.outbox += self.answer(packet)

    def poll_packets(self) -> list[bytearray]:
        out, self.outbox = self.outbox, []
        return out

    def handle_timeout(self, now: float) -> None:
        self.timeouts.append(now)

    def poll_timeout(self) -> float:
        return self.deadline


@pytest.fixture
def lan() -> Lan:
    return Lan()


@pytest.fixture
def router(lan: Lan) -> SiteRouter:
    routes = [ip_network("10.0.50.0/24"), ip_network("192.168.7.0/25"), ip_network("fd00:50::/64")]
    return SiteRouter(lan, routes, on_lan=[ip(ROUTER)])


def from_lan(router: SiteRouter, lan: Lan, *packets: bytearray) -> list[bytearray]:
    lan.outbox += packets
    router.handle_timeout(0.0)
    return router.poll_packets()


@pytest.mark.parametrize(("inside", "outside"), [(PHONE, ALICE), (PHONE6, ALICE6)])
def test_both_ways_only_the_hop_count_changes(
    router: SiteRouter, lan: Lan, inside: str, outside: str
) -> None:
    router.handle_packets([udp(outside, inside, ttl=64)], 0.0)
    assert lan.received == [udp(outside, inside, ttl=63)]
    assert from_lan(router, lan, udp(inside, outside, ttl=64)) == [udp(inside, outside, ttl=63)]
    assert (router.packets_to_lan, router.packets_to_tunnel) == (1, 1)
    assert not router.drops


def test_the_header_checksum_stays_right_for_every_packet(router: SiteRouter) -> None:
    packets = [udp(ALICE, PHONE, ident=n, ttl=2 + n % 254) for n in range(0, 65536, 97)]
    router.handle_packets(packets, 0.0)
    assert all(checksum(packet[:20]) == 0 for packet in packets)


def test_answers_leave_in_the_same_turn_and_once(router: SiteRouter, lan: Lan) -> None:
    lan.answer = lambda packet: [udp(PHONE, ALICE, b"answer")]
    router.handle_packets([udp(ALICE, PHONE)], 0.0)
    assert router.poll_packets() == [udp(PHONE, ALICE, b"answer", ttl=63)]
    assert router.poll_packets() == []


class Onlooker:
    """Remembers what it is told, and what the LAN had by then."""

    def __init__(self, lan: Lan) -> None:
        self.lan = lan
        self.told: list[tuple[str, bytes, str]] = []
        self.on_lan: list[int] = []

    def came(self, packet: bytes, reason: str, now: float) -> None:
        self.told.append(("came", packet, reason))
        self.on_lan.append(len(self.lan.received))

    def went(self, packet: bytes, reason: str, now: float) -> None:
        self.told.append(("went", packet, reason))

    def missed(self, packets: int) -> None:
        raise AssertionError


def test_who_looks_on_hears_of_every_packet_at_the_tunnel_as_it_is_there(
    router: SiteRouter, lan: Lan
) -> None:
    router.watch = onlooker = Onlooker(lan)
    for _ in range(2):  # the second time by heart
        onlooker.told.clear()
        foreign = udp(ALICE, "10.0.51.10")
        ping = build_icmp_echo(ip(ALICE), ip(ROUTER), ident=7, sequence=9, payload=b"token")
        came = [udp(ALICE, PHONE, ttl=9), foreign, ping, udp(ALICE, PHONE, b"more")]
        copies = [bytes(packet) for packet in came]
        router.handle_packets(came, 1.0)
        reasons = ["", DropReason.NO_ROUTE, DropReason.LOCAL, ""]
        assert onlooker.told == [("came", *each) for each in zip(copies, reasons, strict=True)]
    assert onlooker.on_lan == [0] * 4 + [2] * 4, "before the LAN has any of them"
    router.poll_packets()
    onlooker.told.clear()
    from_lan(router, lan, udp(PHONE, ALICE, ttl=9), udp("1.2.3.4", ALICE), udp(PHONE, ROUTER))
    assert [(way, packet[8], reason) for way, packet, reason in onlooker.told] == [
        ("went", 63, DropReason.SPOOFED_SOURCE),
        ("went", 8, ""),
    ], "what is for the router itself is not at its tunnel"
    assert onlooker.told[1][1] == udp(PHONE, ALICE, ttl=8)


def test_padding_is_cut(router: SiteRouter, lan: Lan) -> None:
    router.handle_packets([udp(ALICE, PHONE) + bytes(11)], 0.0)
    assert lan.received == [udp(ALICE, PHONE, ttl=63)]


@pytest.mark.parametrize("destination", ["10.0.51.10", "192.168.7.128", ALICE, "8.8.8.8", "fd00:51::1"])
def test_only_destinations_of_the_site_come_in(router: SiteRouter, lan: Lan, destination: str) -> None:
    source = ALICE6 if ":" in destination else "100.96.0.13"
    router.handle_packets([udp(source, destination), udp(ALICE, PHONE)], 0.0)
    assert lan.received == [udp(ALICE, PHONE, ttl=63)]
    assert router.drops == {DropReason.NO_ROUTE: 1}


@pytest.mark.parametrize("source", ["10.0.51.10", "192.168.7.200", ALICE, "fd00:51::1", "1.2.3.4"])
def test_only_sources_of_the_site_go_out(router: SiteRouter, lan: Lan, source: str) -> None:
    destination = ALICE6 if ":" in source else "100.96.0.13"
    assert from_lan(router, lan, udp(source, destination), udp(PHONE, ALICE)) == [udp(PHONE, ALICE, ttl=63)]
    assert router.drops == {DropReason.SPOOFED_SOURCE: 1}


def test_a_prefix_of_one_family_says_nothing_about_the_other(lan: Lan) -> None:
    everything = SiteRouter(lan, [ip_network("0.0.0.0/0")])
    assert everything.serves(ip("203.0.113.9")) and not everything.serves(ip("fd00::1"))


@pytest.mark.parametrize(
    ("address", "served"),
    [
        ("10.0.50.0", True),
        ("10.0.50.255", True),
        ("10.0.49.255", False),
        ("10.0.51.0", False),
        ("192.168.7.127", True),
        ("192.168.7.128", False),
        ("fd00:50::ffff:ffff:ffff:ffff", True),
        ("fd00:50:0:1::", False),
    ],
)
def test_serves(router: SiteRouter, address: str, served: bool) -> None:
    assert router.serves(ip(address)) is served


def test_a_packet_that_ends_here_is_answered_by_the_router_from_the_tunnel(
    router: SiteRouter, lan: Lan
) -> None:
    """What traceroute sees."""
    router.handle_packets([udp(ALICE, PHONE, ttl=1)], 0.0)
    (answer,) = router.poll_packets()
    header = parse_untrusted(answer)
    assert (header.source, header.destination) == (ip(ROUTER), ip(ALICE))
    assert (header.icmp_type, header.icmp_code) == (11, 0)
    assert not lan.received and router.drops == {DropReason.TTL_EXCEEDED: 1}


def test_a_packet_that_ends_here_is_answered_by_the_router_from_the_lan(router: SiteRouter, lan: Lan) -> None:
    assert from_lan(router, lan, udp(PHONE, ALICE, ttl=1)) == []
    (answer,) = lan.received
    header = parse_untrusted(answer)
    assert (header.source, header.destination) == (ip(ROUTER), ip(PHONE))
    assert header.icmp_type == 11
    assert router.drops == {DropReason.TTL_EXCEEDED: 1}


def test_errors_are_never_answered_and_answers_are_limited(router: SiteRouter) -> None:
    router.handle_packets([udp(ALICE, PHONE, ttl=1)], 0.0)
    (error,) = router.poll_packets()
    about = bytearray(error)
    about[12:16], about[16:20], about[8] = ip(ALICE), ip(PHONE), 1
    about[10:12] = b"\0\0"
    about[10:12] = checksum(about[:20]).to_bytes(2, "big")
    router.handle_packets([about], 0.0)
    assert router.poll_packets() == []
    router.handle_packets([udp(ALICE, PHONE, ttl=1) for _ in range(1000)], 0.0)
    assert len(router.poll_packets()) < 100
    assert router.drops == {DropReason.TTL_EXCEEDED: 1002}


def test_a_router_without_an_address_of_the_family_is_silent(router: SiteRouter, lan: Lan) -> None:
    router.handle_packets([udp(ALICE6, PHONE6, ttl=1)], 0.0)
    nameless = SiteRouter(lan, [ip_network("10.0.50.0/24")])
    nameless.handle_packets([udp(ALICE, PHONE, ttl=1)], 0.0)
    assert router.poll_packets() == nameless.poll_packets() == []
    assert router.drops == nameless.drops == {DropReason.TTL_EXCEEDED: 1}


@pytest.mark.parametrize(("own", "source"), [(OWN, GATEWAY), (ROUTER, ALICE), (OWN6, ALICE6)])
def test_the_router_answers_pings_to_its_own_addresses(lan: Lan, own: str, source: str) -> None:
    """So the PoP knows that it is alive."""
    routes = [ip_network("10.0.50.0/24"), ip_network("fd00:50::/64")]
    router = SiteRouter(lan, routes, on_lan=[ip(ROUTER)], addresses=(ip(OWN), ip(OWN6)))
    for ttl in (64, 1):
        ping = build_icmp_echo(ip(source), ip(own), ident=7, sequence=9, payload=b"token", ttl=ttl)
        router.handle_packets([ping + bytes(3)], 0.0)
        assert router.poll_packets() == [
            build_icmp_echo(ip(own), ip(source), ident=7, sequence=9, payload=b"token", reply=True)
        ]
    answer = build_icmp_echo(ip(source), ip(own), ident=7, sequence=9, payload=b"token", reply=True)
    router.handle_packets([answer], 0.0)
    assert router.poll_packets() == [] and not lan.received
    assert router.drops == {DropReason.LOCAL: 3}


@pytest.mark.parametrize(("own", "source"), [(OWN, PHONE), (ROUTER, PHONE), (OWN6, PHONE6)])
def test_it_answers_the_hosts_of_its_lan_as_well(lan: Lan, own: str, source: str) -> None:
    router = SiteRouter(lan, [ip_network("10.0.50.0/24")], on_lan=[ip(ROUTER)], addresses=(ip(OWN), ip(OWN6)))
    ping = build_icmp_echo(ip(source), ip(own), ident=7, sequence=9, payload=b"token", ttl=1)
    assert from_lan(router, lan, ping) == []
    assert lan.received == [
        build_icmp_echo(ip(own), ip(source), ident=7, sequence=9, payload=b"token", reply=True)
    ]
    assert router.drops == {DropReason.LOCAL: 1}


def test_nothing_listens_on_a_router(router: SiteRouter, lan: Lan) -> None:
    """As the kernel of a real one says: a port that is closed, a connection that is refused."""
    syn = build_tcp(ip(ALICE), ip(ROUTER), 40001, 80, sequence=6, flags=SYN)
    router.handle_packets([udp(ALICE, ROUTER), syn], 0.0)
    closed, refused = map(parse_untrusted, router.poll_packets())
    assert (closed.source, closed.icmp_type, closed.icmp_code) == (ip(ROUTER), 3, 3)
    assert (refused.source, refused.source_port, refused.tcp_flags) == (ip(ROUTER), 80, RST | ACK)
    assert from_lan(router, lan, *(udp(PHONE, ROUTER) for _ in range(1000))) == []
    assert 0 < len(lan.received) < 100


def test_errors_come_from_an_address_of_the_side_that_they_go_to(lan: Lan) -> None:
    """With stand-ins: what is shared on the LAN comes last there, and the own one of the network first in it."""
    shared = ip("10.0.50.254")
    router = SiteRouter(lan, [ip_network("10.0.50.0/24")], on_lan=[ip(ROUTER), shared], addresses=[ip(OWN)])
    router.handle_packets([udp(ALICE, PHONE, ttl=1)], 0.0)
    (answer,) = router.poll_packets()
    assert parse_untrusted(answer).source == ip(OWN)
    assert from_lan(router, lan, udp(PHONE, ALICE, ttl=1)) == []
    (answer,) = lan.received
    assert parse_untrusted(answer).source == ip(ROUTER)


def test_a_router_without_own_addresses_answers_no_ping(router: SiteRouter, lan: Lan) -> None:
    router.handle_packets([build_icmp_echo(ip(GATEWAY), ip(OWN), ident=7, sequence=9, payload=b"token")], 0.0)
    assert router.poll_packets() == [] and router.drops == {DropReason.NO_ROUTE: 1}


def test_what_is_no_packet_dies_alone(router: SiteRouter, lan: Lan) -> None:
    broken = udp(ALICE, PHONE)
    broken[10] ^= 0xFF
    junk = [bytearray(), bytearray(b"\x45"), bytearray(40), bytearray(b"\xff" * 60), broken]
    router.handle_packets([*junk, udp(ALICE, PHONE)], 0.0)
    assert lan.received == [udp(ALICE, PHONE, ttl=63)]
    assert router.drops.total() == len(junk)
    assert router.drops[DropReason.BAD_CHECKSUM] == 1


@pytest.mark.parametrize(
    ("source", "destination", "reason"),
    [
        ("127.0.0.1", PHONE, DropReason.BOGON),
        ("224.0.0.1", PHONE, DropReason.BOGON),
        (ALICE, "224.0.0.1", DropReason.MULTICAST),
        (ALICE, "255.255.255.255", DropReason.MULTICAST),
    ],
)
def test_addresses_that_are_never_routed(
    router: SiteRouter, lan: Lan, source: str, destination: str, reason: DropReason
) -> None:
    router.handle_packets([udp(source, destination)], 0.0)
    assert not lan.received and router.drops == {reason: 1}


def test_ping_and_fragments_pass(router: SiteRouter, lan: Lan) -> None:
    ping = build_icmp_echo(ip(ALICE), ip(PHONE), ident=1, sequence=1, payload=b"x")
    pieces = fragment_ipv4(udp(ALICE, PHONE, bytes(3000), dont_fragment=False), 1420)
    router.handle_packets([ping, *pieces], 0.0)
    assert len(lan.received) == 1 + len(pieces) and not router.drops


def test_time_is_the_lans(router: SiteRouter, lan: Lan) -> None:
    assert router.poll_timeout() == NEVER
    lan.deadline = 7.5
    assert router.poll_timeout() == 7.5
    router.handle_timeout(7.5)
    assert lan.timeouts == [7.5]


def narrow(lan: Lan, address: str | None = None) -> SiteRouter:
    own = [] if address is None else [ip(address)]
    return SiteRouter(lan, [ip_network("10.0.50.0/24")], on_lan=own, mtu=1300)


@pytest.mark.parametrize("address", [ROUTER, None])
def test_a_packet_that_does_not_fit_and_must_not_be_cut_is_answered(lan: Lan, address: str | None) -> None:
    router = narrow(lan, address)
    lan.outbox.append(udp(PHONE, ALICE, bytes(1272)))
    assert [len(packet) for packet in router.poll_packets()] == [1300]
    lan.outbox.append(udp(PHONE, ALICE, bytes(1273)))
    assert router.poll_packets() == []
    assert router.drops == {DropReason.TOO_BIG: 1}
    (answer,) = lan.received
    header = parse_untrusted(answer)
    assert (header.source, header.destination) == (ip(address or "192.0.0.8"), ip(PHONE))
    assert reported_mtu(answer, header) == 1300


def test_what_may_be_cut_is_cut(lan: Lan) -> None:
    router = narrow(lan)
    lan.outbox.append(udp(PHONE, ALICE, bytes(2000), dont_fragment=False))
    pieces = router.poll_packets()
    assert len(pieces) == router.packets_to_tunnel == 2
    assert all(len(piece) <= 1300 and not checksum(piece[:20]) for piece in pieces)
    assert lan.received == []
