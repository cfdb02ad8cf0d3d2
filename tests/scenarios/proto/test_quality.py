import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios.proto.quality import (
    CODECS,
    burst_ratio,
    call_r_factor,
    delay_impairment,
    equipment_impairment,
    mos,
    r_factor,
    rating,
)


def test_defaults_give_93_2():
    assert r_factor() == pytest.approx(93.2, abs=0.05)
    assert rating().mos == pytest.approx(4.41, abs=0.005)


def test_terms_at_the_defaults():
    """Intermediate values that independent implementations of the Recommendation print."""
    terms = rating()
    assert (15 - terms.ro) / 1.5 - 8 == pytest.approx(-61.17921438624169, abs=1e-9)  # No
    assert terms.iolr + terms.ist + terms.iq == pytest.approx(1.4135680813438616, abs=1e-6)
    assert (terms.idte, terms.idd, terms.ie_eff) == (0, 0, 0)
    assert terms.r == pytest.approx(
        terms.ro - terms.iolr - terms.ist - terms.iq - terms.idte - terms.idle - terms.idd - terms.ie_eff
    )


@pytest.mark.parametrize(
    ("r", "score"), [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58), (93.2, 4.41)]
)
def test_annex_b_anchors(r, score):
    assert mos(r) == pytest.approx(score, abs=0.01)


def test_mos_is_held_between_1_and_4_5():
    assert mos(-20) == mos(0) == mos(4.2) == mos(6) == 1.0  # the cubic alone gives 0.99 at R = 4.2
    assert mos(100) == mos(140) == 4.5


@settings(max_examples=100, deadline=None)
@given(st.floats(-50, 150), st.floats(0, 20))
def test_mos_rises_with_r(r, more):
    assert 1.0 <= mos(r) <= mos(r + more) + 1e-9 <= 4.5 + 1e-9


TABLE = [
    # codec, Ta ms, then R/MOS at 0, 1, 2 and 5 % random loss
    ("G.711", 50, (93.2, 4.41), (75.3, 3.83), (63.0, 3.26), (42.1, 2.17)),
    ("G.711+PLC", 50, (93.2, 4.41), (89.6, 4.33), (86.2, 4.23), (77.4, 3.92)),
    ("G.711+PLC", 250, (84.3, 4.18), (80.6, 4.05), (77.3, 3.92), (68.5, 3.53)),
    ("G.729A+VAD", 50, (82.2, 4.10), (78.0, 3.95), (74.2, 3.79), (64.7, 3.34)),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]}-{row[1]}ms")
def test_codecs_delays_and_losses(row):
    name, ta, *expected = row
    profile = CODECS[name]
    for loss, (r, score) in zip((0, 0.01, 0.02, 0.05), expected, strict=True):
        got = call_r_factor(profile, ta_ms=ta, loss_ratio=loss)
        assert got == pytest.approx(r, abs=0.1)
        assert mos(got) == pytest.approx(score, abs=0.01)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(CODECS)), st.floats(0, 800), st.floats(0, 0.5), st.floats(1, 8))
def test_short_way_equals_the_full_model(name, ta, loss, burst):
    profile = CODECS[name]
    full = r_factor(ta=ta, ie=profile.ie, bpl=profile.bpl, ppl=100 * loss, burst_r=burst)
    assert call_r_factor(profile, ta_ms=ta, loss_ratio=loss, burst_ratio=burst) == pytest.approx(full)


@pytest.mark.parametrize(
    ("seconds", "plc", "plc_bursty", "plain"),
    [(0.2, 4.37, None, 4.12), (0.4, 4.34, None, 3.92), (1.0, 4.25, None, 3.33), (2.0, 4.08, 4.02, 2.59)],
)
def test_blackout_in_a_minute_with_little_loss(seconds, plc, plc_bursty, plain):
    expected = 3000
    blackout = round(seconds * 50)
    loss = (blackout + 0.002 * (expected - blackout)) / expected
    assert mos(call_r_factor(CODECS["G.711+PLC"], ta_ms=80, loss_ratio=loss)) == pytest.approx(plc, abs=0.01)
    assert mos(call_r_factor(CODECS["G.711"], ta_ms=80, loss_ratio=loss)) == pytest.approx(plain, abs=0.015)
    if plc_bursty:
        bursty = call_r_factor(CODECS["G.711+PLC"], ta_ms=80, loss_ratio=loss, burst_ratio=15)
        assert mos(bursty) == pytest.approx(plc_bursty, abs=0.01)


WORSE = [
    {"slr": 20.0},
    {"rlr": 14.0},
    {"nc": -40.0},
    {"nfor": -45.0},
    {"ps": 60.0},
    {"pr": 60.0},
    {"stmr": 5.0},
    {"stmr": 40.0, "t": 50.0},
    {"qdu": 14.0},
    {"t": 150.0, "tr": 300.0, "ta": 150.0},
    {"t": 50.0, "telr": 40.0},
    {"tr": 300.0, "wepl": 20.0},
    {"ta": 300.0},
    {"ie": 10.0},
    {"ppl": 3.0},
    {"lstr": 0.0},
    {"ds": -10.0, "ps": 70.0},
    {"dr": -20.0},
]


@pytest.mark.parametrize("parameters", WORSE, ids=str)
def test_every_parameter_can_spoil_a_call(parameters):
    assert r_factor(**parameters) < r_factor() - 0.1


def test_advantage_is_added():
    assert r_factor(a=10.0) == pytest.approx(r_factor() + 10)


def test_echo_counts_from_one_millisecond_and_grows_with_its_delay():
    assert rating(t=0.9, telr=20).idte == 0
    delays = [rating(t=t, telr=45).idte for t in (1, 10, 30, 100, 300)]
    assert delays == sorted(delays)


def test_low_sidetone_masks_echo_and_high_sidetone_adds_to_it():
    assert rating(stmr=4.0, t=60, telr=45).idte < rating(stmr=9.0, t=60, telr=45).idte - 1
    high = rating(stmr=25.0, t=60, telr=45)
    assert high.idte > rating(stmr=20.0, t=60, telr=45).idte
    assert high.idte >= abs(high.ist)


def test_delay_impairment_begins_at_100_ms_and_depends_on_the_class():
    assert delay_impairment(100) == 0
    assert delay_impairment(101) < 0.01
    # X = 1 at 200 ms: 25 (2^(1/6) - 3 (1 + 3^-6)^(1/6) + 2)
    assert delay_impairment(200) == pytest.approx(25 * (2 ** (1 / 6) - 3 * (1 + 3**-6) ** (1 / 6) + 2))
    assert (
        delay_impairment(300, st=0.4, mt=150) < delay_impairment(300, st=0.55, mt=120) < delay_impairment(300)
    )


def test_sidetone_far_below_zero_stays_a_number():
    assert isinstance(r_factor(stmr=-60.0), float)


def test_equipment_impairment_at_total_loss():
    assert equipment_impairment(0, 4.3, 100, 1) == pytest.approx(95 * 100 / 104.3)


@pytest.mark.parametrize(
    ("bad", "bursts", "expected", "ratio"),
    [
        (0, 0, 100, 1.0),
        (10, 10, 1000, 1.0),  # spread out more evenly than chance
        (10, 1, 100, 9.0),
        (100, 1, 100, 1.0),  # everything lost: no pattern
        (20, 4, 200, 4.5),
    ],
)
def test_burst_ratio(bad, bursts, expected, ratio):
    assert burst_ratio(bad, bursts, expected) == pytest.approx(ratio)


def test_codec_table_is_read_only():
    with pytest.raises(TypeError):
        CODECS["mine"] = CODECS["G.711"]
