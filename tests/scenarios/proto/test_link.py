"""Links: every impairment by itself, the order of things, and that a seed decides everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby, pairwise
from random import Random
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.proto.link import Arrival, Link, flip
from scenarios.proto.link_pair import Direction, LinkPair
from scenarios.proto.link_profile import PRESETS, GilbertElliott, Jitter, LinkProfile, PathProfile

MANY = 50_000
PACE = 0.02  # a voice stream's


class Never:
    """An rng that must not be asked."""

    def random(self) -> float:
        raise AssertionError("a draw for something that the profile does not have")


class Scripted:
    """An rng that says what it is told to."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)

    def random(self) -> float:
        return self.values.pop(0)


class Counting(Random):
    draws = 0

    def random(self) -> float:
        self.draws += 1
        return super().random()


def link(seed: object = 1, **profile) -> Link:
    return Link(LinkProfile(**profile), Random(f"{seed}"))


def stream(one: Link, count: int = MANY, *, size: int = 200, pace: float = PACE) -> list[Sequence[Arrival]]:
    return [one.carry(size, n * pace) for n in range(count)]


def fates(arrivals: list[Sequence[Arrival]]) -> list[bool]:
    """Whether each was lost."""
    return [not some for some in arrivals]


def delays(arrivals: list[Sequence[Arrival]], pace: float = PACE) -> list[float]:
    return [one.at - n * pace for n, some in enumerate(arrivals) for one in some]


# -- a link that does nothing, or only delays --


def test_a_perfect_link_delivers_at_once_and_draws_nothing() -> None:
    one = Link(LinkProfile(), Never())
    assert one.carry(1200, 5.0) == (Arrival(5.0, None),)
    assert (one.counters.carried, one.counters.bytes) == (1, 1200)


@pytest.mark.parametrize("profile", [{"delay": 0.02}, {"delay": 0.02, "mtu": 1500}, {"rate": 1e6}])
def test_what_needs_no_chance_draws_nothing(profile: dict[str, float]) -> None:
    one = Link(LinkProfile(**profile), Never())
    assert len(one.carry(125, 0.0)) == 1


@pytest.mark.parametrize(
    ("profile", "draws"),
    [
        ({"jitter": 0.001}, 1),
        ({"loss": 1e-9}, 1),
        ({"loss": GilbertElliott(1e-9, 0.5)}, 1),
        ({"loss": GilbertElliott(1e-9, 0.5, loss_good=1e-9)}, 2),
        ({"reorder": 1e-9, "duplicate": 1e-9}, 2),
        ({"corrupt": 1.0}, 2),
    ],
)
def test_draws_per_datagram(profile: dict, draws: int) -> None:
    rng = Counting(1)
    one = Link(LinkProfile(delay=1, **profile), rng)
    for n in range(100):
        one.carry(200, n)
    assert rng.draws == 100 * draws


def test_delay_is_exact() -> None:
    assert [a.at for a in link(delay=0.25).carry(1, 1.0)] == [1.25]


def test_clear_says_when_a_whole_batch_may_pass() -> None:
    one = link()
    assert one.clear(0.0)
    one.pass_through(3, 600)
    assert (one.counters.carried, one.counters.bytes) == (3, 600)
    one.blocked = True
    assert not one.clear(0.0)
    for profile in ({"delay": 1}, {"mtu": 1500}, {"loss": 0.1}, {"rate": 1}):
        assert not link(**profile).clear(0.0)
    late = link(delay=1.0)
    late.carry(1, 0.0)
    late.profile = LinkProfile()
    assert not late.clear(0.5), "it would overtake"
    assert late.clear(1.0)


# -- jitter --


@pytest.mark.parametrize(("kind", "deviation"), [(Jitter.NORMAL, 0.9866), (Jitter.UNIFORM, 3**-0.5)])
def test_jitter_is_around_the_delay_and_within_its_limits(kind: Jitter, deviation: float) -> None:
    jitter = 0.002  # FIFO does not matter at this pace
    found = delays(stream(link(delay=0.05, jitter=jitter, distribution=kind)))
    limit = jitter * (3 if kind is Jitter.NORMAL else 1)
    assert fmean(found) == pytest.approx(0.05, abs=0.00003)
    assert pstdev(found) == pytest.approx(jitter * deviation, rel=0.01)
    assert max(found) == pytest.approx(0.05 + limit, rel=0.02) and max(found) <= 0.05 + limit + 1e-9
    assert min(found) == pytest.approx(0.05 - limit, rel=0.02) and min(found) >= 0.05 - limit - 1e-9


