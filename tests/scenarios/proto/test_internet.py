"""Packets between far ends and the PoP: the same fate as in the simulated underlay, and nothing that hurts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from random import Random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.ip import (
    Unreachable,
    build_icmp_echo,
    build_packet,
    build_tcp,
    build_udp,
    checksum,
    fragment_ipv4,
    parse_untrusted,
    quoted_untrusted,
    udp_payload,
    unreachable,
)
from edge.proto.types import NEVER, Address, BadPacket
from scenarios.fabric.blackhole import Larger, data
from scenarios.fabric.sim.heap import EventHeap
from scenarios.fabric.sim.nodes import POP_ADDRESS
from scenarios.fabric.sim.underlay import Underlay
from scenarios.proto import in_flight
from scenarios.proto.host import checksum_right
from scenarios.proto.internet import INSIDE_ADDRESS, POP, Internet
from scenarios.proto.link_pair import Direction, LinkPair, Traffic
from scenarios.proto.link_profile import GilbertElliott, LinkProfile, PathProfile
from scenarios.proto.nat import NATS, Nat

POP_HOST = POP_ADDRESS[0]
WIREGUARD, MASQUE = 51820, 443
ROUTER = ip_address("198.18.0.254").packed
SYN, ACK, RST = 2, 16, 4


def make_path(**profile) -> LinkPair:
    return LinkPair.of(PathProfile.both(LinkProfile(**profile)), Random("up"), Random("down"))


def make_nat(kind: str | None):
    return lambda host: None if kind is None else Nat(host, NATS[kind], Random("nat"))


class World:
    """One far end or more, with packets by what is in them."""

    def __init__(self, kind: str | None = None, **profile) -> None:
        self.lost: list[tuple[str, str, str, str, int]] = []
        self.internet = Internet(lambda *what: self.lost.append(what))
        self.internet.attach_pop([POP_HOST])
        self.path = make_path(**profile)
        self.address = self.internet.attach("alice", self.path, make_nat(kind), vnet="red")
        self.now = 0.0

    @property
    def public(self) -> str:
        return self.internet.address("alice")

    def up(self, *packets: bytearray) -> None:
        self.internet.from_end("alice", packets, self.now)

    def down(self, *packets: bytearray) -> None:
        self.internet.from_pop(packets, self.now)

    def out(self, until: float | None = None) -> dict[str, list[bytearray]]:
        """What comes out by `until`, now if that is not said."""
        found: dict[str, list[bytearray]] = {}
        until = self.now if until is None else until
        while True:
            for name, packets in self.internet.poll(self.now):
                found.setdefault(name, []).extend(packets)
            at = self.internet.poll_timeout()
            if at > until:
                self.now = until
                return found
            self.now = max(self.now, at)

    def passes_up(self, packet: bytearray) -> bytearray:
        self.up(packet)
        (found,) = self.out()[POP]
        return found

    def passes_down(self, packet: bytearray) -> bytearray:
        self.down(packet)
        (found,) = self.out()["alice"]
        return found

    def reasons(self) -> list[str]:
        reasons, self.lost[:] = [reason for _, _, reason, _, _ in self.lost], []
        return reasons


def udp(
    source: str,
    destination: str,
    sport: int = WIREGUARD,
    dport: int = WIREGUARD,
    payload: bytes = b"hello",
    **rest,
) -> bytearray:
    return build_udp(ip_address(source).packed, ip_address(destination).packed, sport, dport, payload, **rest)


def tcp(
    source: str, destination: str, sport: int, dport: int, flags: int = ACK, payload: bytes = b"", **rest
) -> bytearray:
    return build_tcp(
        ip_address(source).packed,
        ip_address(destination).packed,
        sport,
        dport,
        sequence=1,
        flags=flags,
        payload=payload,
        **rest,
    )


def places(packet: bytearray) -> tuple[Address, Address]:
    """Source and destination of a packet whose checksums are right."""
    header = parse_untrusted(packet)
    assert checksum_right(packet, header)
    return (
        (str(ip_address(header.source)), header.source_port),
        (str(ip_address(header.destination)), header.destination_port),
    )


# -- the same fate as in the simulated underlay


@dataclass
class Seen:
    """What arrived, and what was lost outside links, as both sides tell it."""

    arrived: list[tuple[float, str, Address, Address, bytes]] = field(default_factory=list)
    lost: list[tuple[str, str, str, str, int]] = field(default_factory=list)


class Simulated:
    """The underlay of the sim, with machines that only note what they get."""

    def __init__(self, path: LinkPair, kind: str | None) -> None:
        self.seen = Seen()
        self.heap = EventHeap()
        recorder = SimpleNamespace(lost=lambda *what: self.seen.lost.append(what))
        self.underlay = Underlay(self.heap, recorder, random=Random)  # type: ignore[arg-type]
        self.underlay.pop = SimpleNamespace(deliver=self._at_pop)  # type: ignore[assignment]
        self.node = SimpleNamespace(
            end=SimpleNamespace(nat=make_nat(kind), name="alice", vnet="red"),
            path=path,
            deliver=self._at_end,
            moved=lambda: None,
        )
        self.underlay.place(self.node)  # type: ignore[arg-type]

    def _at_pop(self, source: Address, datagrams: list[bytes], *, quic: bool) -> None:
        port = MASQUE if quic else WIREGUARD
        self.seen.arrived += [(self.heap.now, POP, source, (POP_HOST, port), bytes(one)) for one in datagrams]

    def _at_end(self, source: Address, datagrams: list[bytes]) -> None:
        here = self.node.address
        self.seen.arrived += [(self.heap.now, "alice", source, here, bytes(one)) for one in datagrams]

    def up(self, destination: Address, datagrams: list[bytes]) -> None:
        self.underlay.from_end(self.node, destination, datagrams)  # type: ignore[arg-type]

    def down(self, source: Address, destination: Address, datagrams: list[bytes]) -> None:
        self.underlay.from_pop(destination, datagrams, source)

    def roam(self) -> None:
        self.node.host = self.node.address[0] if self.node.nat is None else self.node.nat.host
        self.underlay.roam(self.node)  # type: ignore[arg-type]

    def rebind(self) -> None:
        if self.node.nat is not None:
            self.node.nat.rebind()

    def advance(self, until: float) -> None:
        self.heap.run(until, at_most=1_000_000)


class Real:
    """The same of IP packets."""

    def __init__(self, path: LinkPair, kind: str | None) -> None:
        self.seen = Seen()
        self.internet = Internet(lambda *what: self.seen.lost.append(what))
        self.internet.attach_pop([POP_HOST])
        self.address = self.internet.attach("alice", path, make_nat(kind), vnet="red")
        self.now = 0.0

    def up(self, destination: Address, datagrams: list[bytes]) -> None:
        packets = [udp(self.address, destination[0], WIREGUARD, destination[1], one) for one in datagrams]
        self.internet.from_end("alice", packets, self.now)

    def down(self, source: Address, destination: Address, datagrams: list[bytes]) -> None:
        self.internet.from_pop(
            [udp(*source[:1], destination[0], source[1], destination[1], one) for one in datagrams], self.now
        )

    def roam(self) -> None:
        self.address = self.internet.roam("alice")

    def rebind(self) -> None:
        self.internet.rebind("alice")

    def advance(self, until: float) -> None:
        while True:
            for name, packets in self.internet.poll(self.now):
                for packet in packets:
                    header = parse_untrusted(packet)
                    self.seen.arrived.append(
                        (self.now, name, *places(packet), bytes(udp_payload(packet, header)))
                    )
            at = self.internet.poll_timeout()
            if at > until:
                self.now = until
                return
            self.now = max(self.now, at)


def faults(path: LinkPair, what: str) -> None:
    match what:
        case "cut":
            path.partition()
        case "cut up":
            path.partition(Direction.UP)
        case "heal":
            path.heal()
            path.unblock()
            path.restore()
            path.swallow = None
        case "block":
            path.block([Traffic("udp", WIREGUARD)])
        case "block all":
            path.block([Traffic("udp")])
        case "hole":
            path.swallow = data
        case "narrow":
            path.swallow = Larger(120)
        case "degrade":
            path.degrade(LinkProfile(delay=0.03, jitter=0.01, loss=0.2, reorder=0.2, corrupt=0.2))


FAULTS = ["cut", "cut up", "heal", "block", "block all", "hole", "narrow", "degrade"]
PROFILES = [
    LinkProfile(),
    LinkProfile(delay=0.02),
    LinkProfile(delay=0.02, jitter=0.01, loss=GilbertElliott(0.1, 0.4)),
    LinkProfile(delay=0.01, loss=0.3, reorder=0.3, duplicate=0.3, corrupt=0.3),
    LinkProfile(rate=100_000, queue=2000, mtu=300),
]
datagrams = st.lists(
    st.binary(min_size=1, max_size=350) | st.just(b"\4\0\0\0" + bytes(80)), min_size=1, max_size=5
)
steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("up"),
            st.sampled_from([(POP_HOST, WIREGUARD), (POP_HOST, MASQUE), ("203.0.113.9", 9)]),
            datagrams,
        ),
        st.tuples(
            st.just("down"), st.sampled_from([WIREGUARD, MASQUE]), datagrams, st.sampled_from([0, 0, 0, 1])
        ),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.005, 0.02, 1.0, 130.0])),
        st.tuples(st.sampled_from(["roam", "rebind"])),
        st.tuples(st.just("fault"), st.sampled_from(FAULTS)),
    ),
    max_size=25,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.sampled_from([None, *NATS]), st.sampled_from(PROFILES), steps)
def test_datagrams_meet_the_fate_that_they_meet_in_virtual_time(
    kind: str | None, profile: LinkProfile, steps: list[tuple]
) -> None:
    paths = [LinkPair.of(PathProfile.both(profile), Random("up"), Random("down")) for _ in range(2)]
    one, other = Simulated(paths[0], kind), Real(paths[1], kind)
    now = 0.0
    for step in steps:
        match step:
            case ("up", destination, bodies):
                one.up(destination, bodies)
                other.up(destination, bodies)
            case ("down", port, bodies, wrong):
                heard = [source for _, name, source, _, _ in one.seen.arrived if name == POP]
                place = heard[-1] if heard else ("198.18.0.2", WIREGUARD)
                place = (place[0], place[1] if kind is None else place[1] ^ wrong)
                for side in (one, other):
                    side.down((POP_HOST, port), place, bodies)
            case ("wait", seconds):
                now += seconds
            case ("roam",) | ("rebind",):
                for side in (one, other):
                    getattr(side, step[0])()
            case ("fault", what):
                for path in paths:
                    faults(path, what)
        for side in (one, other):
            side.advance(now)
    for side in (one, other):
        side.advance(now + 10)
    assert other.seen.arrived == one.seen.arrived
    assert other.seen.lost == one.seen.lost
    for link, twin in ((paths[0].up, paths[1].up), (paths[0].down, paths[1].down)):
        assert link.counters == twin.counters
    assert (paths[0].filtered, paths[0].swallowed) == (paths[1].filtered, paths[1].swallowed)
    assert other.internet.in_flight == 0


# -- addresses


def test_every_far_end_has_an_address_and_behind_a_nat_they_share_one() -> None:
    internet = Internet()
    internet.attach_pop(["198.18.0.1", "198.18.0.3"])
    given = [
        internet.attach(f"a{n}", make_path(), make_nat(kind))
        for n, kind in enumerate([None, "cgnat", "cgnat", None])
    ]
    assert given == ["198.18.0.2", INSIDE_ADDRESS, INSIDE_ADDRESS, "198.18.0.6"]
    assert [internet.address(f"a{n}") for n in range(4)] == [
        "198.18.0.2",
        "198.18.0.4",
        "198.18.0.5",
        "198.18.0.6",
    ]
    for name in ("a1", POP):
        with pytest.raises(ValueError, match="attached already"):
            internet.attach(name, make_path(), make_nat(None))


def test_neighbours_with_the_same_inside_address_do_not_mix() -> None:
    world = World("port-restricted")
    world.internet.attach("bob", make_path(), make_nat("port-restricted"))
    world.up(udp(INSIDE_ADDRESS, POP_HOST, payload=b"of alice"))
    world.internet.from_end("bob", [udp(INSIDE_ADDRESS, POP_HOST, payload=b"of bob")], 0.0)
    first, second = world.out()[POP]
    assert places(first)[0] == (world.public, WIREGUARD)
    assert places(second)[0] == (world.internet.address("bob"), WIREGUARD)
    world.down(udp(POP_HOST, world.internet.address("bob"), payload=b"to bob"))
    ((name, (packet,)),) = world.out().items()
    assert name == "bob" and places(packet)[1] == (INSIDE_ADDRESS, WIREGUARD)


@pytest.mark.parametrize("kind", [None, "port-restricted"])
def test_who_roams_leaves_an_address_that_is_nobodys(kind: str | None) -> None:
    world = World(kind, delay=0.02)
    world.up(udp(world.address, POP_HOST, payload=b"before"))
    old, old_address = world.public, world.address
    assert places(world.out(0.02)[POP][0])[0][0] == old
    world.down(udp(POP_HOST, old))  # on its way when it happens
    world.up(udp(world.address, POP_HOST, payload=b"on its way"))
    address = world.internet.roam("alice")
    assert world.public != old and (address == old_address) is (kind is not None)
    world.down(udp(POP_HOST, old))
    out = world.out(1.0)
    assert list(out) == [POP] and places(out[POP][0])[0][0] == old
    assert world.reasons() == ["no_such_address"] * 2
    world.up(udp(address, POP_HOST))
    assert places(world.out(2.0)[POP][0])[0][0] == world.public
    if kind is None:
        world.up(udp(old_address, POP_HOST))  # the kernel has not been told, or a socket is bound
        assert world.out(3.0) == {} and world.reasons() == ["spoofed_source"]


def test_who_is_detached_gets_and_sends_nothing() -> None:
    world = World(delay=0.02)
    world.down(udp(POP_HOST, world.public))
    public = world.public
    world.internet.detach("alice")
    world.up(udp(world.address, POP_HOST))
    world.down(udp(POP_HOST, public))
    assert world.out(1.0) == {} and world.reasons() == ["no_such_address"] * 2


# -- TCP


def test_a_segment_passes_a_nat_both_ways_and_ports_do_not_mix_with_those_of_udp() -> None:
    world = World("symmetric")
    over_tcp = places(world.passes_up(tcp(INSIDE_ADDRESS, POP_HOST, 4000, MASQUE, SYN)))[0]
    over_udp = places(world.passes_up(udp(INSIDE_ADDRESS, POP_HOST, 4000, MASQUE)))[0]
    assert over_tcp[0] == over_udp[0] == world.public and over_tcp[1] != 4000
    assert over_tcp[1] == over_udp[1]  # each table draws the same
    answer = world.passes_down(tcp(POP_HOST, *over_tcp[:1], MASQUE, over_tcp[1], SYN | ACK))
    assert places(answer) == ((POP_HOST, MASQUE), (INSIDE_ADDRESS, 4000))
    assert places(world.passes_up(tcp(INSIDE_ADDRESS, POP_HOST, 4000, MASQUE, ACK)))[0] == over_tcp
    world.now += 3600.0  # tables of TCP keep what is idle for hours, those of UDP do not
    world.passes_down(tcp(POP_HOST, world.public, MASQUE, over_tcp[1], ACK))
    world.down(udp(POP_HOST, world.public, MASQUE, over_udp[1]))
    assert world.out() == {} and world.reasons() == ["no_such_address"]


def test_a_nat_that_has_forgotten_a_connection_resets_it_and_the_pop_hears_nothing() -> None:
    world = World("port-restricted")
    world.passes_up(tcp(INSIDE_ADDRESS, POP_HOST, 4000, MASQUE, SYN))
    world.internet.rebind("alice")
    world.down(tcp(POP_HOST, world.public, MASQUE, 4000, ACK, b"late"))
    assert world.out() == {} and world.reasons() == ["no_such_address"]
    world.up(tcp(INSIDE_ADDRESS, POP_HOST, 4000, MASQUE, ACK, b"more"))
    ((name, (reset,)),) = world.out().items()
    assert name == "alice" and places(reset) == ((POP_HOST, MASQUE), (INSIDE_ADDRESS, 4000))
    assert parse_untrusted(reset).tcp_flags == RST and world.reasons() == ["nat_unknown"]
    again = places(world.passes_up(tcp(INSIDE_ADDRESS, POP_HOST, 4000, MASQUE, SYN)))[0]
    assert again[1] != 4000  # the port of before is burnt


def test_a_reset_is_not_answered() -> None:
    world = World("port-restricted")
    world.up(tcp(INSIDE_ADDRESS, POP_HOST, 4000, MASQUE, RST))
    assert world.out() == {} and world.reasons() == ["nat_unknown"]


def test_rebinding_without_a_nat_changes_nothing() -> None:
    world = World()
    world.internet.rebind("alice")
    world.passes_up(tcp(world.address, POP_HOST, 4000, MASQUE, ACK))


@pytest.mark.parametrize("kind", [None, "port-restricted"])
def test_the_mtu_of_a_path_is_what_a_syn_asks_for(kind: str | None) -> None:
    world = World(kind, mtu=1400)
    asked = tcp(world.address, POP_HOST, 4000, MASQUE, SYN, options=b"\x02\x04\x05\xb4")
    assert int.from_bytes(world.passes_up(asked)[42:44]) == 1360
    answer = tcp(POP_HOST, world.public, MASQUE, 4000, SYN | ACK, options=b"\x02\x04\x05\xb4")
    assert int.from_bytes(world.passes_down(answer)[42:44]) == 1360


# -- pings and ICMP errors


def test_a_ping_and_its_answer_pass_a_nat() -> None:
    world = World("symmetric")
    inside, pop = (ip_address(a).packed for a in (INSIDE_ADDRESS, POP_HOST))
    ping = world.passes_up(build_icmp_echo(inside, pop, ident=7, sequence=1, payload=b"ping"))
    assert places(ping)[0][0] == world.public
    ident = int.from_bytes(ping[24:26])
    assert ident != 7
    public = ip_address(world.public).packed
    world.down(build_icmp_echo(pop, public, ident=7, sequence=1, payload=b"ping", reply=True))
    assert world.out() == {} and world.reasons() == ["no_such_address"]
    pong = world.passes_down(
        build_icmp_echo(pop, public, ident=ident, sequence=1, payload=b"ping", reply=True)
    )
    assert pong == build_icmp_echo(pop, inside, ident=7, sequence=1, payload=b"ping", reply=True)
    world.down(build_icmp_echo(pop, public, ident=ident, sequence=1, payload=b"who are you"))
    world.up(build_icmp_echo(inside, pop, ident=7, sequence=1, payload=b"me", reply=True))
    assert world.out() == {} and world.reasons() == ["nat_protocol"] * 2


def about(packet: bytearray, source: bytes, cut: int = 548) -> bytearray:
    """A router says that the port is closed."""
    header = parse_untrusted(packet)
    answer = unreachable(
        packet[:cut],
        replace(header, total_length=cut) if cut < len(packet) else header,
        source,
        Unreachable.PORT,
    )
    assert answer is not None
    return answer


@pytest.mark.parametrize("cut", [28, 548])
@pytest.mark.parametrize("source", [ip_address(POP_HOST).packed, ROUTER], ids=["pop", "router"])
@pytest.mark.parametrize("what", ["udp", "tcp", "ping"])
def test_an_error_finds_its_way_through_a_nat(what: str, source: bytes, cut: int) -> None:
    world = World("symmetric")
    world.internet.attach_pop([POP_HOST, str(ip_address(ROUTER))])
    sent = {
        "udp": udp(INSIDE_ADDRESS, POP_HOST, 4000),
        "tcp": tcp(INSIDE_ADDRESS, POP_HOST, 4000, MASQUE, SYN),
        "ping": build_icmp_echo(
            ip_address(INSIDE_ADDRESS).packed,
            ip_address(POP_HOST).packed,
            ident=4000,
            sequence=1,
            payload=b"hi",
        ),
    }[what]
    original = bytes(sent)
    error = world.passes_down(about(world.passes_up(sent), source, cut))
    header = parse_untrusted(error)
    assert checksum_right(error, header) and header.source == source
    assert header.destination == ip_address(INSIDE_ADDRESS).packed
    assert error[28:] == original[:cut]
    assert quoted_untrusted(error, header) is not None


def test_an_error_of_the_machine_behind_a_nat_quotes_what_the_pop_sent() -> None:
    world = World("symmetric")
    public, port = places(world.passes_up(udp(INSIDE_ADDRESS, POP_HOST, 4000)))[0]
    sent = udp(POP_HOST, public, WIREGUARD, port, b"nobody listens")
    original = bytes(sent)
    error = world.passes_up(about(world.passes_down(sent), ip_address(INSIDE_ADDRESS).packed))
    header = parse_untrusted(error)
    assert checksum_right(error, header) and error[28:] == original
    assert header.source == ip_address(public).packed and header.destination == ip_address(POP_HOST).packed


def test_errors_about_nothing_do_not_pass_a_nat() -> None:
    world = World("symmetric")
    world.passes_up(udp(INSIDE_ADDRESS, POP_HOST, 4000))
    pop, inside = ip_address(POP_HOST).packed, ip_address(INSIDE_ADDRESS).packed
    world.down(about(udp(world.public, POP_HOST, 5), pop))  # no mapping has that port
    world.up(about(udp(POP_HOST, INSIDE_ADDRESS, WIREGUARD, 5), inside))
    world.up(about(udp(POP_HOST, "192.168.1.3", WIREGUARD, 4000), inside)[:12] + b"")  # cut short
    foreign = about(udp(POP_HOST, "192.168.1.3", WIREGUARD, 4000), inside)  # about a packet to somebody else
    world.up(foreign)
    assert world.out() == {}
    assert world.reasons() == ["nat_unknown", "nat_unknown", "malformed", "nat_unknown"]


# -- fragments


def pieces(packet: bytearray, mtu: int = 576) -> list[bytearray]:
    found = fragment_ipv4(packet, mtu)
    assert len(found) > 1
    return found


def joined(fragments: list[bytearray]) -> bytes:
    return b"".join(
        bytes(one[20:]) for one in sorted(fragments, key=lambda one: parse_untrusted(one).fragment_offset)
    )


BIG = Random(3).randbytes(3000)


@pytest.mark.parametrize("kind", [None, "symmetric"])
@pytest.mark.parametrize("order", [1, -1], ids=["in order", "first last"])
def test_fragments_pass_both_ways(kind: str | None, order: int) -> None:
    world = World(kind)
    world.up(*pieces(udp(world.address, POP_HOST, 4000, payload=BIG, ident=5, dont_fragment=False))[::order])
    found = world.out()[POP]
    source = {str(ip_address(parse_untrusted(one).source)) for one in found}
    assert source == {world.public}
    port = int.from_bytes(joined(found)[:2])
    assert joined(found) == udp(world.public, POP_HOST, port, payload=BIG)[20:]
    world.down(
        *pieces(udp(POP_HOST, world.public, dport=port, payload=BIG, ident=6, dont_fragment=False))[::order]
    )
    found = world.out()["alice"]
    assert joined(found) == udp(POP_HOST, world.address, dport=4000, payload=BIG)[20:]
    assert world.reasons() == []


def test_fragments_of_what_does_not_pass_do_not_pass() -> None:
    world = World("symmetric")
    world.down(*pieces(udp(POP_HOST, world.public, dport=4000, payload=BIG, ident=6, dont_fragment=False)))
    assert world.out() == {} and set(world.reasons()) == {"no_such_address"}
    world.down(
        *pieces(udp(POP_HOST, world.public, dport=4000, payload=BIG, ident=7, dont_fragment=False))[::-1]
    )
    assert world.out() == {} and set(world.reasons()) == {"no_such_address"}


def test_fragments_without_a_first_one_are_few_and_die() -> None:
    world = World("symmetric")
    for ident in range(500):
        world.down(pieces(udp(POP_HOST, world.public, payload=BIG, ident=ident, dont_fragment=False))[1])
    limited = world.reasons()
    assert 500 - len(limited) < 100 and set(limited) == {"fragment_limit"}
    world.internet.rebind("alice")
    assert world.out() == {} and len(world.reasons()) == 500 - len(limited)


# -- what happens to a path


def test_a_path_that_does_nothing_lets_packets_through_at_once() -> None:
    world = World()
    packet = udp(world.address, POP_HOST)
    world.up(packet)
    assert world.internet.in_flight == 0 and world.internet.poll_timeout() == -NEVER
    assert world.out() == {POP: [udp(world.address, POP_HOST)]}
    assert world.internet.poll_timeout() == NEVER
    assert world.path.up.counters.bytes == len(packet)
    assert world.internet.carried == {POP: 1}


def test_a_delay_is_exact_and_nobody_overtakes() -> None:
    world = World(delay=0.02)
    world.up(udp(world.address, POP_HOST, payload=b"1"))
    assert world.internet.poll_timeout() == 0.02 and world.internet.in_flight == 1
    world.path.degrade(LinkProfile())
    world.now = 0.02
    world.up(udp(world.address, POP_HOST, payload=b"2"))  # it met a path without a delay, at the last moment
    assert [bytes(one[28:]) for one in world.out()[POP]] == [b"1", b"2"]
    assert world.internet.in_flight == 0


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
@pytest.mark.parametrize("kind", [None, "full-cone"])
def test_a_firewall_knows_the_port_of_the_pop(protocol: str, kind: str | None) -> None:
    world = World(kind)
    build, flags = (udp, ()) if protocol == "udp" else (tcp, (SYN,))
    world.path.block([Traffic(protocol, MASQUE)])
    for port, count in ((MASQUE, 0), (4433, 1)):
        world.up(build(world.address, POP_HOST, 4000, port, *flags))
        assert len(world.out().get(POP, ())) == count
        world.down(build(POP_HOST, world.public, port, 4000))
        assert len(world.out().get("alice", ())) == count
    assert world.path.filtered == 2
    world.path.block([Traffic(protocol)])
    world.up(build(world.address, POP_HOST, 4000, 4433, *flags))
    assert world.out() == {}
    other, flags = (tcp, (SYN,)) if protocol == "udp" else (udp, ())
    world.passes_up(other(world.address, POP_HOST, 4000, MASQUE, *flags))


def test_a_black_hole_takes_data_and_what_is_large() -> None:
    world = World()
    world.path.swallow = data
    world.up(udp(world.address, POP_HOST, payload=b"\4\0\0\0" + bytes(100)))
    assert world.out() == {} and world.path.swallowed == 1
    world.passes_up(udp(world.address, POP_HOST, payload=b"\1\0\0\0" + bytes(144)))
    world.passes_up(tcp(world.address, POP_HOST, 1, MASQUE, payload=bytes(1000)))
    world.path.swallow = Larger(1028)
    world.passes_up(udp(world.address, POP_HOST, payload=bytes(1000)))
    world.up(udp(world.address, POP_HOST, payload=bytes(1001)))
    world.up(tcp(world.address, POP_HOST, 1, MASQUE, payload=bytes(1000)))
    world.up(
        build_icmp_echo(
            ip_address(world.address).packed,
            ip_address(POP_HOST).packed,
            ident=1,
            sequence=1,
            payload=bytes(1001),
        )
    )
    assert world.out() == {} and world.path.swallowed == 4


def test_damage_reaches_a_program_over_udp_and_a_kernel_over_tcp() -> None:
    world = World("full-cone", corrupt=1.0)
    for _ in range(20):
        world.up(udp(INSIDE_ADDRESS, POP_HOST, payload=bytes(100)))
        (packet,) = world.out()[POP]
        places(packet)
        assert int.from_bytes(packet[28:]).bit_count() == 1
        world.down(udp(POP_HOST, world.public, payload=bytes(100)))
        (packet,) = world.out()["alice"]
        places(packet)
        assert int.from_bytes(packet[28:]).bit_count() == 1
    right = tcp(INSIDE_ADDRESS, POP_HOST, 4000, MASQUE, SYN)
    world.up(right)
    (packet,) = world.out()[POP]
    with suppress(BadPacket):  # if it was the IP header
        assert not checksum_right(packet, parse_untrusted(packet))


def test_two_copies_of_a_packet_are_translated_each() -> None:
    world = World("symmetric", duplicate=1.0, corrupt=1.0, delay=0.01)
    world.up(udp(INSIDE_ADDRESS, POP_HOST, 4000))
    one, other = world.out(1.0)[POP]
    assert one == other and one is not other
    public, port = places(one)[0]
    world.down(udp(POP_HOST, public, dport=port))
    one, other = world.out(2.0)["alice"]
    assert one == other and places(one)[1] == (INSIDE_ADDRESS, 4000)


# -- strangers


def test_what_no_router_carries_is_counted_and_neighbours_are_not_even_a_loss() -> None:
    world = World()
    six = "fe80::1"
    world.up(
        bytearray(),
        bytearray(b"\x45"),
        bytearray(60),
        build_packet(ip_address(world.address).packed, ip_address(POP_HOST).packed, 47, b"tunnelled"),
        udp("203.0.113.1", POP_HOST),
        udp(world.address, "203.0.113.1"),
    )
    assert world.reasons() == ["malformed"] * 3 + ["unknown_protocol", "spoofed_source", "no_such_address"]
    world.up(
        build_icmp_echo(
            ip_address(six).packed, ip_address("ff02::2").packed, ident=1, sequence=1, payload=b""
        ),
        udp(world.address, "224.0.0.251", 5353, 5353),
        udp(world.address, "255.255.255.255", 68, 67),
    )
    world.down(udp(POP_HOST, "224.0.0.251", 5353, 5353))
    assert world.out() == {} and world.reasons() == []
    assert world.internet.counters["link_local"] == 4
    world.down(udp("203.0.113.1", world.public), udp(POP_HOST, "203.0.113.1"))
    assert world.out() == {} and world.reasons() == ["spoofed_source", "no_such_address"]


def test_ends_and_pop_may_have_addresses_of_version_6() -> None:
    world = World()
    world.internet.attach_pop(["2001:db8::1"])
    world.up(udp(world.address, POP_HOST), udp("2001:db8::2", "2001:db8::1"))
    assert world.out() == {} and world.reasons() == ["no_such_address", "spoofed_source"]


def test_the_padding_of_a_packet_goes() -> None:
    world = World()
    assert world.passes_up(udp(world.address, POP_HOST) + b"padding") == udp(world.address, POP_HOST)


def test_nobody_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_flight, "PACKETS", 100)
    world = World(delay=60.0)
    for _ in range(300):
        world.up(udp(world.address, POP_HOST))
        world.down(udp(POP_HOST, world.public))
    assert world.internet.in_flight == 200
    assert world.reasons() == ["queue_full"] * 400
    assert {name: len(packets) for name, packets in world.out(60.0).items()} == {POP: 100, "alice": 100}
    monkeypatch.setattr(in_flight, "BYTES", 5000)
    for _ in range(10):
        world.up(udp(world.address, POP_HOST, payload=bytes(972)))
    assert world.internet.in_flight == 5


def mutated(packet: bytearray, random: Random) -> Iterator[bytearray]:
    for _ in range(60):
        one = bytearray(packet)
        for _ in range(random.randint(1, 3)):
            one[random.randrange(random.choice([0, 20]), len(one))] = random.randrange(256)
        if random.random() < 0.3:
            del one[random.randrange(len(one)) :]
        if random.random() < 0.8 and len(one) > 20:  # or hardly any would get past the first check
            one[2:4] = len(one).to_bytes(2)
            one[10:12] = b"\0\0"
            one[10:12] = checksum(one[: (one[0] & 15) * 4]).to_bytes(2)
        yield one


@pytest.mark.parametrize("kind", [None, "symmetric", "full-cone"])
def test_no_packet_does_harm(kind: str | None) -> None:
    random = Random(kind)
    world = World(kind)
    port = places(world.passes_up(udp(world.address, POP_HOST, 4000)))[0][1]
    seeds = [
        udp(world.address, POP_HOST, 4000),
        tcp(world.address, POP_HOST, 4000, MASQUE, SYN, options=b"\x02\x04\x05\xb4"),
        build_icmp_echo(
            ip_address(world.address).packed, ip_address(POP_HOST).packed, ident=1, sequence=1, payload=b"x"
        ),
        about(udp(POP_HOST, world.address, WIREGUARD, 4000), ip_address(world.address).packed),
        *pieces(udp(world.address, POP_HOST, 4000, payload=BIG, dont_fragment=False)),
        udp(POP_HOST, world.public, dport=port),
        tcp(POP_HOST, world.public, MASQUE, 4000, SYN, options=b"\x02\x04\x05\xb4"),
        about(udp(world.public, POP_HOST, port), ip_address(POP_HOST).packed),
        *pieces(udp(POP_HOST, world.public, dport=port, payload=BIG, dont_fragment=False)),
    ]
    world.path.degrade(LinkProfile(mtu=1500, corrupt=0.3, duplicate=0.2))
    for seed in seeds:
        for packet in mutated(seed, random):
            world.up(bytearray(packet))
            world.down(packet)
        world.up(bytearray(random.randbytes(random.randrange(100))))
        world.now += 1.0
        world.out()
    assert min(world.internet.carried[POP], world.internet.carried["alice"]) > 20
    assert world.internet.counters["malformed"] > 50
