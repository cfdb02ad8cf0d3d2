"""Hosts and LANs: what they answer, what they count, and how they notice a network that lies."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from edge.proto.ip import (
    Unreachable,
    build_icmp_echo,
    build_tcp,
    build_udp,
    checksum,
    decrement_ttl,
    parse_untrusted,
    udp_payload,
    unreachable,
)
from edge.proto.types import NEVER
from scenarios.proto.host import MAX_REMEMBERED, Host
from scenarios.proto.lan import Lan
from scenarios.proto.ledger import DUPLICATE_LIFE, MAX_PACKET_LIFE, Ledger, Offence
from scenarios.proto.ping import Ping
from scenarios.proto.udp_echo import UdpEcho, UdpProbe
from tests.scenarios.proto.tcp_world import Peer

ALICE, PBX, ROUTER = "100.96.0.12", "10.0.50.60", "100.96.0.1"


class World:
    """Two hosts of one vnet and the wire between them; `carry` moves packets until all is quiet."""

    def __init__(self, alice: str = ALICE, pbx: str = PBX) -> None:
        self.ledger = Ledger()
        self.alice = Host("alice", alice, vnet="acme", ledger=self.ledger)
        self.pbx = Host("hq/pbx", pbx, vnet="acme", ledger=self.ledger)
        self.probe, self.ping = UdpProbe(), Ping()
        self.alice.add(self.probe)
        self.alice.add(self.ping)
        self.pbx.add(UdpEcho())

    def carry(self, now: float) -> None:
        for _ in range(10):
            there = self.alice.poll_packets()
            self.pbx.handle_packets(there, now)
            back = self.pbx.poll_packets()
            self.alice.handle_packets(back, now)
            if not there and not back:
                return


@pytest.mark.parametrize(("alice", "pbx"), [(ALICE, PBX), ("fd00:96::12", "fd00:50::60")])
def test_echo_and_ping_are_answered_and_the_true_source_is_seen(alice: str, pbx: str) -> None:
    world = World(alice, pbx)
    echo = world.probe.start((pbx, 7), b"hello", count=3, interval=0.1, patience=1.0, now=0.0)
    ping = world.ping.start(pbx, b"hello", count=1, interval=0.1, patience=1.0, now=0.0)
    for now in (0.0, 0.1, 0.2):
        world.alice.handle_timeout(now)
        world.carry(now)
    assert (echo.received, echo.replies_from, echo.ended) == (3, {pbx}, True)
    assert (ping.received, ping.ended) == (1, True)
    assert list(world.pbx.seen) == [alice]
    assert world.pbx.seen[alice].packets == 4
    assert world.pbx.port_bytes[alice, 7] == 3 * 9
    assert world.ledger.sent_packets == world.ledger.received_packets == 8
    assert not any(world.ledger.offences.values())


def test_an_unanswered_probe_ends_after_its_patience() -> None:
    world = World()
    probe = world.probe.start((PBX, 9999), b"x", count=1, interval=1.0, patience=0.5, now=0.0)
    world.carry(0.0)
    assert not probe.ended
    assert world.alice.poll_timeout() == 0.5
    world.alice.handle_timeout(0.5)
    assert probe.ended
    assert probe.received == 0


def test_a_closed_port_is_answered_by_an_icmp_error_that_the_sender_counts() -> None:
    world = World()
    world.probe.start((PBX, 9999), b"x", count=1, interval=1.0, patience=0.5, now=0.0)
    world.carry(0.0)
    assert world.pbx.counters["port_unreachable"] == 1
    assert world.alice.counters["icmp_errors"] == 1
    (error,) = world.alice.icmp_errors
    assert (error.source, error.icmp_type, error.icmp_code, error.about) == (PBX, 3, 3, f"{PBX}:9999")


def test_an_icmp_error_of_a_router_counts_only_if_it_is_about_an_own_packet() -> None:
    world = World()
    world.probe.start((PBX, 7), b"x", count=1, interval=1.0, patience=0.5, now=0.0)
    (packet,) = world.alice.poll_packets()
    router = ip_address(ROUTER).packed
    error = unreachable(packet, parse_untrusted(packet), router, Unreachable.ADMIN_PROHIBITED)
    assert error is not None
    world.alice.handle_packets([error], 0.1)
    assert world.alice.counters["icmp_errors"] == 1
    assert not any(world.ledger.offences.values())

    foreign = build_udp(world.alice.packed, world.pbx.packed, 1234, 5678, b"never sent")
    error = unreachable(foreign, parse_untrusted(foreign), router, Unreachable.ADMIN_PROHIBITED)
    assert error is not None
    world.alice.handle_packets([error], 0.1)
    assert world.alice.counters["icmp_errors"] == 1
    assert world.ledger.offences[Offence.FORGED] == 1


@pytest.mark.parametrize("make", ["udp", "icmp", "header"])
def test_a_wrong_checksum_reaches_no_application(make: str) -> None:
    world = World()
    source, target = world.alice.packed, world.pbx.packed
    if make == "icmp":
        packet = build_icmp_echo(source, target, ident=1, sequence=1, payload=b"hello")
    else:
        packet = build_udp(source, target, 50000, 7, b"hello")
    packet[8 if make == "header" else -1] ^= 0x01
    world.pbx.handle_packets([packet], 0.0)
    assert world.pbx.counters["bad_checksum"] == 1
    assert world.pbx.poll_packets() == []
    assert not world.pbx.seen


def test_the_ttl_may_change_on_the_way() -> None:
    world = World()
    world.probe.start((PBX, 7), b"x", count=1, interval=1.0, patience=0.5, now=0.0)
    (packet,) = world.alice.poll_packets()
    decrement_ttl(packet)
    world.pbx.handle_packets([packet], 0.0)
    assert not any(world.ledger.offences.values())


def test_a_packet_of_another_virtual_network_is_noticed() -> None:
    world = World()
    eve = Host("decoy/pbx", PBX, vnet="umbrella", ledger=world.ledger)
    world.probe.start((PBX, 7), b"secret", count=1, interval=1.0, patience=0.5, now=0.0)
    eve.handle_packets(world.alice.poll_packets(), 0.0)
    (finding,) = world.ledger.findings
    assert finding.offence is Offence.CROSSED
    assert finding.text == (
        f"{ALICE}:49152 -> {PBX}:7, sent by alice in vnet acme, reached decoy/pbx in vnet umbrella"
    )


@pytest.mark.parametrize("what", ["source", "port"])
def test_a_rewritten_packet_is_noticed(what: str) -> None:
    world = World()
    world.probe.start((PBX, 7), b"payload", count=1, interval=1.0, patience=0.5, now=0.0)
    (packet,) = world.alice.poll_packets()
    header = parse_untrusted(packet)
    source = ip_address(ROUTER).packed if what == "source" else header.source
    port = 40000 if what == "port" else header.source_port
    world.pbx.handle_packets(
        [build_udp(source, header.destination, port, 7, udp_payload(packet, header))], 0.0
    )
    (finding,) = world.ledger.findings
    assert finding.offence is Offence.REWRITTEN
    assert "alice" in finding.text


def test_a_packet_for_somebody_else_is_noticed() -> None:
    world = World()
    world.probe.start((ROUTER, 7), b"x", count=1, interval=1.0, patience=0.5, now=0.0)
    world.pbx.handle_packets(world.alice.poll_packets(), 0.0)
    assert world.ledger.offences[Offence.MISDELIVERED] == 1


def test_the_ledger_forgets_packets_that_can_no_longer_arrive() -> None:
    world = World()
    world.probe.start((PBX, 7), b"x", count=2, interval=MAX_PACKET_LIFE * 2, patience=0.5, now=0.0)
    (old,) = world.alice.poll_packets()
    world.alice.handle_timeout(MAX_PACKET_LIFE * 2)
    world.alice.poll_packets()
    world.pbx.handle_packets([old], MAX_PACKET_LIFE * 2)
    assert world.ledger.offences[Offence.FORGED] == 1


def test_a_lan_delivers_inside_and_sends_the_rest_to_the_connector() -> None:
    ledger = Ledger()
    desk = Host("hq/desk", "10.0.50.101", vnet="acme", ledger=ledger)
    pbx = Host("hq/pbx", PBX, vnet="acme", ledger=ledger)
    pbx.add(UdpEcho())
    probe = UdpProbe()
    desk.add(probe)
    lan = Lan("hq", [pbx, desk])
    inside = probe.start((PBX, 7), b"x", count=1, interval=1.0, patience=0.5, now=0.0)
    probe.start((ALICE, 7), b"y", count=1, interval=1.0, patience=0.5, now=0.0)
    leaving = lan.poll_packets()
    assert inside.ended
    assert [parse_untrusted(packet).destination for packet in leaving] == [ip_address(ALICE).packed]
    assert lan.counters["local"] == 2
    assert lan.poll_timeout() == 0.5
    lan.handle_packets([build_udp(ip_address(ALICE).packed, ip_address("10.0.50.99").packed, 1, 2, b"")], 0.1)
    assert lan.counters["no_host"] == 1


def test_a_packet_of_a_lan_is_remembered_from_the_moment_it_was_sent() -> None:
    ledger = Ledger()
    till = Host("hq/till", "10.0.50.30", vnet="acme", ledger=ledger)
    alice = Host("alice", ALICE, vnet="acme", ledger=ledger)
    probe = UdpProbe()
    till.add(probe)
    lan = Lan("hq", [till])
    late = MAX_PACKET_LIFE * 10
    probe.start((ALICE, 7), b"x", count=2, interval=1.0, patience=0.5, now=late)
    lan.handle_timeout(late)
    packets = lan.poll_packets()
    lan.handle_timeout(late + 1.0)
    packets += lan.poll_packets()
    assert len(packets) == 2
    alice.handle_packets(packets, late + 1.0)
    assert not any(ledger.offences.values())


def test_equal_packets_may_arrive_as_often_as_they_were_sent_and_once_more_for_a_while() -> None:
    ledger = Ledger()
    source, target = ip_address(ALICE).packed, ip_address(PBX).packed
    packet = build_udp(source, target, 4000, 4000, b"the same", ident=1)
    other = build_udp(source, target, 4000, 4000, b"something else", ident=2)
    ledger.sent("acme", "alice", packet, 0.0)
    ledger.sent("acme", "alice", packet, 0.1)
    for _ in range(2):
        assert ledger.received("acme", "hq/pbx", packet, 0.2) is None
    assert ledger.duplicates == 0
    ledger.sent("acme", "alice", other, DUPLICATE_LIFE)  # time goes on when somebody sends
    assert ledger.received("acme", "hq/pbx", packet, DUPLICATE_LIFE) is None
    assert ledger.duplicates == 1
    for late in (2 * DUPLICATE_LIFE, 3 * DUPLICATE_LIFE):
        ledger.sent("acme", "alice", other, late)
    finding = ledger.received("acme", "hq/pbx", packet, 3 * DUPLICATE_LIFE)
    assert finding is not None
    assert finding.offence is Offence.FORGED


class Listener:
    """Takes datagrams that say "quiet" without a word, while it is in the mood, and answers all others."""

    def __init__(self) -> None:
        self.open = True
        self.mood = True
        self.quiet: list[bytes] = []
        self.heard: list[bytes] = []
        self.asked = 0

    def wants(self, port: int) -> bool:
        return self.open and port == 4000

    def taker(self, port: int) -> Callable[[tuple[str, int], bytes | bytearray, int, float], bool]:
        return self.take

    def take(self, source: tuple[str, int], packet: bytes | bytearray, at: int, now: float) -> bool:
        if not self.mood or packet[at:] != b"quiet":
            return False
        self.quiet.append(bytes(packet[at:]))
        return True

    def handle_datagram(self, local_port: int, source: tuple[str, int], data: bytes, now: float) -> None:
        self.heard.append(data)

    def poll_transmit(self) -> list[tuple[int, tuple[str, int], bytes]]:
        self.asked += 1
        return []

    def handle_timeout(self, now: float) -> None:
        """Nothing is ever due."""

    def poll_timeout(self) -> float:
        return NEVER

    def poll_event(self) -> None:
        return None


class Quiet:
    """Alice, and a listener behind a LAN who has heard the first datagram of a conversation."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.alice = Host("alice", ALICE, vnet="acme", ledger=self.ledger)
        self.desk = Host("hq/desk", PBX, vnet="acme", ledger=self.ledger)
        self.listener = Listener()
        self.desk.add(self.listener)
        self.lan = Lan("hq", [self.desk])
        self.say(b"loud")
        self.lan.poll_packets()
        self.listener.asked = 0

    def packet(self, data: bytes) -> bytearray:
        packet = build_udp(self.alice.packed, self.desk.packed, 4000, 4000, data)
        self.alice.send_packet(packet, 0.0)
        return packet

    def say(self, data: bytes) -> None:
        self.lan.handle_packets([self.packet(data)], 0.0)


