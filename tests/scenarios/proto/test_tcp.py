"""TCP between two hosts: handshake, both ways of closing, timers, windows, and bytes that arrive once in order."""

from __future__ import annotations

import random
from ipaddress import ip_address
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.ip.tcp import ACK, FIN, RST, SYN
from scenarios.proto.tcp import PORTS, StackLimits, TcpStack
from scenarios.proto.tcp_sender import SendLimits
from scenarios.proto.tcp_state import State, StreamError, StreamEvent, TcpLimits
from tests.scenarios.proto.tcp_world import CLIENT, SERVER, Path, Peer, TcpWorld, Wire

UP = random.Random(3).randbytes(200_000)
DOWN = random.Random(4).randbytes(100_000)


def exchange(world: TcpWorld, up: bytes = UP, down: bytes = DOWN) -> None:
    """Both ends send, both close, and nothing is lost, twice or left over."""
    client, server = world.pair(Peer(), Peer(answer=down))
    stream = client.connect((world.server.address, 80), up, world.now)
    world.run()
    (other,) = server.streams
    assert (other.received, stream.received) == (up, down)
    for end in (stream, other):
        assert (end.connection.error, end.events[0], end.events[-1]) == (
            None,
            StreamEvent.CONNECTED,
            StreamEvent.CLOSED,
        )
        assert end.events.count(StreamEvent.FINISHED) == 1
    assert world.quiet()
    assert not any(world.ledger.offences.values())


@pytest.mark.parametrize("ipv6", [False, True])
def test_bytes_arrive_both_ways_and_both_ends_close(ipv6: bool) -> None:
    world = TcpWorld(ipv6=ipv6)
    exchange(world)
    assert not any(wire.flags & RST for wire in world.wire)
    assert max(wire.size for wire in world.wire) == 1420
    assert world.wire[0].options == bytes((2, 4)) + (1420 - (60 if ipv6 else 40)).to_bytes(2)
    assert len(world.wire) < 2.2 * (len(UP) + len(DOWN)) / 1360  # no chatter


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize(
    "path",
    [
        Path(loss=0.03),
        Path(loss=0.1, repeat=0.1, jitter=0.05),
        Path(jitter=0.2),
        Path(loss=0.25, repeat=0.25),
    ],
)
def test_bytes_arrive_once_and_in_order_over_a_bad_path(path: Path, ipv6: bool) -> None:
    exchange(
        TcpWorld(path, ipv6=ipv6, limits=StackLimits(connection=TcpLimits(time_wait=60.0))),
        UP[:60_000],
        DOWN[:30_000],
    )


@settings(deadline=None, max_examples=40, derandomize=True)  # losses in a row may end a connection, rightly
@given(
    st.integers(0, 1 << 30),
    st.integers(0, 30_000),
    st.integers(0, 30_000),
    st.floats(0, 0.1),
    st.floats(0, 0.2),
    st.floats(0, 0.1),
    st.sampled_from([3000, 9000, 65535]),
    st.sampled_from([65535, 1300, 700]),
)
def test_any_bytes_over_any_path(
    seed: int,
    up: int,
    down: int,
    loss: float,
    repeat: float,
    jitter: float,
    buffer: int,
    mtu: int,
) -> None:
    path = Path(loss=loss, repeat=repeat, jitter=jitter, mtu=mtu)
    limits = StackLimits(connection=TcpLimits(receive_buffer=buffer, time_wait=60.0))
    exchange(TcpWorld(path, seed=seed, limits=limits), UP[:up], DOWN[:down])


