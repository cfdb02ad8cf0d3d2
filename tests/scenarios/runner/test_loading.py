"""When a load's arrivals are due, and what its stages ask for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.document import Duration
from scenarios.runner.loading import arrivals, rate_at
from scenarios.schema.language import LoadStage
from scenarios.schema.scalars import PerSecond


def stage(to: float, over: float) -> LoadStage:
    return LoadStage(to=PerSecond(to), over=Duration(over))


def test_a_steady_rate_is_evenly_spaced() -> None:
    assert list(arrivals(4.0, (stage(4.0, 1.0),))) == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_a_ramp_has_as_many_as_its_area() -> None:
    due = list(arrivals(0.0, (stage(10.0, 2.0),)))
    assert len(due) == 10
    assert due[0] == pytest.approx((2 * 1 / 5) ** 0.5)  # 5 t^2 / 2 = 1
    assert due[-1] == pytest.approx(2.0)


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0.1, 5)), min_size=1, max_size=5))
def test_arrivals_come_in_order_inside_their_stages_and_none_is_lost(
    given_stages: list[tuple[float, float]],
) -> None:
    stages = tuple(stage(to, over) for to, over in given_stages)
    due = list(arrivals(0.0, stages))
    assert due == sorted(due)
    assert all(0 <= at <= sum(s.over for s in stages) + 1e-6 for at in due)
    rates = [0.0, *(s.to for s in stages)]
    area = sum((a + b) / 2 * s.over for a, b, s in zip(rates, rates[1:], stages, strict=False))
    assert abs(len(due) - area) <= 1


def test_the_rate_moves_in_straight_lines_and_ends() -> None:
    stages = (stage(10.0, 2.0), stage(10.0, 3.0), stage(0.0, 1.0))
    assert [rate_at(0.0, stages, at) for at in (0.0, 1.0, 2.0, 4.0, 5.5, 7.0)] == [
        0.0,
        5.0,
        10.0,
        10.0,
        5.0,
        0.0,
    ]