@pytest.mark.parametrize("kind", Jitter)
def test_jitter_greater_than_the_delay_never_arrives_before_it_was_sent(kind: Jitter) -> None:
    found = delays(stream(link(delay=0.001, jitter=0.01, distribution=kind), 5000, pace=1.0), pace=1.0)
    assert min(found) >= -1e-9 and max(found) > 0.009


@pytest.mark.parametrize("kind", Jitter)
def test_jitter_never_swaps(kind: Jitter) -> None:
    one = link(delay=0.05, jitter=0.02, distribution=kind)
    ats = [a.at for some in stream(one, 5000, pace=0.001) for a in some]
    assert ats == sorted(ats) and len(set(ats)) > 300


# -- loss --


def test_loss_is_independent_and_of_its_ratio() -> None:
    one = link(loss=0.1)
    lost = fates(stream(one))
    assert one.counters.lost == sum(lost) and one.counters.carried == MANY - sum(lost)
    assert fmean(lost) == pytest.approx(0.1, abs=0.004)
    after_loss = [b for a, b in pairwise(lost) if a]
    assert fmean(after_loss) == pytest.approx(0.1, abs=0.015)


def test_all_and_nothing() -> None:
    assert all(fates(stream(link(loss=1.0), 100)))
    assert not any(fates(stream(Link(LinkProfile(loss=0.0), Never()), 100)))


@pytest.mark.parametrize(("p", "r"), [(0.01, 0.25), (0.002, 0.5), (0.05, 0.1)])
def test_gilbert_bursts_are_as_long_and_as_many_as_they_should(p: float, r: float) -> None:
    lost = fates(stream(link(loss=GilbertElliott(p, r)), 200_000))
    bursts = [len(list(run)) for bad, run in groupby(lost) if bad]
    assert fmean(lost) == pytest.approx(p / (p + r), rel=0.08)
    assert fmean(bursts) == pytest.approx(1 / r, rel=0.05)


def test_elliott_loses_some_in_both_states() -> None:
    lost = fates(stream(link(loss=GilbertElliott(0.1, 0.3, loss_bad=0.8, loss_good=0.02)), 200_000))
    assert fmean(lost) == pytest.approx(0.25 * 0.8 + 0.75 * 0.02, rel=0.03)


def test_what_is_lost_has_used_the_rate() -> None:
    one = link(rate=8000, queue=300)
    one.profile = replace(one.profile, loss=1.0)
    assert [one.carry(100, 0.0) for _ in range(4)] == [()] * 4
    assert (one.counters.lost, one.counters.queue_full) == (3, 1)


# -- rate and queue --


def test_serialisation_is_exact_and_in_order() -> None:
    one = link(rate=1_000_000, delay=0.01)
    sizes = [125, 1250, 125, 250]  # 1, 10, 1, 2 ms
    ats = [one.carry(size, 0.0)[0].at for size in sizes]
    assert ats == pytest.approx([0.011, 0.021, 0.022, 0.024], abs=1e-12)
    assert one.carry(125, 1.0)[0].at == pytest.approx(1.011), "an idle line has saved nothing up"


def test_the_queue_is_full_to_the_byte() -> None:
    one = link(rate=8000, queue=1000)  # 1 ms per byte
    assert [len(one.carry(250, 0.0)) for _ in range(5)] == [1, 1, 1, 1, 0]
    assert len(one.carry(251, 0.25)) == 0, "250 bytes have left"
    assert len(one.carry(250, 0.25)) == 1
    assert one.counters.queue_full == 2


@pytest.mark.parametrize(("rate", "packets"), [(1e6, 16), (12e6, 100), (1.2e9, 10_000)])
def test_the_default_queue_is_100_ms_or_16_packets(rate: float, packets: int) -> None:
    one = link(rate=rate)
    assert sum(len(one.carry(1500, 0.0)) for _ in range(packets + 5)) == packets
    assert LinkProfile().queue_bytes == float("inf")


def test_throughput_is_the_rate() -> None:
    one = link(rate=1e6)
    ats = [a.at for some in stream(one, 5000, size=1000, pace=0.004) for a in some]  # 2 Mbit/s offered
    assert len(ats) * 8000 / ats[-1] == pytest.approx(1e6)
    assert one.counters.carried + one.counters.queue_full == 5000