def test_what_an_application_takes_without_a_word_is_counted_and_nobody_is_asked() -> None:
    world = Quiet()
    world.say(b"quiet")
    assert world.lan.poll_timeout() == NEVER
    assert world.lan.poll_packets() == []
    assert (world.listener.quiet, world.listener.heard, world.listener.asked) == ([b"quiet"], [b"loud"], 0)
    assert world.desk.counters["received"] == world.ledger.received_packets == 2
    assert world.desk.seen[ALICE].packets == 2
    assert world.desk.port_bytes[ALICE, 4000] == 9


def test_what_it_does_not_take_goes_the_long_way_and_it_is_asked() -> None:
    world = Quiet()
    world.say(b"news")
    world.lan.poll_packets()
    assert (world.listener.heard, world.listener.asked) == ([b"loud", b"news"], 1)
    world.listener.mood = False
    world.say(b"quiet")
    world.lan.poll_packets()
    assert (world.listener.heard[-1], world.listener.asked) == (b"quiet", 2)
    world.listener.open = False
    world.say(b"quiet")
    assert world.desk.counters["port_unreachable"] == 1


def test_the_short_way_is_as_careful_as_the_long_one() -> None:
    world = Quiet()
    for at in (8, 27, -1):  # header checksum, UDP checksum
        packet = world.packet(b"quiet")
        packet[at] ^= 1
        world.lan.handle_packets([packet], 0.0)
    assert world.desk.counters["bad_checksum"] == 3
    assert world.listener.quiet == []
    world.lan.handle_packets(
        [build_udp(world.alice.packed, world.desk.packed, 4000, 4000, b"quiet", ident=9)], 0.0
    )
    assert world.ledger.offences[Offence.FORGED] == 1
    assert world.desk.counters["not_as_sent"] == 1