class Fixed:
    """Chance that chooses the initial sequence number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def getrandbits(self, k: int, /) -> int:
        return self.number & ((1 << k) - 1)

    def random(self) -> float:
        return 0.5


@pytest.mark.parametrize("distance", [0, 1, 2, 1000, 1381, 70_000])
def test_sequence_numbers_wrap(distance: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tests.scenarios.proto.tcp_world.random.Random", lambda seed: Fixed(0xFFFFFFFF - distance)
    )
    world = TcpWorld()
    monkeypatch.undo()
    assert world.client.tcp is not None
    exchange(world)
    numbers = [wire.sequence for wire in world.sent_by(world.client)]
    assert numbers[0] == 0xFFFFFFFF - distance
    assert min(numbers) < 1 << 20


# -- opening


def test_a_closed_port_refuses() -> None:
    world = TcpWorld()
    client, _ = world.pair()
    stream = client.connect((world.server.address, 81), b"hello", 0.0)
    world.run()
    assert (stream.connection.error, stream.events, world.now) == (
        StreamError.REFUSED,
        [StreamEvent.CLOSED],
        0.04,
    )
    assert world.server.tcp is not None
    assert world.server.tcp.counters["port_closed"] == 1
    assert world.quiet()


def test_syns_are_repeated_with_growing_patience_and_then_it_is_over() -> None:
    world = TcpWorld(Path(vanish=lambda sender, wire: True))
    client, _ = world.pair()
    stream = client.connect((world.server.address, 80), b"hello", 0.0)
    world.run()
    assert [wire.at for wire in world.wire] == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0]
    assert {wire.flags for wire in world.wire} == {SYN}
    assert (world.now, stream.connection.error) == (63.0, StreamError.TIMEOUT)
    assert world.quiet()


def test_a_lost_syn_makes_the_first_timeout_three_seconds() -> None:
    lost = iter([True])
    world = TcpWorld(
        Path(vanish=lambda sender, wire: bool(wire.payload) or (sender == "client" and next(lost, False)))
    )
    client, _ = world.pair(Peer(closes=False))
    client.connect((world.server.address, 80), b"hello", 0.0)
    world.run(10.0)
    first, second = [wire.at for wire in world.wire if wire.payload][:2]
    assert second - first == 3.0  # RFC 6298 5.7


def test_a_lost_syn_ack_is_made_up_for() -> None:
    lost = iter([True])
    world = TcpWorld(Path(vanish=lambda sender, wire: sender == "server" and next(lost, False)))
    exchange(world, b"up", b"down")


def test_both_may_open_at_once() -> None:
    world = TcpWorld()
    left, right = Peer(), Peer(answer=b"right")
    world.client.add_stream(left)
    world.server.add_stream(right)
    a = left.connect((world.server.address, 0), b"left", 0.0)
    # The other end opens the same connection: its port is the one the first chose, and the other way round.
    assert world.server.tcp is not None and world.client.tcp is not None
    world.client.poll_packets()
    world.forge(world.client, a.connection, sequence=77, flags=SYN, window=5000)
    assert a.connection.state is State.SYN_RECEIVED
    answer = world.sent_by(world.client)[-1]
    assert (answer.flags, answer.acknowledgment) == (SYN | ACK, 78)
    world.forge(
        world.client, a.connection, sequence=78, acknowledgment=answer.sequence + 1, flags=ACK, window=5000
    )
    assert a.events == [StreamEvent.CONNECTED]
    assert world.sent_by(world.client)[-1].payload == b"left"


def test_a_connection_of_the_wrong_family_is_over_at_once() -> None:
    world = TcpWorld()
    client, _ = world.pair()
    stream = client.connect(("fd00:50::60", 80), b"hello", 0.0)
    world.run()
    assert (stream.connection.error, stream.events) == (StreamError.UNREACHABLE, [StreamEvent.CLOSED])
    assert not world.wire


def test_a_port_has_one_listener() -> None:
    world = TcpWorld()
    world.pair()
    assert world.server.tcp is not None
    with pytest.raises(ValueError, match="80 is taken"):
        world.server.tcp.listen(80, Peer())
    world.server.tcp.stop_listening(80)
    world.server.tcp.listen(80, Peer())


def test_a_port_that_is_in_use_towards_a_peer_is_not_used_again() -> None:
    stack = TcpStack(ip_address(CLIENT).packed, random.Random(1))
    first = stack.connect((SERVER, 80), Peer(), 0.0)
    for _ in range(PORTS - 1):
        stack.connect(("fd00::1", 80), Peer(), 0.0)  # over at once, but takes its turn
    second = stack.connect((SERVER, 80), Peer(), 0.0)
    assert second.local_port != first.local_port
    assert stack.connections == [first, second]


# -- closing


def established(world: TcpWorld, client: Peer | None = None, server: Peer | None = None, data: bytes = b"hi"):
    """A connection that nobody closes by itself."""
    client, server = world.pair(client or Peer(closes=False), server or Peer(closes=False))
    stream = client.connect((world.server.address, 80), data, world.now)
    world.run(world.now + 1.0)
    return stream, server.streams[0]


def test_one_end_may_finish_long_before_the_other() -> None:
    world = TcpWorld()
    near, far = established(world)
    near.connection.close()
    world.run(2.0)
    assert (near.connection.state, far.connection.state) == (State.FIN_WAIT_2, State.CLOSE_WAIT)
    assert far.events[-1] is StreamEvent.FINISHED
    assert far.connection.at_end
    far.connection.write(b"still here")
    world.run(3.0)
    assert near.received == b"still here"
    far.connection.close()
    world.run()
    assert (near.connection.error, far.connection.error) == (None, None)
    assert world.quiet()


def test_what_is_closed_before_it_is_connected_is_still_delivered() -> None:
    world = TcpWorld()
    client, server = world.pair(Peer(closes=False), Peer(closes=False))
    near = client.connect((world.server.address, 80), b"all there is", 0.0)
    near.connection.close()
    assert near.connection.state is State.SYN_SENT
    world.run(1.0)
    assert server.streams[0].received == b"all there is"
    assert (near.connection.state, server.streams[0].connection.state) == (State.FIN_WAIT_2, State.CLOSE_WAIT)


def test_both_may_close_at_once() -> None:
    world = TcpWorld()
    near, far = established(world)
    near.connection.close()
    far.connection.close()
    world.run(1.03)
    assert near.connection.state is far.connection.state is State.CLOSING
    world.run(1.05)
    assert near.connection.state is far.connection.state is State.TIME_WAIT
    world.run()
    assert (near.connection.error, far.connection.error) == (None, None)
    assert world.quiet()


def test_time_wait_acknowledges_a_repeated_fin_and_begins_again() -> None:
    lost = iter([True])
    world = TcpWorld()
    near, far = established(world)
    near.connection.close()
    world.run(2.0)
    last_ack_lost = Path(vanish=lambda sender, wire: sender == "client" and next(lost, False))
    world.path = last_ack_lost
    far.connection.close()
    world.run()
    fins = [wire.at for wire in world.sent_by(world.server) if wire.flags & FIN]
    assert len(fins) == 2
    assert (near.connection.error, far.connection.error) == (None, None)
    assert world.now == pytest.approx(fins[1] + 0.02 + TcpLimits().time_wait)


def test_a_reset_that_answers_the_last_fin_is_no_error() -> None:
    world = TcpWorld(limits=StackLimits(connection=TcpLimits(time_wait=0.05)))
    near, far = established(world)
    near.connection.close()
    world.run(2.0)
    lost = iter([True])
    world.path = Path(vanish=lambda sender, wire: sender == "client" and next(lost, False))
    far.connection.close()
    world.run()
    assert world.wire[-1].flags & RST  # the near end had forgotten it by then
    assert (near.connection.error, far.connection.error) == (None, None)


def test_an_abort_resets_the_peer() -> None:
    world = TcpWorld()
    near, far = established(world)
    near.connection.abort()
    world.run()
    assert (near.connection.error, far.connection.error) == (StreamError.ABORTED, StreamError.RESET)
    assert far.events[-1] is StreamEvent.CLOSED
    assert world.quiet()


def test_a_peer_that_never_closes_is_not_waited_for_for_ever() -> None:
    world = TcpWorld()
    near, far = established(world)
    near.connection.close()
    world.run()
    assert near.connection.error is StreamError.TIMEOUT
    assert world.now == pytest.approx(1.04 + TcpLimits().linger, abs=0.1)
    assert far.connection.error is StreamError.RESET
    assert world.quiet()


def test_a_peer_that_answers_but_takes_nothing_is_not_waited_for_for_ever_either() -> None:
    world = TcpWorld(limits=StackLimits(connection=TcpLimits(receive_buffer=4000)))
    near, _ = established(world, server=Peer(reads=False, closes=False), data=UP[:9000])
    near.connection.close()
    world.run(1000.0)
    assert near.connection.error is StreamError.TIMEOUT


def test_a_slow_reader_gets_everything_after_we_have_closed() -> None:
    world = TcpWorld(limits=StackLimits(connection=TcpLimits(receive_buffer=4000)))
    near, far = established(world, server=Peer(reads=False, closes=False), data=UP[:16_000])
    near.connection.close()
    got = far.connection.read()
    while len(got) < 16_000:
        world.run(world.now + 0.8 * TcpLimits().linger)
        assert near.connection.error is None
        got += far.connection.read()
    assert got == UP[:16_000]


def test_a_slow_writer_may_go_on_after_we_have_closed() -> None:
    world = TcpWorld()
    near, far = established(world)
    near.connection.close()
    for _ in range(5):
        world.run(world.now + 0.8 * TcpLimits().linger)
        far.connection.write(b"more")
    world.run(world.now + 1.0)
    assert near.received == b"more" * 5


def test_a_peer_that_answers_no_more_is_given_up() -> None:
    world = TcpWorld()
    near, _ = established(world)
    world.path = Path(vanish=lambda sender, wire: True)
    near.connection.write(b"anybody?")
    world.run(10_000)
    assert near.connection.error is StreamError.TIMEOUT
    sends = [wire.at for wire in world.sent_by(world.client) if wire.payload == b"anybody?"]
    assert len(sends) == 1 + SendLimits().retries
    gaps = [later - earlier for earlier, later in pairwise(sends)]
    assert gaps == pytest.approx([0.2 * 2**n for n in range(9)])


# -- loss


def test_a_lost_segment_is_sent_again_after_three_duplicates_without_a_timeout() -> None:
    seen: set[int] = set()

    def vanish(sender: str, wire: Wire) -> bool:
        number = len(seen)
        seen.add(wire.sequence)
        return sender == "client" and len(wire.payload) > 0 and number == 20 and len(seen) > number

    world = TcpWorld(Path(vanish=vanish))
    client, server = world.pair()
    stream = client.connect((world.server.address, 80), UP, 0.0)
    world.run()
    assert server.streams[0].received == UP
    assert stream.connection.retransmissions == 1
    sends: dict[int, list[float]] = {}
    for wire in world.sent_by(world.client):
        if wire.payload:
            sends.setdefault(wire.sequence, []).append(wire.at)
    ((first, second),) = [times for times in sends.values() if len(times) > 1]
    assert second - first < 0.1  # the round trip is 0.04 s, the least timeout 0.2 s


def test_the_timeout_is_not_measured_from_what_was_sent_twice() -> None:
    world = TcpWorld(Path(delay=0.3))
    near, _ = established(world, data=b"")
    lost = iter([True])
    world.path = Path(delay=0.3, vanish=lambda sender, wire: bool(wire.payload) and next(lost, False))
    before = near.connection.round_trip
    near.connection.write(b"twice")
    world.run(world.now + 5.0)
    assert near.connection.retransmissions == 1
    assert near.connection.round_trip == before == pytest.approx(0.6)


def test_the_window_of_congestion_begins_small_doubles_and_halves() -> None:
    world = TcpWorld(Path(delay=0.1))
    client, _ = world.pair()
    client.connect((world.server.address, 80), UP, 0.0)
    world.run()
    data = [wire for wire in world.sent_by(world.client) if wire.payload]
    flights = [sum(1 for wire in data if abs(wire.at - at) < 0.01) for at in (0.2, 0.4, 0.6, 0.8)]
    assert flights[0] == 3  # RFC 5681 3.1: 4,380 bytes
    assert flights[1] >= 5 and flights[2] >= 9 and flights[3] <= 48


# -- windows


def test_a_reader_that_pauses_stops_the_writer_and_starts_it_again() -> None:
    world = TcpWorld(limits=StackLimits(connection=TcpLimits(receive_buffer=8000)))
    _, far = established(world, server=Peer(reads=False, closes=False), data=UP[:50_000])
    world.run(100.0)
    assert far.connection.readable == 8000
    probes = [wire for wire in world.sent_by(world.client) if len(wire.payload) == 1]
    assert 5 < len(probes) < 20  # with growing patience
    got = bytearray()
    while far.connection.readable:
        got += far.connection.read()
        world.collect()
        world.run(world.now + 1.0)
    assert got == UP[:50_000]


def test_the_end_of_a_zero_window_is_heard_even_if_its_update_is_lost() -> None:
    world = TcpWorld(limits=StackLimits(connection=TcpLimits(receive_buffer=4000)))
    _, far = established(world, Peer(), Peer(reads=False, closes=False), data=UP[:10_000])
    world.run(3.0)
    lost = iter([True])
    world.path = Path(vanish=lambda sender, wire: sender == "server" and next(lost, False))
    got = bytearray(far.connection.read())
    world.collect()
    for _ in range(10):
        world.run(world.now + 2.0)
        got += far.connection.read()
        world.collect()
    assert got == UP[:10_000]


def test_two_closed_windows_do_not_lock_each_other_up() -> None:
    world = TcpWorld(limits=StackLimits(connection=TcpLimits(receive_buffer=4000)))
    near, far = established(
        world,
        Peer(reads=False, closes=False),
        Peer(reads=False, closes=False, answer=DOWN[:9000]),
        data=UP[:9000],
    )
    world.run(30.0)
    got: dict[int, bytearray] = {0: bytearray(), 1: bytearray()}
    for _ in range(20):
        for index, end in enumerate((near, far)):
            got[index] += end.connection.read()
        world.collect()
        world.run(world.now + 3.0)
    assert (got[0], got[1]) == (DOWN[:9000], UP[:9000])


def test_a_probe_of_a_closed_window_still_acknowledges() -> None:
    world = TcpWorld(limits=StackLimits(connection=TcpLimits(receive_buffer=4000)))
    _, far = established(world, server=Peer(reads=False, closes=False), data=UP[:9000])
    world.path = Path(vanish=lambda sender, wire: True)
    far.connection.write(b"downwards")
    world.collect()
    sent = world.sent_by(world.server)[-1]
    world.forge(
        world.server,
        far.connection,
        sequence=sent.acknowledgment,
        acknowledgment=sent.sequence + len(sent.payload),
        flags=ACK,
        window=4000,
        payload=b"?",
    )
    world.run(world.now + 5.0)
    assert [wire.payload for wire in world.sent_by(world.server) if wire.payload] == [b"downwards"]
    assert (world.sent_by(world.server)[-1].window, far.connection.readable) == (0, 4000)


def test_a_write_that_is_cut_short_is_told_when_there_is_room() -> None:
    limits = StackLimits(connection=TcpLimits(sending=SendLimits(buffer=10_000)))
    world = TcpWorld(limits=limits)
    client, server = world.pair()
    stream = client.connect((world.server.address, 80), UP, 0.0)
    assert (stream.connection.room, len(stream.pending)) == (0, len(UP) - 10_000)
    world.run()
    assert server.streams[0].received == UP
    assert StreamEvent.WRITABLE in stream.events


def test_nothing_can_be_written_after_the_end() -> None:
    world = TcpWorld()
    near, _ = established(world)
    near.connection.close()
    assert (near.connection.write(b"more"), near.connection.room) == (0, 0)
