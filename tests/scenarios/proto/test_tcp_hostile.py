"""What strangers and liars may send to a TCP: nothing of it ends a connection, raises, or grows memory."""

from __future__ import annotations

import random
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from edge.proto.ip import (
    Unreachable,
    build_packet,
    build_tcp,
    parse_untrusted,
    tcp_reset,
    transport_checksum,
    unreachable,
)
from edge.proto.ip.tcp import ACK, FIN, PSH, RST, SYN
from edge.proto.types import BadPacket, DropReason
from scenarios.proto.ledger import Offence
from scenarios.proto.tcp import MAX_RECENT, StackLimits, TcpStack
from scenarios.proto.tcp_segment import SMALLEST_MSS, mss_option
from scenarios.proto.tcp_state import State, StreamError, StreamEvent, TcpLimits
from tests.scenarios.proto.tcp_world import (
    CLIENT,
    ROUTER,
    SERVER,
    STRANGER,
    Path,
    Peer,
    Stream,
    TcpWorld,
    Wire,
)

DATA = random.Random(3).randbytes(50_000)


class Talk:
    """A connection in the middle of its life, and what the server knows of it."""

    def __init__(self, limits: StackLimits | None = None) -> None:
        self.world = TcpWorld(limits=limits)
        client, server = self.world.pair(Peer(closes=False), Peer(closes=False))
        self.near: Stream = client.connect((self.world.server.address, 80), b"hello", 0.0)
        self.world.run(1.0)
        self.far: Stream = server.streams[0]
        last = self.world.sent_by(self.world.client)[-1]
        self.sequence = last.sequence + len(last.payload)
        """What the server expects next."""
        self.acknowledgment = last.acknowledgment

    def forge(self, **fields: object) -> list[Wire]:
        """What the server answers to a segment in the client's name."""
        before = len(self.world.wire)
        fields = {"sequence": self.sequence, "acknowledgment": self.acknowledgment, "window": 9000} | fields
        self.world.forge(self.world.server, self.far.connection, **fields)
        return self.world.wire[before:]

    def still_works(self) -> None:
        self.near.connection.write(b" world")
        self.far.connection.write(b"answer")
        self.world.run(self.world.now + 5.0)
        assert (self.far.received, self.near.received) == (b"hello world", b"answer")
        assert self.far.connection.state is State.ESTABLISHED


@pytest.fixture
def talk() -> Talk:
    return Talk()


# -- RFC 5961


def test_a_reset_ends_a_connection_only_with_the_exact_number(talk: Talk) -> None:
    for distance in (1, 100, 30_000, 65_000):
        (challenge,) = talk.forge(sequence=talk.sequence + distance, flags=RST)
        assert (challenge.flags, challenge.acknowledgment) == (ACK, talk.sequence)
    for distance in (-1, -1000, 65_536, 1 << 31):
        assert talk.forge(sequence=talk.sequence + distance, flags=RST) == []
    talk.still_works()
    talk.sequence += len(b" world")
    talk.forge(flags=RST)
    assert talk.far.connection.error is StreamError.RESET


@pytest.mark.parametrize("distance", [-5, 0, 100, 1 << 30])
def test_a_syn_ends_no_connection(talk: Talk, distance: int) -> None:
    (challenge,) = talk.forge(sequence=talk.sequence + distance, flags=SYN)
    assert (challenge.flags, challenge.acknowledgment) == (ACK, talk.sequence)
    talk.still_works()


@pytest.mark.parametrize("distance", [1, 70_000, 1 << 31, -70_000])
def test_data_with_an_unbelievable_acknowledgment_is_not_taken(talk: Talk, distance: int) -> None:
    (challenge,) = talk.forge(acknowledgment=talk.acknowledgment + distance, flags=ACK, payload=b" evil!")
    assert challenge.acknowledgment == talk.sequence
    talk.still_works()


def test_data_without_an_acknowledgment_or_outside_the_window_is_not_taken(talk: Talk) -> None:
    assert talk.forge(flags=PSH, payload=b" evil!") == []
    talk.forge(sequence=talk.sequence + 65_535, flags=ACK, payload=b" evil!")
    talk.forge(sequence=talk.sequence - 6, flags=ACK, payload=b" evil!")
    talk.still_works()