@pytest.mark.parametrize("junk", [b"", b"\x45", b"\x60" + bytes(39), b"\xff" * 60, bytes(60)])
def test_junk_is_counted_and_harms_nothing(junk: bytes) -> None:
    world = World()
    lan = Lan("hq", [world.pbx])
    lan.handle_packets([bytearray(junk)], 0.0)
    world.pbx.handle_packets([bytearray(junk)], 0.0)
    assert sum(world.pbx.counters.values()) >= 2 or not junk
    assert not world.ledger.findings or world.ledger.offences[Offence.MISDELIVERED]


def test_what_a_host_remembers_has_a_cap() -> None:
    world = World()
    mine, theirs = (ip_address(a).packed for a in (ALICE, PBX))
    echo = world.probe.start((PBX, 7), b"hello", count=1, interval=0.1, patience=1.0, now=0.0)
    world.alice.handle_timeout(0.0)
    world.carry(0.0)
    assert echo.received == 1
    for number in range(MAX_REMEMBERED + 10):
        source = (number + 0x0A000000).to_bytes(4, "big")
        world.pbx.handle_packets([build_udp(source, theirs, 9, number % 60_000 + 1000, b"x")], 1.0)
        world.pbx.poll_packets()
    assert (len(world.pbx.seen), len(world.pbx.port_bytes)) == (MAX_REMEMBERED, MAX_REMEMBERED)
    packets = world.pbx.seen[ALICE].packets
    world.pbx.handle_packets([build_udp(mine, theirs, 9, 7, b"x")], 2.0)
    assert world.pbx.seen[ALICE].packets == packets + 1  # whom it knew it goes on counting


