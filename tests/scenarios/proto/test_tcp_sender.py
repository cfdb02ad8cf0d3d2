"""The sending half alone: what an acknowledgment, a window or a timeout makes it send."""

from __future__ import annotations

import pytest

from edge.proto.types import NEVER
from scenarios.proto.tcp_sender import Sender, SendLimits

MSS = 1000
DATA = bytes(range(250)) * 400


def sender(window: int = 60_000, **limits: float) -> Sender:
    """Its SYN (number 0) is acknowledged at 0.1; the stream begins at 1."""
    made = Sender(0, MSS, 536, SendLimits(**limits))  # type: ignore[arg-type]
    (syn,) = made.poll(0.0)
    assert (syn.syn, syn.sequence) == (True, 0)
    made.acknowledge(1, 1, window, 0.1, bare=False)
    return made


def sizes(made: Sender, now: float = 0.2) -> list[int]:
    return [len(chunk.payload) for chunk in made.poll(now)]


def test_a_segment_that_overtook_another_does_not_bring_its_old_window_back() -> None:
    made = sender(window=3000)
    made.write(DATA)
    assert sizes(made) == [1000, 1000, 1000]
    made.acknowledge(3001, 10, 5000, 0.3, bare=True)
    made.acknowledge(3001, 5, 1, 0.3, bare=True)  # sent earlier
    made.acknowledge(2001, 11, 1, 0.3, bare=True)  # acknowledges less
    assert made.window == 5000


def test_the_peers_window_and_that_of_congestion_both_bound() -> None:
    made = sender(window=2500)
    made.write(DATA)
    assert sizes(made) == [1000, 1000]
    made = sender(window=60_000)
    made.write(DATA)
    assert sum(sizes(made)) <= 4380


@pytest.mark.parametrize(
    ("bare", "window", "repeated"), [(True, 60_000, [1000]), (False, 60_000, []), (True, 50_000, [])]
)
def test_what_counts_as_a_duplicate(bare: bool, window: int, repeated: list[int]) -> None:
    made = sender()
    made.write(DATA[:4000])
    assert sizes(made) == [1000] * 4
    for number in range(3):
        made.acknowledge(1, 1, window - number * (window < 60_000), 0.3, bare=bare)
    assert sizes(made, 0.3) == repeated


def test_nothing_in_flight_nothing_duplicate() -> None:
    made = sender()
    for _ in range(5):
        made.acknowledge(1, 1, 60_000, 0.3, bare=True)
    made.write(DATA[:1500])
    assert sizes(made) == [1000, 500]


@pytest.mark.parametrize("probes", [1, 20])
def test_a_probe_is_one_byte_keeps_the_window_of_congestion_and_is_repeated_when_there_is_room(
    probes: int,
) -> None:
    made = sender(window=0)
    made.write(DATA[:3000])
    assert sizes(made) == []
    before = made.congestion.window
    for _ in range(probes):  # as long as the peer answers
        at = made.deadline
        assert made.handle_timeout(at)
        assert sizes(made, at) == [1]
        made.acknowledge(1, 1, 0, at, bare=True)
    assert made.congestion.window == before
    smoothed = made.timeout.smoothed
    made.acknowledge(1, 1, 5000, at + 30.0, bare=True)
    (first, *rest) = made.poll(at + 30.0)
    assert (first.sequence, first.payload) == (1, DATA[:1000])
    assert [len(chunk.payload) for chunk in rest] == [1000, 1000]
    made.acknowledge(3001, 1, 5000, at + 30.1, bare=True)
    assert made.timeout.smoothed == pytest.approx(smoothed)  # the probe was sent twice: it measures nothing


def test_a_probe_that_nobody_answers_is_not_repeated_for_ever() -> None:
    made = sender(window=0)
    made.write(DATA[:3000])
    made.poll(0.2)
    answers = 0
    while made.handle_timeout(made.deadline):
        made.poll(made.deadline)
        answers += 1
    assert answers == SendLimits().retries


def test_an_end_is_sent_when_the_window_has_room_for_it() -> None:
    made = sender(window=1000)
    made.write(DATA[:1000])
    made.finish()
    (chunk,) = made.poll(0.2)
    assert not chunk.fin
    made.acknowledge(1001, 1, 1000, 0.3, bare=True)
    (end,) = made.poll(0.3)
    assert (end.fin, end.sequence, len(end.payload)) == (True, 1001, 0)
    made.acknowledge(1002, 1, 1000, 0.4, bare=True)
    assert made.finished
    assert made.deadline == NEVER


def test_a_pause_begins_with_a_small_window() -> None:
    made = sender()
    made.write(DATA[:50_000])
    now, upto = 0.2, 1
    while chunks := made.poll(now):
        upto = chunks[-1].sequence + len(chunks[-1].payload)
        now += 0.1
        made.acknowledge(upto, 1, 60_000, now, bare=True)
    assert made.congestion.window > 8000
    made.write(DATA[:50_000])
    assert sum(sizes(made, now + 10.0)) <= 4380


def test_a_smaller_path_repeats_what_is_in_flight_without_blaming_congestion() -> None:
    made = sender()
    made.write(DATA[:4000])
    assert sizes(made) == [1000] * 4
    before = made.congestion.window
    made.limit_mss(600)
    assert sizes(made)[:3] == [600] * 3
    assert (made.congestion.window, made.congestion.threshold) == (before, 1 << 30)
    sent = made.highest
    made.limit_mss(900)
    assert (made.mss, made.poll(0.3), made.highest) == (600, [], sent)


def test_writes_are_bounded_and_end_with_the_end() -> None:
    made = sender(buffer=1500)
    assert (made.write(DATA), made.room, made.write(b"x")) == (1500, 0, 0)
    made.finish()
    made.poll(0.2)
    made.acknowledge(1501, 1, 60_000, 0.3, bare=True)
    assert (made.room, made.write(b"x")) == (0, 0)


def test_a_segment_without_data_is_neither_older_than_what_was_sent_nor_behind_the_window() -> None:
    made = sender()
    made.write(DATA[:4000])
    made.poll(0.2)
    assert made.handle_timeout(made.deadline)
    assert (made.next, made.bare) == (1, 4001)
    made = sender(window=0)
    made.write(DATA[:4000])
    made.poll(0.2)
    assert made.handle_timeout(made.deadline)
    made.poll(1.0)
    assert (made.highest, made.bare) == (2, 1)