def test_data_behind_the_end_changes_nothing(talk: Talk) -> None:
    talk.forge(flags=FIN | ACK)
    (answer,) = talk.forge(sequence=talk.sequence + 1, flags=PSH | ACK, payload=b"more")
    assert answer.acknowledgment == talk.sequence + 1
    assert talk.far.connection.state is State.CLOSE_WAIT
    assert talk.far.events.count(StreamEvent.FINISHED) == 1
    assert talk.far.received == b"hello"


def test_answers_to_nonsense_are_limited(talk: Talk) -> None:
    answers = [talk.forge(flags=SYN) for _ in range(200)]
    assert sum(map(len, answers)) == TcpLimits().challenge_burst
    assert talk.far.connection.ignored == 200
    talk.world.run(2.0)
    talk.still_works()


def test_a_reset_for_a_connection_that_begins_must_acknowledge_its_syn() -> None:
    world = TcpWorld()
    client, _ = world.pair()
    stream = client.connect((SERVER, 80), b"", 0.0)
    world.collect()
    syn = world.wire[0]
    world.forge(world.client, stream.connection, sequence=0, flags=RST)
    world.forge(world.client, stream.connection, sequence=0, acknowledgment=syn.sequence, flags=RST | ACK)
    assert stream.connection.state is State.SYN_SENT
    assert len(world.wire) == 1  # a reset is never answered
    world.forge(world.client, stream.connection, sequence=0, acknowledgment=syn.sequence + 1, flags=RST | ACK)
    assert stream.connection.error is StreamError.REFUSED


def test_a_syn_ack_for_another_syn_is_refused() -> None:
    world = TcpWorld()
    client, _ = world.pair()
    stream = client.connect((SERVER, 80), b"", 0.0)
    world.collect()
    world.forge(world.client, stream.connection, sequence=5, acknowledgment=99, flags=SYN | ACK)
    assert (world.wire[-1].flags, world.wire[-1].sequence) == (RST, 99)
    world.run(1.0)
    assert StreamEvent.CONNECTED in stream.events


# -- listening


def syn(port: int, *, source: str = STRANGER, dport: int = 80, **fields: object) -> bytearray:
    fields = {"sequence": 1000, "flags": SYN} | fields
    return build_tcp(ip_address(source).packed, ip_address(SERVER).packed, port, dport, **fields)  # type: ignore[arg-type]


def test_a_flood_of_syns_keeps_nobody_out_and_nothing_grows() -> None:
    world = TcpWorld()
    client, server = world.pair()
    assert world.server.tcp is not None
    for port in range(1024, 1024 + 4 * StackLimits().backlog):
        world.inject(world.server, syn(port))
        assert len(world.server.tcp.connections) <= StackLimits().backlog
    assert server.streams == []
    assert not any(wire.flags & RST for wire in world.wire)
    stream = client.connect((SERVER, 80), b"let me in", world.now)
    world.run(world.now + 1.0)
    assert server.streams[0].received == b"let me in"
    world.run()
    assert stream.connection.error is None
    assert world.quiet()
    assert len(server.streams) == 1


def test_connections_are_capped_and_those_that_only_wait_make_way() -> None:
    world = TcpWorld(server_limits=StackLimits(max_connections=3, connection=TcpLimits(time_wait=50.0)))
    client, server = world.pair(Peer(closes=False), Peer(closes=False))
    streams = [client.connect((SERVER, 80), b"x", 0.0) for _ in range(4)]
    world.run(0.5)
    assert len(server.streams) == 3
    assert world.server.tcp is not None and world.server.tcp.counters["connections_full"] == 1
    server.streams[0].connection.close()
    world.run(0.6)
    streams[0].connection.close()
    world.run(0.9)
    assert server.streams[0].connection.state is State.TIME_WAIT
    world.run(2.0)  # the fourth asks again
    assert len(server.streams) == 4
    assert (server.streams[0].connection.state, server.streams[0].connection.error) == (State.CLOSED, None)


def test_an_application_cannot_open_more_than_the_cap_either() -> None:
    world = TcpWorld(limits=StackLimits(max_connections=2))
    client, _ = world.pair()
    streams = [client.connect((SERVER, 80), b"x", 0.0) for _ in range(3)]
    world.run()
    assert [stream.connection.error for stream in streams] == [None, None, StreamError.EXHAUSTED]


@pytest.mark.parametrize("source", [SERVER, "224.0.0.1", "127.0.0.1", "255.255.255.255"])
def test_a_syn_from_ourselves_or_from_nobody_is_not_answered(source: str) -> None:
    world = TcpWorld()
    world.pair()
    world.inject(world.server, syn(80, source=source))
    assert world.wire == []
    assert world.quiet()


