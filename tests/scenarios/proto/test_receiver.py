import random
import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.proto.receiver import MAX_DROPOUT, MAX_MISORDER, Receiver

SSRC = 0x1234


def receiver(**kw):
    return Receiver(clock_rate=8000, now=0.0, **kw)


def feed(to, numbers, *, start=65500, spacing=0.02, at=0.0, ssrc=SSRC):
    """Packets `numbers` of a stream, one every `spacing`, each with the timestamp of its own number."""
    for k, number in enumerate(numbers):
        now = at + k * spacing
        to.receive(ssrc, (start + number) & 0xFFFF, number * 160 & 0xFFFFFFFF, now)


def totals(of, now=1e4):
    windows = of.finished_windows(now)
    return {
        name: sum(getattr(w, name) for w in windows)
        for name in ("received", "lost", "duplicates", "reordered", "late", "expected")
    }


# --- sequence numbers


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_counts_equal_a_naive_model_across_the_wrap(data):
    """Drop, duplicate and shuffle a stream that starts shortly before the wrap of the sequence number."""
    fates = data.draw(st.lists(st.sampled_from("....dD2"), max_size=120))
    delays = data.draw(st.lists(st.integers(0, 20), min_size=len(fates), max_size=len(fates)))
    arrivals = []
    for number, (fate, delay) in enumerate(zip(fates, delays, strict=True), start=2):
        if fate == "d":
            continue
        slot = number + (delay if fate == "D" else 0)
        arrivals.append((slot, number))
        if fate == "2":
            arrivals.append((slot + delay, number))
    order = [0, 1, *(number for _, number in sorted(arrivals))]

    seen, highest, duplicates, reordered = set(), -1, 0, 0
    for number in order:
        if number in seen:
            duplicates += 1
        elif number < highest:
            reordered += 1
        seen.add(number)
        highest = max(highest, number)
    missing = [number for number in range(highest) if number not in seen]
    runs = sum(number - 1 not in missing for number in missing)

    to = receiver(playout_delay=100.0)
    feed(to, order, start=data.draw(st.sampled_from([0, 65500, 65535])))
    assert totals(to) == {
        "received": len(seen),
        "lost": len(missing),
        "duplicates": duplicates,
        "reordered": reordered,
        "late": 0,
        "expected": highest + 1,
    }
    assert to.bursts == runs
    assert all(w.lost >= 0 and w.bursts >= 0 for w in to.windows)
    # RFC 3550 A.3 counts duplicates as received.
    assert to.stream_report().cumulative_lost == len(missing) - duplicates


def test_many_wraps():
    to = receiver()
    feed(to, range(0, 200_000, 1), spacing=0.0001)
    assert totals(to)["received"] == 200_000
    assert totals(to)["lost"] == 0
    assert to.stream_report().highest_sequence == 65500 + 199_999


def test_a_source_counts_after_two_packets_in_sequence():
    to = receiver()
    assert not to.receive(SSRC, 10, 0, 0.0)
    assert to.ssrc is None
    assert not to.receive(SSRC, 12, 320, 0.04)  # not the next one: from the beginning
    assert to.receive(SSRC, 13, 480, 0.06)
    assert totals(to)["received"] == 2
    assert to.unvalidated == 1
    assert to.first_arrival == 0.04


def test_one_stray_packet_of_another_source_changes_nothing():
    to = receiver()
    feed(to, range(10))
    assert not to.receive(99, 7, 0, 0.2)
    feed(to, range(10, 20), at=0.2)
    assert (to.ssrc, to.ssrc_changes) == (SSRC, 0)
    assert totals(to)["received"] == 20


def test_change_of_ssrc_keeps_the_counts_of_the_call():
    to = receiver()
    feed(to, [0, 1, 3])
    feed(to, [0, 1, 2, 4], ssrc=77, at=0.1, start=9)
    assert (to.ssrc, to.ssrc_changes) == (77, 1)
    assert totals(to)["received"] == 7
    assert totals(to)["lost"] == 2
    report = to.stream_report()  # of the new stream alone
    assert (report.ssrc, report.cumulative_lost, report.highest_sequence) == (77, 1, 13)