def test_what_is_queued_stays_queued_when_the_profile_changes() -> None:
    one = link(rate=8000)
    assert one.carry(1000, 0.0)[0].at == 1.0
    one.profile = LinkProfile(rate=80_000)
    assert one.carry(1000, 0.0)[0].at == pytest.approx(1.1)
    one.profile = LinkProfile()
    assert one.carry(1000, 0.0)[0].at == pytest.approx(1.1), "behind those before it"


def test_a_shorter_delay_does_not_overtake() -> None:
    one = link(delay=1.0)
    one.carry(1, 0.0)
    one.profile = LinkProfile(delay=0.1)
    assert [one.carry(1, now)[0].at for now in (0.5, 0.95)] == [1.0, 1.05]


# -- the rest --


def test_reordered_datagrams_are_overtaken_by_those_right_behind() -> None:
    one = link(delay=0.1, reorder=0.1)
    ats = [some[0].at for some in stream(one)]
    overtaken = sum(a > b for a, b in pairwise(ats))
    assert one.counters.reordered / MANY == pytest.approx(0.1, abs=0.004)
    # unless the next one is held back too
    assert overtaken / MANY == pytest.approx(0.1 * 0.9, abs=0.004)
    held = max(delays([(Arrival(at),) for at in ats]))
    assert held == pytest.approx(0.1 + LinkProfile().reorder_delay)


def test_a_held_back_datagram_holds_back_nobody() -> None:
    one = link(reorder=1.0, reorder_delay=5.0)
    assert one.carry(1, 0.0)[0].at == 5.0
    one.profile = LinkProfile()
    assert one.carry(1, 0.0)[0].at == 0.0


def test_duplicates_are_equal_and_follow_at_once() -> None:
    one = link(delay=0.1, duplicate=0.05)
    arrivals = stream(one)
    twice = [some for some in arrivals if len(some) == 2]
    assert len(twice) / MANY == pytest.approx(0.05, abs=0.003) and one.counters.duplicated == len(twice)
    assert all(a == b for a, b in twice)
    assert one.counters.carried == MANY, "a copy is not counted as another one"


def test_corruption_names_a_bit_anywhere() -> None:
    one = link(corrupt=0.2)
    bits = [a.corrupt for some in stream(one, size=10) for a in some if a.corrupt is not None]
    assert len(bits) / MANY == pytest.approx(0.2, abs=0.006) and one.counters.corrupted == len(bits)
    assert set(bits) == set(range(80))


@given(st.binary(min_size=1, max_size=40), st.integers(0, 10_000))
def test_flip_changes_one_bit_and_undoes_itself(datagram: bytes, bit: int) -> None:
    damaged = flip(datagram, bit)
    (difference,) = (a ^ b for a, b in zip(datagram, damaged, strict=True) if a != b)
    assert difference.bit_count() == 1 and flip(damaged, bit) == datagram


def test_nothing_has_no_bit_to_flip() -> None:
    assert flip(b"", 3) == b""


@pytest.mark.parametrize("rest", [{}, {"loss": 1e-9}])
def test_larger_than_the_mtu_is_dropped_before_it_is_queued(rest: dict[str, float]) -> None:
    one = link(mtu=1400, rate=8000, queue=1400, **rest)
    assert one.carry(1401, 0.0) == ()
    assert len(one.carry(1400, 0.0)) == 1
    assert (one.counters.too_big, one.counters.queue_full, one.counters.carried) == (1, 0, 1)


def test_a_blocked_link_carries_nothing_and_draws_nothing() -> None:
    one = Link(LinkProfile(loss=0.5, mtu=100), Never())
    one.blocked = True
    one.profile = LinkProfile(jitter=0.1, mtu=100)
    assert one.blocked and one.carry(50, 0.0) == () == one.carry(500, 0.0)
    assert (one.counters.blocked, one.counters.too_big) == (2, 0)
    one.profile = LinkProfile(delay=1)
    assert one.carry(50, 0.0) == ()
    one.blocked = False
    assert one.carry(50, 0.0) == (Arrival(1.0, None),)


def test_another_loss_begins_in_the_good_state() -> None:
    bursts = GilbertElliott(p=0.5, r=0.1)
    one = Link(LinkProfile(loss=bursts), Scripted(0.4, 0.6, 0.6))
    assert one.carry(1, 0.0) == ()
    one.profile = LinkProfile(loss=bursts, delay=1.0)
    assert one.carry(1, 0.0) == (), "still bad: the loss is the same"
    one.profile = LinkProfile(loss=GilbertElliott(p=0.3, r=0.1))
    assert len(one.carry(1, 0.0)) == 1


