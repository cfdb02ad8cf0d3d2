"""TAI64N labels: their form, and that a clock of ours never repeats one or goes back."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.proto.wireguard.tai64n import SLOT, TimestampClock, decode, encode

WALL = 1_700_000_000.0


def test_form():
    # The initiation of wireguard-psk.pcap in Wireshark's test suite carries this label.
    assert encode(0x5B60ED66 - 10, 0).hex() == "400000005b60ed6600000000"
    assert decode(bytes.fromhex("400000005b60ed663156716e")) == (0x5B60ED66 - 10, 0x3156716E)


@pytest.mark.parametrize("label", [b"", bytes(11), bytes(13), encode(5, 0)[:8] + b"\xff" * 4])
def test_not_a_label(label):
    with pytest.raises(ValueError, match="TAI64N"):
        decode(label)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2**33), st.integers(0, 999_999_999)), min_size=2, max_size=2))
def test_bytes_sort_as_time(times):
    early, late = sorted(times)
    assert encode(*early) <= encode(*late)
    assert decode(encode(*late)) == late


def test_stamp_is_the_wall_time_in_slots():
    seconds, nanoseconds = decode(TimestampClock(WALL).stamp(0.5))
    assert seconds == int(WALL)
    assert nanoseconds % SLOT == 0
    assert 0 <= 500_000_000 - nanoseconds < SLOT


def test_stamp_does_not_show_the_time_within_a_slot():
    slot = SLOT / 1e9
    middle = 3 * slot + slot / 2
    assert TimestampClock(WALL).stamp(middle) == TimestampClock(WALL).stamp(middle + slot / 4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=20))
def test_strictly_increasing_whatever_the_clock_does(times):
    clock = TimestampClock(WALL)
    stamps = [clock.stamp(now) for now in times]
    assert all(before < after for before, after in pairwise(stamps))
    assert clock.greatest == stamps[-1]


def test_many_stamps_at_once_stay_near_the_wall_clock():
    clock = TimestampClock(WALL)
    for _ in range(2000):
        clock.stamp(1.0)
    seconds, nanoseconds = decode(clock.greatest)
    assert abs(seconds + nanoseconds / 1e9 - WALL - 1.0) < 0.02


def test_restored_value_is_exceeded_even_if_the_wall_clock_was_set_back():
    greatest = encode(int(WALL) + 3600, 999_999_999)
    clock = TimestampClock(WALL, greatest=greatest)
    assert clock.greatest == greatest
    first = clock.stamp(0.0)
    assert first > greatest
    assert decode(first) == (int(WALL) + 3601, 0)
    assert clock.stamp(0.0) > first


def test_fresh_clock_has_given_out_nothing():
    assert TimestampClock(WALL).greatest == b""


def test_damaged_restored_value_is_refused():
    with pytest.raises(ValueError, match="12 bytes"):
        TimestampClock(WALL, greatest=b"short")