def test_probation_is_of_one_source():
    to = receiver()
    to.receive(5, 10, 0, 0.0)
    assert not to.receive(6, 11, 160, 0.02)
    assert to.receive(6, 12, 320, 0.04)
    assert to.ssrc == 6


def test_holes_of_a_former_source_are_not_filled_by_the_next():
    to = receiver(playout_delay=0.06)
    feed(to, [0, 1, 3, 4])
    to.receive(SSRC, (65500 + 5) & 0xFFFF, 5 * 160, 0.5)  # late
    feed(to, [3, 4, 5], ssrc=77, at=1.0)
    to.receive(77, (65500 + 2) & 0xFFFF, 320, 1.1)
    assert (totals(to)["lost"], totals(to)["reordered"], totals(to)["duplicates"]) == (1, 0, 1)
    feed(to, [7], ssrc=77, at=1.1)
    to.receive(77, (65500 + 6) & 0xFFFF, 960, 1.1)
    assert to.bursts == 2  # one hole and one late packet, both of the former source


def test_jump_of_the_sequence_is_a_restart_once_two_packets_confirm_it():
    to = receiver()
    feed(to, range(5))
    assert not to.receive(SSRC, (65500 + 20_000) & 0xFFFF, 800, 0.1)
    assert totals(to, 0.1)["lost"] == 0
    assert to.receive(SSRC, (65500 + 20_001) & 0xFFFF, 960, 0.12)
    assert to.restarts == 1
    assert totals(to)["received"] == 7
    assert totals(to)["lost"] == 0


def test_a_single_wild_packet_is_ignored():
    to = receiver()
    feed(to, range(5))
    to.receive(SSRC, (65500 + 30_000) & 0xFFFF, 800, 0.1)
    feed(to, range(5, 10), at=0.1)
    assert (to.restarts, totals(to)["received"], totals(to)["lost"]) == (0, 10, 0)


def test_the_limits_of_appendix_a_1():
    to = receiver()
    feed(to, range(200))
    assert to.receive(SSRC, (65500 + 199 + MAX_DROPOUT - 1) & 0xFFFF, 0, 4.0)  # the largest step forward
    assert totals(to, 4.0)["lost"] == MAX_DROPOUT - 2
    to = receiver()
    feed(to, range(200))
    assert not to.receive(SSRC, (65500 + 199 + MAX_DROPOUT) & 0xFFFF, 0, 4.0)
    assert to.receive(
        SSRC, (65500 + 199 - MAX_MISORDER + 1) & 0xFFFF, 0, 4.0
    )  # the oldest that is not a restart
    assert not to.receive(SSRC, (65500 + 199 - MAX_MISORDER) & 0xFFFF, 0, 4.0)
    assert totals(to, 4.0)["duplicates"] == 1


def test_an_outage_longer_than_the_dropout_is_loss_if_the_clock_explains_it():
    to = receiver()
    feed(to, range(100))
    feed(to, range(5000, 5100), at=100.0)  # 98 s later, as far on as 98 s of packets
    assert (totals(to, 102.0)["lost"], to.restarts, to.bursts) == (4900, 0, 1)
    assert max(w.gap_max for w in to.windows) == pytest.approx(100.0 - 1.98)
    assert [w.lost for w in to.windows[1:9]] == [pytest.approx(500, abs=2)] * 8
    assert [w.gap_max for w in to.windows[1:3]] == [pytest.approx(18.02), pytest.approx(28.02)]


