"""A source makes exactly the load that it was told, and a sink says what became of it."""

from __future__ import annotations

import statistics
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.types import NEVER, BadPacket
from scenarios.proto.host import Host
from scenarios.proto.ledger import Ledger
from scenarios.proto.traffic import MAX_PER_WAKE, Stream, TrafficEnded, TrafficSource
from scenarios.proto.traffic_profile import (
    MAGIC,
    MAX_SIZE,
    PAYLOAD,
    Arrivals,
    Bursts,
    OneOf,
    Profile,
    Uniform,
)
from scenarios.proto.traffic_sink import (
    MAX_DELAY,
    MAX_JUMP,
    MAX_STREAMS,
    SINK_PORT,
    WINDOW,
    StreamArrivals,
    TrafficSink,
    numbered_untrusted,
)

SINK = ("10.0.50.60", SINK_PORT)
ALICE = ("100.96.0.12", 40000)
Sent = list[tuple[float, bytes]]


def drive(source: TrafficSource, until: float) -> Sent:
    """Wake the source whenever it asks, as a fabric does; what it sent, with the time."""
    sent: Sent = [(0.0, data) for _, _, data in source.poll_transmit()]
    while (now := source.poll_timeout()) <= until and now < NEVER:
        source.handle_timeout(now)
        sent += [(now, data) for _, _, data in source.poll_transmit()]
    return sent


def run(profile: Profile, until: float, seed: int = 1, **limits: float) -> tuple[Stream, Sent]:
    source = TrafficSource(Random(seed))
    stream = source.start(SINK, profile, 0.0, **limits)  # type: ignore[arg-type]
    return stream, drive(source, until)


def datagram(sequence: int, sent_at: float = 0.0, stream: int = 1) -> bytes:
    return PAYLOAD.pack(MAGIC, stream, sequence, sent_at)