def test_errors_are_known_for_the_latest_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    mine = ip_address(ALICE).packed

    def error_about(port: int) -> int:
        before = world.alice.counters["icmp_errors"]
        sent = build_udp(mine, ip_address(PBX).packed, port, 7, b"x")
        error = unreachable(sent, parse_untrusted(sent), ip_address(ROUTER).packed, Unreachable.PORT)
        assert error is not None
        world.alice.handle_packets([error], 0.0)
        return world.alice.counters["icmp_errors"] - before

    sender = UdpProbe()
    flows = [(port, (PBX, 7), b"x") for port in (*range(1, MAX_REMEMBERED + 1), 1, MAX_REMEMBERED + 1)]
    monkeypatch.setattr(sender, "poll_transmit", lambda: flows)
    world.alice.add(sender)
    world.alice.poll_packets()
    assert [error_about(port) for port in (1, 2, 3, MAX_REMEMBERED + 1)] == [1, 0, 1, 1]


def test_a_host_without_chance_knows_no_tcp() -> None:
    world = World()
    with pytest.raises(ValueError, match="alice knows no TCP"):
        world.alice.add_stream(Peer())
    syn = build_tcp(world.pbx.packed, world.alice.packed, 50000, 80, sequence=1, flags=2)
    world.alice.handle_packets([syn], 0.0)
    assert world.alice.counters["no_such_protocol"] == 1
    assert world.alice.poll_packets() == []


@pytest.mark.parametrize(
    ("alice", "pbx", "other"), [(ALICE, PBX, "100.96.0.13"), ("fd00::12", "fd00:50::60", "fd00::13")]
)
def test_any_packet_can_be_sent_but_a_false_source_is_not_believed(alice: str, pbx: str, other: str) -> None:
    world = World(alice, pbx)
    target = ip_address(pbx).packed
    world.alice.send_packet(build_udp(ip_address(alice).packed, target, 9, 7, b"true"), 0.0)
    world.carry(0.0)
    assert world.pbx.seen[alice].packets == 1
    assert not any(world.ledger.offences.values())
    world.alice.send_packet(build_udp(ip_address(other).packed, target, 9, 7, b"false, and longer"), 0.0)
    world.alice.send_packet(b"", 0.0)
    world.carry(0.0)
    assert world.ledger.offences[Offence.FORGED] == 1
    assert world.alice.counters["sent"] == 3