@pytest.mark.parametrize(
    ("step", "ticks", "at"),
    [
        (4900, 4900 * 160, 30.0),  # the timestamps went on for longer than the silence
        (4900, 4900 * 160, 300.0),  # ... for less
        (4900, 20 * 8000, 21.98),  # more packets than the time has room for
        (40_000, 40_000 * 160, 801.98),  # half of the sequence space: forward or backward?
    ],
)
def test_an_outage_that_the_clock_does_not_explain_is_a_restart(step, ticks, at):
    to = receiver()
    feed(to, range(100))
    for n in (0, 1):
        to.receive(SSRC, (65500 + 99 + step + n) & 0xFFFF, 99 * 160 + ticks + n * 160, at + n * 0.02)
    assert (to.restarts, totals(to, at)["lost"]) == (1, 0)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.one_of(st.integers(0, 65535), st.integers(0, 40)),
            st.integers(0, 2**32 - 1),
            st.floats(0, 3),
        ),
        max_size=80,
    )
)
def test_hostile_headers_never_make_counts_negative(packets):
    to, now = receiver(), 0.0
    for ssrc, sequence, timestamp, pause in packets:
        now += pause
        to.receive(ssrc, sequence, timestamp, now)
        report = to.stream_report()
        if report is not None:
            assert 0 <= report.fraction_lost <= 255
            assert 0 <= report.jitter < 2**32
    for w in to.finished_windows(now):
        assert min(w.received, w.lost, w.late, w.duplicates, w.reordered, w.bursts) >= 0
        assert w.late <= w.received
    assert to.bursts >= 0
    assert totals(to, now)["received"] + totals(to, now)["duplicates"] <= len(packets)


# --- reports


def test_fraction_lost_is_of_the_interval():
    to = receiver()
    feed(to, range(100))
    assert to.stream_report().fraction_lost == 0
    feed(to, [n for n in range(100, 200) if n % 4], at=2.0)
    assert to.stream_report().fraction_lost == pytest.approx(64, abs=1)
    feed(to, range(200, 300), at=4.0)
    report = to.stream_report()
    assert (report.fraction_lost, report.cumulative_lost) == (0, 25)


def test_more_duplicates_than_losses_make_the_cumulative_loss_negative():
    to = receiver()
    feed(to, [0, 1, 1, 2, 2, 3])
    report = to.stream_report()
    assert (report.fraction_lost, report.cumulative_lost) == (0, -2)


def test_no_report_before_a_source_is_valid():
    to = receiver()
    to.receive(SSRC, 1, 0, 0.0)
    assert to.stream_report() is None


# --- jitter and lateness


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 0.2), min_size=2, max_size=100), st.integers(0, 2**32 - 1))
def test_jitter_equals_the_formula(delays, first_timestamp):
    """J += (|D| - J) / 16 with D as in RFC 3550 6.4.1, and timestamps that wrap."""
    to = receiver()
    arrivals = []
    for n, delay in enumerate(delays):
        arrivals.append((max(n * 0.02 + delay, arrivals[-1][0] if arrivals else 0.0), n))
    for now, n in arrivals:
        to.receive(SSRC, n, (first_timestamp + 160 * n) & 0xFFFFFFFF, now)
    j = 0.0
    for (r0, n0), (r1, n1) in pairwise(arrivals):
        d = (r1 - r0) * 8000 - (n1 - n0) * 160
        j += (abs(d) - j) / 16
    assert to.jitter == pytest.approx(j, abs=1e-6)


def test_jitter_of_a_steady_swing():
    to = receiver()
    for n in range(1000):
        to.receive(SSRC, n, 160 * n, n * 0.02 + (0.005 if n % 2 else 0.0))
    assert to.jitter / 8000 == pytest.approx(0.005, abs=1e-5)


def test_packets_after_their_playout_time_are_late():
    to = receiver(playout_delay=0.06)
    for n in range(100):
        late = n in (20, 50, 51, 52)
        to.receive(SSRC, n, 160 * n, n * 0.02 + (0.0601 if late else 0.0))
    assert (totals(to)["late"], totals(to)["lost"], to.bursts) == (4, 0, 2)


def test_a_way_that_became_longer_for_good_costs_only_the_resynchronisation():
    to = receiver(playout_delay=0.06)
    for n in range(500):
        to.receive(SSRC, n, 160 * n, n * 0.02 + (0.2 if n >= 100 else 0.0))
    assert totals(to)["late"] == 10
    assert to.bursts == 1