@pytest.mark.parametrize("flags", [SYN | FIN, SYN | ACK, SYN | RST, FIN, ACK, 0, FIN | ACK, 0xFF])
def test_only_a_plain_syn_opens(flags: int) -> None:
    world = TcpWorld()
    world.pair()
    world.inject(world.server, syn(5000, flags=flags))
    assert world.quiet()
    assert all(wire.flags & RST for wire in world.wire)


def test_a_syn_with_lying_options_is_dropped_and_counted() -> None:
    world = TcpWorld()
    world.pair()
    world.inject(world.server, syn(5000, options=b"\x02\x40\x01\x01"))
    assert world.quiet()
    assert world.server.tcp is not None
    assert world.server.tcp.counters[DropReason.BAD_HEADER] == 1


def test_a_repeated_syn_is_answered_again_and_opens_nothing_more() -> None:
    world = TcpWorld()
    world.pair()
    for _ in range(3):
        world.inject(world.server, syn(5000))
    assert [(wire.flags, wire.acknowledgment) for wire in world.wire] == [(SYN | ACK, 1001)] * 3
    assert len({wire.sequence for wire in world.wire}) == 1
    assert world.server.tcp is not None and len(world.server.tcp.connections) == 1


def test_an_acknowledgment_that_guesses_our_number_opens_nothing() -> None:
    world = TcpWorld()
    _, server = world.pair()
    world.inject(world.server, syn(5000))
    world.inject(world.server, syn(5000, sequence=1001, acknowledgment=4711, flags=ACK))
    assert server.streams == []
    assert (world.wire[-1].flags, world.wire[-1].sequence) == (RST, 4711)


def test_a_reset_ends_what_is_half_open_without_a_word_to_the_application() -> None:
    world = TcpWorld()
    _, server = world.pair()
    world.inject(world.server, syn(5000))
    world.inject(world.server, syn(5000, sequence=1001, flags=RST))
    assert world.quiet()
    assert server.streams == []


@pytest.mark.parametrize(
    ("announced", "used"), [(0, SMALLEST_MSS), (1, SMALLEST_MSS), (500, 500), (65535, 1380)]
)
def test_an_absurd_mss_is_not_obeyed(announced: int, used: int) -> None:
    world = TcpWorld()
    _, server = world.pair(server=Peer(answer=DATA, closes=False))
    world.inject(world.server, syn(5000, options=mss_option(announced)))
    number = world.wire[-1].sequence + 1
    world.inject(world.server, syn(5000, sequence=1001, acknowledgment=number, flags=ACK, window=4000))
    assert server.streams[0].connection.mss == used
    assert max(len(wire.payload) for wire in world.wire) == used


# -- liars and noise


def test_a_wrong_checksum_reaches_no_connection(talk: Talk) -> None:
    host = talk.world.server
    packet = build_tcp(
        ip_address(CLIENT).packed,
        host.packed,
        talk.far.connection.remote[1],
        80,
        sequence=talk.sequence,
        flags=RST,
    )
    packet[-4] ^= 1
    talk.world.inject(host, packet)
    assert host.counters["bad_checksum"] == 1
    talk.still_works()


def test_a_window_that_opens_byte_by_byte_is_not_filled_with_slivers(talk: Talk) -> None:
    talk.far.connection.write(DATA[:5000])
    talk.world.path = Path(vanish=lambda sender, wire: sender == "server")
    talk.world.collect()
    sent = len([w for w in talk.world.sent_by(talk.world.server) if w.payload])
    last = talk.acknowledgment + 2 * 1380
    for window in range(1, 50):
        talk.forge(acknowledgment=last, flags=ACK, window=window)
    after = [w for w in talk.world.sent_by(talk.world.server) if w.payload][sent:]
    assert [len(wire.payload) for wire in after] in ([], [1])


def test_a_repeated_segment_is_not_longer_than_the_window_that_it_was_sent_into(talk: Talk) -> None:
    talk.world.path = Path(vanish=lambda sender, wire: True)
    talk.forge(flags=ACK, window=100)
    talk.far.connection.write(DATA[:5000])
    talk.world.collect()
    for _ in range(3):
        talk.forge(flags=ACK, window=100)
    assert [len(w.payload) for w in talk.world.sent_by(talk.world.server) if w.payload] == [100, 100]


