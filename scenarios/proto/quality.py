"""How a call sounded: the E-model of ITU-T G.107 (06/2015), with every parameter of its table.

R = Ro - Is - Id - Ie,eff + A. Symbols and equation numbers are those of the Recommendation; levels in dB,
delays in milliseconds, packet loss in percent. Defaults give R = 93.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp, log10, sqrt
from types import MappingProxyType

MODEL = "ITU-T G.107"


@dataclass(frozen=True, slots=True)
class CodecProfile:
    """What a codec does to speech by itself (Ie) and how it stands packet loss (Bpl): G.113 appendix I."""

    name: str
    ie: float
    bpl: float
    lookahead_ms: float = 0.0


CODECS: Mapping[str, CodecProfile] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            CodecProfile("G.711", 0.0, 4.3),
            CodecProfile("G.711+PLC", 0.0, 25.1),
            CodecProfile("G.729A+VAD", 11.0, 19.0, lookahead_ms=5.0),
            CodecProfile("G.723.1-6.3+VAD", 15.0, 16.1, lookahead_ms=7.5),
            CodecProfile("GSM-EFR", 5.0, 10.0),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Rating:
    """R and the terms that it is made of."""

    r: float
    ro: float
    iolr: float
    ist: float
    iq: float
    idte: float
    idle: float
    idd: float
    ie_eff: float

    @property
    def mos(self) -> float:
        return mos(self.r)


def rating(
    *,
    slr: float = 8.0,
    rlr: float = 2.0,
    stmr: float = 15.0,
    lstr: float | None = None,
    ds: float = 3.0,
    dr: float = 3.0,
    telr: float = 65.0,
    wepl: float = 110.0,
    t: float = 0.0,
    tr: float = 0.0,
    ta: float = 0.0,
    qdu: float = 1.0,
    ie: float = 0.0,
    bpl: float = 4.3,
    ppl: float = 0.0,
    burst_r: float = 1.0,
    nc: float = -70.0,
    nfor: float = -64.0,
    ps: float = 35.0,
    pr: float = 35.0,
    a: float = 0.0,
    st: float = 1.0,
    mt: float = 100.0,
) -> Rating:
    """The transmission rating. LSTR is STMR + Dr unless given; `st`, `mt`: sensitivity to delay."""
    olr = slr + rlr
    if lstr is None:
        lstr = stmr + dr
    no = _noise(slr, rlr, olr, lstr, ds, ps, pr, nc, nfor)
    ro = 15 - 1.5 * (slr + no)  # (7-2)

    iolr = _too_loud(olr, no, rlr)
    ist = _sidetone(stmr, telr, t)
    iq = _quantizing(ro, qdu)

    return Rating(
        r=ro
        - (iolr + ist + iq)
        - ((idte := _talker_echo(t, telr, stmr, ist, no, rlr)) + (idle := _listener_echo(ro, wepl, tr)))
        - (idd := delay_impairment(ta, st=st, mt=mt))
        - (ie_eff := equipment_impairment(ie, bpl, ppl, burst_r))
        + a,
        ro=ro,
        iolr=iolr,
        ist=ist,
        iq=iq,
        idte=idte,
        idle=idle,
        idd=idd,
        ie_eff=ie_eff,
    )


def _noise(
    slr: float, rlr: float, olr: float, lstr: float, ds: float, ps: float, pr: float, nc: float, nfor: float
) -> float:
    """No: all noise sources as one level at the 0 dBr point (7-3 to 7-7)."""
    nos = ps - slr - ds - 100 + 0.004 * (ps - olr - ds - 14) ** 2
    pre = pr + 10 * log10(1 + 10 ** ((10 - lstr) / 10))
    nor = rlr - 121 + pre + 0.008 * (pre - 35) ** 2
    nfo = nfor + rlr
    return 10 * log10(10 ** (nc / 10) + 10 ** (nos / 10) + 10 ** (nor / 10) + 10 ** (nfo / 10))


def _too_loud(olr: float, no: float, rlr: float) -> float:
    """Iolr: too low an overall loudness rating (7-9, 7-10)."""
    x = (olr + 0.2 * (64 + no - rlr)) / 8
    return 20 * (_root(x, 8) - x)


def _sidetone(stmr: float, telr: float, t: float) -> float:
    """Ist: sidetone that is not optimal, early talker echo included (7-11, 7-12)."""
    stmro = -10 * log10(10 ** (-stmr / 10) + exp(-t / 4) * 10 ** (-telr / 10))
    return (
        12 * _root((stmro - 13) / 6, 8)
        - 28 * _root((stmro + 1) / 19.4, 35)
        - 13 * _root((stmro - 3) / 33, 13)
        + 29
    )


def _root(x: float, n: int) -> float:
    # An odd power of a very negative x would leave the reals: the curve is flat there.
    return float(max(0.0, 1 + x**n) ** (1 / n))


def _quantizing(ro: float, qdu: float) -> float:
    """Iq: quantizing distortion (7-13 to 7-17)."""
    q = 37 - 15 * log10(qdu)
    g = 1.07 + 0.258 * q + 0.0602 * q * q
    y = (ro - 100) / 15 + 46 / 8.4 - g / 9
    z = 46 / 30 - g / 40
    return 15 * log10(1 + 10**y + 10**z)


def _talker_echo(t: float, telr: float, stmr: float, ist: float, no: float, rlr: float) -> float:
    """Idte (7-19 to 7-22); sidetone masks echo below 9 dB and adds to it above 20 dB."""
    if t < 1:
        return 0.0
    terv = telr - 40 * log10((1 + t / 10) / (1 + t / 150)) + 6 * exp(-0.3 * t * t)
    if stmr < 9:
        terv += ist / 2
    half = (-1.5 * (no - rlr) - (80 + 2.5 * (terv - 14))) / 2
    idte = (half + sqrt(half * half + 100) - 1) * (1 - exp(-t))
    return sqrt(idte * idte + ist * ist) if stmr > 20 else idte


def _listener_echo(ro: float, wepl: float, tr: float) -> float:
    """Idle (7-25, 7-26)."""
    half = (ro - 10.5 * (wepl + 7) * (tr + 1) ** -0.25) / 2
    return float(half + sqrt(half * half + 169))


def delay_impairment(ta: float, *, st: float = 1.0, mt: float = 100.0) -> float:
    """Idd: what an absolute one-way delay costs in itself (7-27, 7-28)."""
    if ta <= mt:
        return 0.0
    x = log10(ta / mt) / log10(2)
    n = 6 * st
    return float(25 * ((1 + x**n) ** (1 / n) - 3 * (1 + (x / 3) ** n) ** (1 / n) + 2))


def equipment_impairment(ie: float, bpl: float, ppl: float, burst_r: float = 1.0) -> float:
    """Ie,eff: the codec under packet loss (7-29)."""
    return ie + (95 - ie) * ppl / (ppl / burst_r + bpl) if ppl else ie


def r_factor(**parameters: float) -> float:
    """R alone; the parameters are those of `rating`."""
    return rating(**parameters).r


def call_r_factor(
    profile: CodecProfile, *, ta_ms: float, loss_ratio: float, burst_ratio: float = 1.0
) -> float:
    """R of a digital call without echo (T = Tr = 0): only delay, loss and codec differ from the defaults."""
    lossy = equipment_impairment(profile.ie, profile.bpl, 100 * loss_ratio, burst_ratio)
    return _R_AT_DEFAULTS - delay_impairment(ta_ms) - lossy


_R_AT_DEFAULTS = rating().r


def mos(r: float) -> float:
    """Annex B, never below 1: the cubic itself dips under 1 for R between 0 and 6.5."""
    if r <= 0:
        return 1.0
    if r >= 100:
        return 4.5
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6)


def burst_ratio(bad: int, bursts: int, expected: int) -> float:
    """BurstR: mean length of the loss bursts seen over the mean that random loss of the same rate would give.

    Random loss of probability p has bursts of mean length 1/(1-p). Never below 1: losses spread more evenly
    than chance are as good as random ones.
    """
    if not bursts or bad >= expected:
        return 1.0
    return max(1.0, bad / bursts * (1 - bad / expected))