def test_telephone_events_do_not_disturb_the_clock():
    to = receiver()
    feed(to, range(10), start=0)
    for n in range(10, 20):
        to.receive(SSRC, n, 1600, n * 0.02, timed=False)
    feed(to, range(20, 30), start=0, at=0.4)
    assert to.jitter == pytest.approx(0.0, abs=1e-9)
    assert (totals(to)["received"], totals(to)["late"]) == (30, 0)


# --- loss patterns, windows and gaps


def test_bursts_join_and_split_when_packets_come_out_of_order():
    to = receiver(playout_delay=9.0)
    feed(to, [0, 1, 9])  # 2..8 missing: one run
    assert to.bursts == 1
    for number, runs in ((5, 2), (2, 2), (8, 2), (3, 2), (4, 1), (7, 1), (6, 0)):
        to.receive(SSRC, (65500 + number) & 0xFFFF, number * 160, 0.2)
        assert (number, to.bursts) == (number, runs)
    assert totals(to)["lost"] == 0


def test_a_lost_packet_that_comes_too_late_to_play_stays_in_its_run():
    to = receiver(playout_delay=0.06)
    feed(to, [0, 1, *range(4, 20)])
    to.receive(SSRC, (65500 + 2) & 0xFFFF, 320, 0.5)
    assert totals(to) == {
        "received": 19, "lost": 1, "late": 1, "duplicates": 0, "reordered": 1, "expected": 20,
    }  # fmt: skip
    assert to.bursts == 1


def test_losses_belong_to_the_window_when_they_were_due():
    to = receiver(window=10.0)
    feed(to, range(450))
    feed(to, range(550, 1000), at=11.0)  # nothing from 9 s to 11 s
    assert [(w.received, w.lost) for w in to.finished_windows(19.99)] == [
        (450, pytest.approx(50, abs=1)),
        (450, pytest.approx(50, abs=1)),
    ]
    assert sum(w.lost for w in to.windows) == 100
    assert [w.bursts for w in to.windows] == [1, 1]
    assert to.bursts == 1


def test_gap_is_the_longest_pause_between_arrivals():
    to = receiver()
    feed(to, range(50))
    feed(to, range(60, 100), at=1.2)
    assert totals(to, 2.0)["lost"] == 10
    assert max(w.gap_max for w in to.windows) == pytest.approx(0.22)


def test_waiting_for_the_first_packet_is_no_gap():
    to = receiver()
    assert to.silence(3.0) == 3.0
    feed(to, range(10), at=3.0)
    assert to.first_arrival == 3.0
    assert max(w.gap_max for w in to.windows) == pytest.approx(0.02)


def test_silence_while_on_hold_is_no_gap():
    to = receiver()
    feed(to, range(10))
    to.expect(False, 0.25)
    assert to.silence(9.0) == 0.0
    to.expect(True, 9.0)
    feed(to, range(10, 20), at=9.1)
    gaps = [w.gap_max for w in to.finished_windows(9.3)]
    assert max(gaps) == pytest.approx(0.1)


def test_remembering_is_bounded():
    """A peer that leaves holes on purpose does not grow the receiver (only its own windows do, with time)."""
    to = receiver()
    feed(to, [0, 1])
    rng = random.Random(5)
    number, sizes = 1, []
    tracemalloc.start()
    for n in range(1000):
        number += rng.randrange(2, 60)
        to.receive(SSRC, (65500 + number) & 0xFFFF, n * 160, 1.0 + n * 0.001)
        if n % 500 == 499:
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert sizes[1] - sizes[0] < 60_000  # unbounded: above a megabyte


def test_remembering_late_packets_is_bounded():
    to, sizes = receiver(window=1e6), []
    tracemalloc.start()
    for n in range(6000):
        to.receive(SSRC, n & 0xFFFF, n * 160, n * 0.02 + (0.1 if n % 2 else 0.0))
        if n % 3000 == 2999:
            sizes.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert totals(to, 120.0)["late"] == pytest.approx(3000, abs=5)
    assert sizes[1] - sizes[0] < 60_000