def test_only_the_router_of_its_network_may_answer_a_ping_that_no_host_got() -> None:
    ledger = Ledger()
    ledger.routers["acme"] = {bytes([100, 96, 0, 1])}
    alice, router, other = bytes([100, 96, 0, 2]), bytes([100, 96, 0, 1]), bytes([100, 96, 0, 3])

    def answered(vnet: str, host: str, source: bytes, payload: bytes = b"hello-there") -> bool:
        for target in (router, other):
            ledger.sent(
                "acme",
                "alice",
                build_icmp_echo(alice, target, ident=1, sequence=2, payload=b"hello-there"),
                0.0,
            )
        reply = build_icmp_echo(source, alice, ident=1, sequence=2, payload=payload, reply=True)
        return ledger.received(vnet, host, reply, 0.1) is None

    assert answered("acme", "alice", router)
    assert not answered("acme", "alice", other)
    assert not answered("acme", "alice", router, b"hello-their")
    assert not answered("acme", "bob", router)
    assert not answered("umbrella", "alice", router)


@pytest.mark.parametrize(("alice", "router"), [("100.96.0.2", "100.96.0.1"), ("fd00:96::2", "fd00:96::1")])
def test_the_ping_of_a_real_system_has_fields_of_its_own_in_its_header(alice: str, router: str) -> None:
    one, other = ip_address(alice).packed, ip_address(router).packed
    ledger = Ledger()
    ledger.routers["acme"] = {other}
    for sequence in (1, 2):
        ping = build_icmp_echo(one, other, ident=7, sequence=sequence, payload=b"0123456789")
        if len(one) == 4:
            ping[4:8] = bytes([0xAB, sequence, 0x40, 0])  # identification, DF
        else:
            ping[1:4] = bytes([0x0A, 0xBC, 0xDE])  # flow label
        ledger.sent("acme", "alice", ping, 0.0)

    def heard(sequence: int) -> bool:
        reply = build_icmp_echo(other, one, ident=7, sequence=sequence, payload=b"0123456789", reply=True)
        return ledger.received("acme", "alice", reply, 0.1) is None

    assert heard(1) and heard(2)
    assert not heard(3), "which nobody has sent"
    assert ledger.duplicates == 0
    assert heard(1)
    assert ledger.duplicates == 1


@pytest.mark.parametrize("mtu", [1500, 1280])
def test_what_is_larger_than_the_interface_goes_in_pieces(mtu: int) -> None:
    """As systems send it, without DF (ip(7)); in IPv6 it does not go."""
    for address, other in (("10.0.50.60", "10.0.50.61"), ("fd00:50::60", "fd00:50::61")):
        host = Host("pc", address, vnet="acme", ledger=Ledger(), mtu=mtu)
        ping, probe = Ping(), UdpProbe()
        host.add(ping)
        host.add(probe)
        for size in (mtu - 52, 3000):  # headers of IPv6 and of ICMP or UDP, and the number of a probe
            ping.start(other, bytes(size), count=1, interval=1.0, patience=1.0, now=0.0)
            probe.start((other, 7), bytes(size), count=1, interval=1.0, patience=1.0, now=0.0)
        packets = host.poll_packets()
        assert all(len(packet) <= mtu for packet in packets)
        headers = [parse_untrusted(packet) for packet in packets]
        if ":" in address:
            assert len(headers) == host.counters["too_big"] == 2
            continue
        pieces = [header for header in headers if header.is_fragment]
        assert len(headers) - len(pieces) == 2
        assert sum(header.total_length - header.header_length for header in pieces) >= 2 * (8 + 3000)
        assert not any(header.dont_fragment for header in pieces)
        assert all(checksum(packet[:20]) == 0 for packet in packets)


def test_a_ping_has_the_ttl_that_it_is_given() -> None:
    host = Host("pc", "10.0.50.60", vnet="acme", ledger=Ledger())
    ping = Ping()
    host.add(ping)
    for ttl in (1, 64):
        ping.start("10.0.50.61", b"where", count=1, interval=1.0, patience=1.0, now=0.0, ttl=ttl)
    assert [packet[8] for packet in host.poll_packets()] == [1, 64]