def test_acknowledgments_of_what_was_not_sent_move_nothing(talk: Talk) -> None:
    talk.far.connection.write(DATA[:1000])
    talk.world.path = Path(vanish=lambda sender, wire: True)
    talk.world.collect()
    talk.forge(acknowledgment=talk.acknowledgment + 1001, flags=ACK)
    talk.world.path = Path()
    talk.world.run(5.0)
    assert talk.near.received == DATA[:1000]


def test_mutated_and_random_segments_end_nothing_and_raise_nothing() -> None:
    rng = random.Random(11)
    for _ in range(30):
        world = TcpWorld(seed=rng.getrandbits(30))
        client, server = world.pair(Peer(), Peer(answer=DATA[:3000]))
        client.connect((SERVER, 80), DATA[:3000], 0.0)
        world.run(0.05)
        for packet in list(world.raw) * 5:
            for mutated in _mutations(packet, rng):
                host = world.hosts.get(bytes(mutated[16:20]))
                if host is not None:
                    world.inject(host, mutated)
        world.run()
        assert world.quiet()
        for peer in (client, server):
            for stream in peer.streams:
                assert stream.events[-1] is StreamEvent.CLOSED


def _mutations(packet: bytes, rng: random.Random) -> Iterator[bytearray]:
    """With right checksums, so that they get as far as they can."""
    header = parse_untrusted(packet)
    segment = bytearray(packet[20:])
    for _ in range(rng.randint(1, 4)):
        if rng.random() < 0.2:
            del segment[rng.randint(1, len(segment)) :]
        if segment:
            segment[rng.randrange(len(segment))] = rng.randrange(256)
    if len(segment) >= 20:
        segment[0:4] = packet[20:24]
        segment[16:18] = b"\0\0"
        segment[16:18] = transport_checksum(header.source, header.destination, 6, segment).to_bytes(2, "big")
    yield build_packet(header.source, header.destination, 6, segment)


def test_a_stack_alone_raises_nothing_on_random_segments() -> None:
    rng = random.Random(5)
    stack = TcpStack(ip_address(SERVER).packed, rng)
    stack.listen(80, Peer())
    for _ in range(5000):
        packet = build_tcp(
            ip_address(CLIENT).packed,
            ip_address(SERVER).packed,
            rng.choice((1, 2, 3)),
            rng.choice((80, 81)),
            sequence=rng.choice((0, 1, 2, 100, 0xFFFFFFFF, rng.getrandbits(32))),
            acknowledgment=rng.choice((0, rng.getrandbits(32))),
            flags=rng.getrandbits(8),
            window=rng.choice((0, 1, 65535)),
            payload=rng.randbytes(rng.choice((0, 1, 50))),
        )
        try:
            stack.receive(packet, parse_untrusted(packet), 0.0)
        except BadPacket:  # of the IP layer: the packet would not have come so far
            continue
        stack.poll_events()
        stack.poll_transmit(0.0)
    assert len(stack.connections) <= 3


# -- the ledger


def test_a_router_may_reset_a_flow_in_the_name_of_its_far_end_but_only_one_that_exists() -> None:
    world = TcpWorld(Path(vanish=lambda sender, wire: True))
    client, _ = world.pair()
    stream = client.connect((SERVER, 80), b"", 0.0)
    world.collect()
    reset = tcp_reset(world.raw[0], parse_untrusted(world.raw[0]))
    assert reset is not None
    world.inject(world.client, reset)
    assert stream.connection.error is StreamError.REFUSED
    assert not any(world.ledger.offences.values())
    world.inject(
        world.client,
        build_tcp(ip_address(SERVER).packed, world.client.packed, 80, 50_000, sequence=1, flags=RST),
    )
    assert world.ledger.offences[Offence.FORGED] == 1


def test_resets_to_strangers_are_remembered_but_not_all_for_ever() -> None:
    stack = TcpStack(ip_address(SERVER).packed, random.Random(1))
    for number in range(MAX_RECENT + 1):
        packet = syn(1024 + number, dport=81)
        stack.receive(packet, parse_untrusted(packet), 0.0)
    resets = stack.poll_transmit(0.0)
    for reset, known in ((resets[1], True), (resets[0], False)):
        inner = parse_untrusted(reset)
        error = unreachable(reset, inner, ip_address(ROUTER).packed, Unreachable.NO_ROUTE)
        assert error is not None
        assert stack.receive_error(error, parse_untrusted(error), inner, 0.0) is known


def test_data_that_nobody_sent_is_forged(talk: Talk) -> None:
    talk.forge(flags=ACK, payload=b" evil!")
    assert talk.world.ledger.offences[Offence.FORGED] == 1
