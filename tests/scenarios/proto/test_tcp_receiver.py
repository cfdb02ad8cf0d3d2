"""Reassembly: every byte once, in order, whatever comes how often; and no more memory than the window."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from scenarios.proto.tcp_receiver import MAX_PARTS, Receiver


def receiver(capacity: int = 1000, mss: int = 100) -> Receiver:
    made = Receiver(capacity, mss)
    made.start(-1)  # the first byte has number 0
    return made


@given(st.binary(max_size=300), st.integers(0, 1 << 30), st.booleans())
def test_pieces_in_any_order_with_any_overlap_make_the_stream(data: bytes, seed: int, fin: bool) -> None:
    rng = random.Random(seed)
    inbox = receiver()
    cuts = [sorted((rng.randint(0, len(data)), rng.randint(0, len(data)))) for _ in range(20)]
    cuts += [[at, min(at + 7, len(data))] for at in range(0, len(data) + 1, 7)]
    rng.shuffle(cuts)
    for start, end in cuts:
        inbox.receive(start, data[start:end], fin=fin and end == len(data))
    assert inbox.read() == data
    assert inbox.next == len(data) + fin
    assert inbox.finished == fin


def test_the_first_copy_of_a_byte_counts() -> None:
    inbox = receiver()
    inbox.receive(2, b"CD", fin=False)
    inbox.receive(6, b"GH", fin=False)
    inbox.receive(0, b"abcdefghij", fin=False)
    assert inbox.read() == b"abCDefGHij"


def test_what_is_behind_the_window_is_cut_off() -> None:
    inbox = receiver(capacity=10, mss=2)
    inbox.receive(5, b"fghijklmno", fin=True)
    inbox.receive(0, b"abcde", fin=False)
    assert (inbox.readable, inbox.finished, inbox.closed) == (10, False, True)
    assert not inbox.acceptable(10, 1)
    assert inbox.acceptable(10, 0)
    inbox.receive(10, b"k", fin=False)
    assert inbox.readable == 10
    inbox.read()
    assert inbox.window() == 10
    inbox.receive(10, b"kl", fin=True)  # the end behind the window was not remembered either
    assert (inbox.read(), inbox.finished) == (b"kl", True)


def test_what_a_segment_may_touch() -> None:
    inbox = receiver(capacity=10, mss=2)
    assert [inbox.acceptable(at, 0) for at in (-1, 0, 9, 10, 11)] == [False, True, True, True, False]
    assert [inbox.acceptable(at, 2) for at in (-2, -1, 9, 10)] == [False, True, True, False]


def test_the_window_opens_in_steps_and_never_shrinks() -> None:
    inbox = receiver(capacity=1000, mss=100)
    inbox.receive(0, bytes(1000), fin=False)
    assert inbox.window() == 0
    inbox.read(99)
    assert (inbox.window(), inbox.has_news) == (0, False)  # a silly window: RFC 9293 3.8.6.2.2
    inbox.read(1)
    assert inbox.has_news
    assert inbox.window() == 100
    assert not inbox.has_news


def test_a_reader_that_empties_half_the_buffer_is_news() -> None:
    inbox = receiver(capacity=1000, mss=100)
    inbox.receive(0, bytes(600), fin=False)
    assert inbox.window() == 400
    inbox.read(499)
    assert not inbox.has_news
    inbox.read(1)
    assert inbox.has_news


def test_a_window_fits_into_its_field() -> None:
    assert receiver(capacity=100_000).window() == 65_535


def test_pieces_beyond_a_hole_are_capped_but_the_hole_can_always_be_closed() -> None:
    inbox = receiver(capacity=4 * MAX_PARTS)
    for at in range(2, 3 * MAX_PARTS, 2):
        inbox.receive(at, b"x", fin=False)
    assert inbox.dropped_parts == len(range(2, 3 * MAX_PARTS, 2)) - MAX_PARTS
    inbox.receive(0, b"ab", fin=False)
    inbox.receive(3, b"d", fin=False)
    assert inbox.read() == b"abxdx"


def test_an_end_before_known_data_and_a_second_end_are_lies() -> None:
    inbox = receiver()
    inbox.receive(5, b"fgh", fin=False)
    inbox.receive(3, b"d", fin=True)
    inbox.receive(8, b"", fin=True)
    inbox.receive(9, b"", fin=True)
    inbox.receive(0, b"abcde", fin=False)
    assert (inbox.read(), inbox.finished, inbox.next) == (b"abcdefgh", True, 9)


def test_nothing_follows_the_end() -> None:
    inbox = receiver()
    inbox.receive(3, b"", fin=True)
    inbox.receive(0, b"abcdef", fin=False)
    assert (inbox.read(), inbox.finished) == (b"abc", True)
