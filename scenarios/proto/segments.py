"""A call whose codec changes is heard in segments, each by a session of its own; what is said of it is of all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from scenarios.proto.judgement import (
    ONE_WAY_AFTER,
    SHORTEST_JUDGED,
    SILENT_AFTER,
    DirectionQuality,
    WindowQuality,
)
from scenarios.proto.quality import mos

MAX_WINDOWS = 4096
"""The last ones of a call; eleven hours of one that keeps its codec. A peer may change it whenever it likes."""


def joined(before: DirectionQuality, later: DirectionQuality, at: float) -> DirectionQuality:
    """One verdict on two segments in a row; `later` begins `at` seconds after `before`, and windows go on from there.

    Counts are added; R, delay and burst ratio are means over the packets expected, jitter over those received.
    A silence that lasts from one into the other is one gap.
    """
    expected = before.expected + later.expected
    received = before.received + later.received
    lost = before.lost + later.lost
    across = before.silence_s + later.waited_s if later.waited_s else 0.0
    died = (before.one_way or later.one_way) and across >= (
        ONE_WAY_AFTER if before.received else SILENT_AFTER
    )
    r = _mean(before.r_factor, before.expected, later.r_factor, later.expected)
    windows = tuple(_continued(before.windows, later.windows, at))[-MAX_WINDOWS:]
    return replace(
        later,
        received=received,
        expected=expected,
        lost=lost,
        silent=before.silent + later.silent,
        late=before.late + later.late,
        loss_ratio=lost / expected if expected else 0.0,
        duplicates=before.duplicates + later.duplicates,
        reordered=before.reordered + later.reordered,
        jitter_s=_mean(before.jitter_s, before.received, later.jitter_s, later.received) or 0.0,
        jitter_max_s=max(before.jitter_max_s, later.jitter_max_s),
        gap_max_s=max(before.gap_max_s, later.gap_max_s, across if before.received else 0.0),
        start_delay_s=_first(
            before.start_delay_s, None if later.start_delay_s is None else at + later.start_delay_s
        ),
        waited_s=before.waited_s if before.received else before.waited_s + later.waited_s,
        silence_s=later.silence_s if later.received else across,
        one_way=later.one_way if later.received else died,
        ssrc_changes=before.ssrc_changes + later.ssrc_changes,
        restarts=before.restarts + later.restarts,
        burst_ratio=_mean(before.burst_ratio, before.expected, later.burst_ratio, later.expected) or 1.0,
        rtt_s=_first(later.rtt_s, before.rtt_s),
        rtt_max_s=max((rtt for rtt in (before.rtt_max_s, later.rtt_max_s) if rtt is not None), default=None),
        delay_s=_mean(before.delay_s, before.expected, later.delay_s, later.expected) or later.delay_s,
        r_factor=r,
        mos=None if r is None else mos(r),
        mos_min=_worst(windows),
        codec_profile=_named(before.codec_profile, later.codec_profile),
        remote=later.remote or before.remote,
        windows=windows,
    )


def _continued(
    before: tuple[WindowQuality, ...], later: tuple[WindowQuality, ...], at: float
) -> Iterator[WindowQuality]:
    yield from before
    for window in later:
        yield replace(window, start=at + window.start)


def _worst(windows: tuple[WindowQuality, ...]) -> float | None:
    """The lowest MOS of a window; one of a few packets, before a change or at the end, says nothing."""
    judged = [window for window in windows if window.length >= SHORTEST_JUDGED] or windows
    return min((window.mos for window in judged if window.mos is not None), default=None)


def _mean(one: float | None, weight: int, other: float | None, other_weight: int) -> float | None:
    """None is no value and weighs nothing."""
    weight = 0 if one is None else weight
    other_weight = 0 if other is None else other_weight
    if not weight + other_weight:
        return None
    return ((one or 0.0) * weight + (other or 0.0) * other_weight) / (weight + other_weight)


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _named(before: str, later: str) -> str:
    """Each profile once, in the order of their first use."""
    return ", ".join(dict.fromkeys([*before.split(", "), *later.split(", ")]))