@given(
    st.sampled_from(sorted(PRESETS)),
    st.integers(0, 1000),
    st.lists(st.tuples(st.integers(1, 2000), st.floats(0, 0.05)), max_size=60),
)
def test_every_datagram_has_one_fate_and_never_arrives_before_it_was_sent(
    preset: str, seed: int, offered: list[tuple[int, float]]
) -> None:
    one = Link(PRESETS[preset].up, Random(seed))
    now = 0.0
    for size, pause in offered:
        now += pause
        assert all(a.at >= now for a in one.carry(size, now))
    fate = one.counters
    assert fate.carried + fate.lost + fate.queue_full + fate.too_big + fate.blocked == len(offered)


# -- seeds --


def test_a_seed_decides_everything() -> None:
    lossy = PRESETS["lossy"].up
    first, again, other = (stream(Link(lossy, Random(seed)), 2000) for seed in ("a", "a", "b"))
    assert first == again != other


def test_traffic_of_one_link_does_not_change_the_fate_of_another() -> None:
    lossy = PRESETS["lossy"]
    alone = LinkPair.of(lossy, Random("up"), Random("down"))
    beside = LinkPair.of(lossy, Random("up"), Random("down"))
    found = []
    for n in range(2000):
        found.append(beside.up.carry(200, n * PACE))
        beside.down.carry(1000, n * PACE)
    assert found == stream(alone.up, 2000)


# -- both directions --


def test_a_partition_may_be_one_way_and_heals() -> None:
    pair = LinkPair.of(PathProfile.both(LinkProfile(delay=0.5)), Never(), Never())

    def passes(now: float) -> tuple[bool, bool]:
        return bool(pair.up.carry(1, now)), bool(pair.down.carry(1, now))

    assert passes(0) == (True, True)
    pair.partition(Direction.UP)
    assert passes(1) == (False, True)
    pair.partition(Direction.DOWN)
    pair.heal(Direction.UP)
    assert passes(2) == (True, False)
    pair.partition()
    assert passes(3) == (False, False)
    pair.heal()
    assert passes(4) == (True, True)


def test_degradations_end_at_once_and_are_no_partition() -> None:
    pair = LinkPair.of(PRESETS["dsl"], Random(1), Random(2))
    pair.degrade(replace(pair.up.profile, loss=0.5), Direction.UP)
    pair.partition(Direction.UP)
    pair.degrade(replace(pair.up.profile, delay=0.3), Direction.UP)
    assert (pair.up.profile.loss, pair.up.profile.delay) == (0.5, 0.3)
    assert pair.down.profile == PRESETS["dsl"].down
    pair.restore()
    assert pair.up.profile == PRESETS["dsl"].up and pair.down.profile == PRESETS["dsl"].down
    assert pair.up.blocked
    pair.degrade(LinkProfile())
    pair.restore(Direction.DOWN)
    assert (pair.up.profile, pair.down.profile) == (LinkProfile(), PRESETS["dsl"].down)


# -- profiles --


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"delay": -1}, "delay"),
        ({"delay": float("nan")}, "delay"),
        ({"jitter": float("inf")}, "jitter"),
        ({"reorder_delay": -0.1}, "reorder_delay"),
        ({"loss": 1.1}, "loss"),
        ({"loss": -0.1}, "loss"),
        ({"reorder": 2}, "reorder"),
        ({"duplicate": float("nan")}, "duplicate"),
        ({"corrupt": 5}, "corrupt"),
        ({"rate": 0}, "rate"),
        ({"queue": 0}, "queue"),
        ({"mtu": -1}, "mtu"),
    ],
)
def test_a_profile_that_cannot_be_is_refused_by_name(wrong: dict[str, float], what: str) -> None:
    with pytest.raises(ValueError, match=f"^{what} must be"):
        LinkProfile(**wrong)


@pytest.mark.parametrize("wrong", [(1.5, 0.5), (0.5, 0.0), (0.1, 0.1, 2.0), (0.1, 0.1, 1.0, -1.0)])
def test_bursts_that_cannot_be_are_refused(wrong: tuple[float, ...]) -> None:
    with pytest.raises(ValueError):
        GilbertElliott(*wrong)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_carries_a_voice_stream(name: str) -> None:
    for profile in (PRESETS[name].up, PRESETS[name].down):
        one = Link(profile, Random(name))
        stream(one, 5000, size=250)
        assert one.counters.carried > 4700 and not one.counters.queue_full