# The source


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 40))
def test_a_constant_rate_is_exact(rate: int, seconds: int) -> None:
    stream, sent = run(Profile(rate), NEVER, duration=seconds / 10, count=200)
    expected = min(200, -(-rate * seconds // 10))
    assert len(sent) == stream.sent == expected
    assert [at for at, _ in sent] == pytest.approx([n / rate for n in range(expected)])
    assert stream.ended


def test_poisson_arrivals_have_the_mean_and_the_spread_of_the_exponential() -> None:
    stream, sent = run(Profile(100, Arrivals.POISSON), 50.0)
    gaps = [b[0] - a[0] for a, b in pairwise(sent)]
    assert statistics.fmean(gaps) == pytest.approx(0.01, rel=0.1)
    assert statistics.stdev(gaps) == pytest.approx(0.01, rel=0.1)
    assert stream.overrun == 0


def test_sizes_are_fixed_drawn_from_a_list_or_from_a_range() -> None:
    def sizes(of: OneOf | Uniform) -> set[int]:
        stream, sent = run(Profile(100, sizes=of), 10.0)
        assert stream.bytes == sum(len(data) for _, data in sent)
        return {len(data) for _, data in sent}

    assert sizes(OneOf((200,))) == {200}
    assert sizes(OneOf((60, 1200))) == {60, 1200}
    drawn = sizes(Uniform(100, 110))
    assert drawn == set(range(100, 111))


def test_every_datagram_has_its_number_and_its_time() -> None:
    stream, sent = run(Profile(10), 1.0)
    heads = [numbered_untrusted(data) for _, data in sent]
    assert [head.sequence for head in heads] == list(range(len(sent)))
    assert [head.sent_at for head in heads] == [at for at, _ in sent]
    assert {head.stream for head in heads} == {stream.ident}


def test_fixed_bursts_send_and_are_silent_in_turn() -> None:
    bursts = Bursts(on=1.0, off=2.0, exponential=False)
    _, sent = run(Profile(10, bursts=bursts), 6.95)
    times = [at for at, _ in sent]
    assert times == pytest.approx([start + n / 10 for start in (0, 3, 6) for n in range(10)])


@pytest.mark.parametrize("arrivals", Arrivals)
def test_exponential_bursts_halve_the_load(arrivals: Arrivals) -> None:
    profile = Profile(100, arrivals, bursts=Bursts(on=0.5, off=0.5))
    stream, sent = run(profile, 200.0)
    assert stream.sent == pytest.approx(10_000, rel=0.15)
    gaps = [b[0] - a[0] for a, b in pairwise(sent)]
    assert 120 < sum(gap > 0.1 for gap in gaps) < 220  # the silences


def test_a_stream_ends_by_number_by_time_or_by_hand() -> None:
    source = TrafficSource(Random(1))
    number = source.start(SINK, Profile(10), 0.0, count=3)
    time = source.start(SINK, Profile(10), 0.0, duration=0.5)
    hand = source.start(SINK, Profile(10), 0.0)
    drive(source, 0.75)
    source.stop(hand, 0.75)
    source.stop(hand, 0.8)
    assert (number.sent, time.sent, hand.sent) == (3, 5, 8)
    ended = [source.poll_event() for _ in range(4)]
    assert ended == [TrafficEnded(number, 0.2), TrafficEnded(time, 0.5), TrafficEnded(hand, 0.75), None]
    assert source.poll_timeout() == NEVER
    assert [source.wants(stream.local_port) for stream in source.streams] == [False] * 3


def test_what_is_due_at_one_wake_up_goes_out_together() -> None:
    source = TrafficSource(Random(1))
    source.start(SINK, Profile(1000), 0.0)
    source.poll_transmit()
    source.handle_timeout(0.0105)
    assert len(source.poll_transmit()) == 10
    assert source.poll_timeout() == pytest.approx(0.011)


def test_a_late_wake_up_neither_sends_in_a_silence_nor_forgets_what_was_due_before_it() -> None:
    source = TrafficSource(Random(1))
    source.start(SINK, Profile(10, bursts=Bursts(on=1.0, off=2.0, exponential=False)), 0.0)
    source.handle_timeout(6.95)
    assert len(source.poll_transmit()) == 30
    assert source.poll_timeout() == pytest.approx(7.0)


def test_a_late_wake_up_sends_no_more_than_the_number() -> None:
    source = TrafficSource(Random(1))
    stream = source.start(SINK, Profile(10), 0.0, count=5)
    source.handle_timeout(10.0)
    assert len(source.poll_transmit()) == stream.sent == 5


@pytest.mark.parametrize("bursts", [None, Bursts(0.5, 0.5, exponential=False)])
def test_a_source_that_woke_too_late_says_so_and_goes_on_in_step(bursts: Bursts | None) -> None:
    source = TrafficSource(Random(1))
    stream = source.start(SINK, Profile(10_000, bursts=bursts), 0.0)
    source.poll_transmit()
    source.handle_timeout(10.00005)
    assert len(source.poll_transmit()) == MAX_PER_WAKE
    due = 100_001 if bursts is None else 50_001
    assert stream.overrun == pytest.approx(due - 1 - MAX_PER_WAKE, abs=20)
    assert source.poll_timeout() == pytest.approx(10.0001)
    source.handle_timeout(10.0001)
    (last,) = source.poll_transmit()
    assert numbered_untrusted(last[2]).sequence == MAX_PER_WAKE + 1


def test_poisson_arrivals_overrun_too() -> None:
    source = TrafficSource(Random(1))
    stream = source.start(SINK, Profile(10_000, Arrivals.POISSON), 0.0)
    source.handle_timeout(10.0)
    assert len(source.poll_transmit()) == MAX_PER_WAKE
    assert stream.overrun == pytest.approx(100_000 - MAX_PER_WAKE, rel=0.02)
    assert 10.0 < source.poll_timeout() < 10.01


def test_the_same_seed_makes_the_same_traffic() -> None:
    profile = Profile(50, Arrivals.POISSON, Uniform(24, 1400), Bursts(0.2, 0.1))
    assert run(profile, 5.0, seed=3)[1] == run(profile, 5.0, seed=3)[1]
    assert run(profile, 5.0, seed=3)[1] != run(profile, 5.0, seed=4)[1]


def test_streams_have_ports_of_their_own() -> None:
    source = TrafficSource(Random(1))
    first, second = (source.start(SINK, Profile(1), 0.0) for _ in range(2))
    assert first.local_port != second.local_port
    with pytest.raises(ValueError, match="a stream sends from port"):
        source.start(SINK, Profile(1), 0.0, local_port=first.local_port)
    source.stop(first, 0.0)
    assert source.start(SINK, Profile(1), 0.0).local_port == first.local_port
    source.handle_datagram(first.local_port, SINK, b"?", 0.0)
    assert source.unexpected == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 0},
        {"rate": -1},
        {"rate": float("nan")},
        {"rate": 1e9},
        {"sizes": OneOf(())},
        {"sizes": OneOf((23,))},
        {"sizes": OneOf((200, MAX_SIZE + 1))},
        {"sizes": Uniform(0, 100)},
        {"sizes": Uniform(200, 100)},
        {"bursts": Bursts(0, 1)},
        {"bursts": Bursts(1, NEVER)},
        {"bursts": Bursts(1, float("nan"))},
    ],
)
def test_what_cannot_be_sent_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Profile(**{"rate": 1, **wrong})  # type: ignore[arg-type]


# The sink


def arrivals(*numbers: tuple[int, float, float]) -> StreamArrivals:
    """What a sink makes of (sequence, sent at, arrived at)."""
    sink = TrafficSink()
    for sequence, sent_at, now in numbers:
        sink.handle_datagram(SINK_PORT, ALICE, datagram(sequence, sent_at), now)
    (only,) = sink.arrivals.values()
    return only


def test_delays_and_their_jitter() -> None:
    seen = arrivals((0, 0.0, 0.010), (1, 0.1, 0.126), (2, 0.2, 0.210))
    assert (seen.delay.minimum, seen.delay.maximum) == (pytest.approx(0.010), pytest.approx(0.026))
    assert seen.delay.average == pytest.approx(0.046 / 3)
    assert seen.delay.percentile(95) == pytest.approx(0.0244, rel=0.01)
    first = 0.016 / 16
    assert seen.jitter == pytest.approx(first + (0.016 - first) / 16)
    assert (seen.first_at, seen.last_at, seen.bytes) == (0.010, 0.210, 3 * PAYLOAD.size)


def test_lost_duplicate_reordered_and_stale() -> None:
    seen = arrivals(*((n, 0.0, 0.0) for n in (0, 1, 4, 2, 2, 4, WINDOW + 4, 4, 5, 5, 3)))
    # 4 is just outside the window of WINDOW + 4, so is 3; 5 is the last one inside
    assert (seen.received, seen.reordered, seen.duplicates, seen.stale) == (6, 2, 3, 2)
    assert seen.lost == WINDOW + 5 - 6
    assert (seen.lost_of(10), seen.lost_of(5)) == (4, 0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1, max_size=100))
def test_every_arrival_is_counted_once_and_in_the_right_place(sequences: list[int]) -> None:
    seen = arrivals(*((n, 0.0, 0.0) for n in sequences))
    assert seen.received == len(set(sequences))
    assert seen.duplicates == len(sequences) - len(set(sequences))
    first = {n: i for i, n in reversed(list(enumerate(sequences)))}
    assert seen.reordered == sum(max(sequences[: i + 1]) > n for n, i in first.items())
    assert seen.lost == max(sequences) + 1 - len(set(sequences))


@settings(deadline=None)
@given(st.lists(st.integers(0, 3 * WINDOW), min_size=1, max_size=30))
def test_far_jumps_do_not_confuse_the_window(sequences: list[int]) -> None:
    seen = arrivals(*((n, 0.0, 0.0) for n in sequences))
    assert seen.received + seen.duplicates + seen.stale == len(sequences)
    assert seen.received <= len(set(sequences)) <= seen.received + seen.stale


def test_streams_are_told_apart_by_source_and_by_run() -> None:
    sink = TrafficSink()
    for source, stream in ((ALICE, 1), (ALICE, 2), (("100.96.0.13", 40000), 1), (ALICE, 1)):
        sink.handle_datagram(SINK_PORT, source, datagram(0, stream=stream), 0.0)
    assert len(sink.arrivals) == 3
    assert [arrived.stream for arrived in sink.of(ALICE[0])] == [1, 2]
    began = [sink.poll_event() for _ in range(4)]
    assert [event.arrivals.source if event else None for event in began] == [
        ALICE,
        ALICE,
        ("100.96.0.13", 40000),
        None,
    ]


@pytest.mark.parametrize(
    "data",
    [b"", b"PLT1", bytes(24), datagram(0, float("nan")), datagram(0, float("inf")), b"\xff" * 1400],
)
def test_what_no_source_sent_is_counted_and_forgotten(data: bytes) -> None:
    sink = TrafficSink()
    sink.handle_datagram(SINK_PORT, ALICE, data, 0.0)
    assert sum(sink.dropped.values()) == 1
    assert not sink.arrivals
    with pytest.raises(BadPacket):
        numbered_untrusted(data)


@pytest.mark.parametrize(
    "data",
    [datagram(MAX_JUMP + 1), datagram(2**64 - 1), datagram(1, MAX_DELAY + 1), datagram(1, -MAX_DELAY - 1)],
)
def test_a_lie_does_not_spoil_what_is_known_of_a_stream(data: bytes) -> None:
    sink = TrafficSink()
    sink.handle_datagram(SINK_PORT, ALICE, datagram(0), 0.0)
    sink.handle_datagram(SINK_PORT, ALICE, data, 0.0)
    sink.handle_datagram(SINK_PORT, ("100.96.0.66", 1), data, 0.0)
    (only,) = sink.arrivals.values()
    assert (only.received, only.lost, only.delay.count) == (1, 0, 1)
    assert sink.dropped == {"implausible": 2}


def test_strangers_cannot_fill_the_sink() -> None:
    sink = TrafficSink()
    for stream in range(MAX_STREAMS + 10):
        sink.handle_datagram(SINK_PORT, ALICE, datagram(0, stream=stream), 0.0)
    sink.handle_datagram(SINK_PORT, ALICE, datagram(1, stream=0), 0.0)
    assert len(sink.arrivals) == MAX_STREAMS
    assert sink.dropped["too_many_streams"] == 10
    assert sink.arrivals[*ALICE, 0].received == 2


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_nothing_that_arrives_raises(data: bytes) -> None:
    sink = TrafficSink()
    sink.handle_datagram(SINK_PORT, ALICE, data, 0.0)
    sink.handle_datagram(SINK_PORT, ALICE, MAGIC + data, 0.0)
    assert sum(sink.dropped.values()) + len(sink.arrivals) == 2


# Both, as applications of hosts


def test_from_host_to_host() -> None:
    ledger = Ledger()
    alice = Host("alice", ALICE[0], vnet="acme", ledger=ledger)
    pbx = Host("hq/pbx", SINK[0], vnet="acme", ledger=ledger)
    source, sink = TrafficSource(Random(1)), TrafficSink()
    alice.add(source)
    pbx.add(sink)
    stream = source.start(SINK, Profile(50, Arrivals.POISSON, Uniform(24, 1200)), 0.0, count=100)
    while (now := alice.poll_timeout()) < NEVER:
        alice.handle_timeout(now)
        packets = [p for p in alice.poll_packets() if source.streams[0].sent % 10]
        pbx.handle_packets(packets, now + 0.02)
    (seen,) = sink.of(alice.address)
    assert seen.source == (alice.address, stream.local_port)
    assert (seen.received, seen.lost_of(stream.sent)) == (90, 10)
    assert seen.delay.average == pytest.approx(0.02)
    assert seen.jitter == pytest.approx(0.0, abs=1e-9)
    assert not any(ledger.offences.values())
