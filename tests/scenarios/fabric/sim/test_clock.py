"""Virtual time under trio, and an order of tasks that depends on a seed only."""

from __future__ import annotations

import subprocess
import sys

import pytest
import trio

from scenarios.fabric.sim.clock import VirtualClock, next_deadline, seeded_scheduler

ORDER = """
import trio
from scenarios.fabric.sim.clock import VirtualClock, seeded_scheduler
junk = [object() for _ in range({junk})]
seen = []
async def one(name):
    await trio.sleep(1.0)
    seen.append(name)
async def main(clock):
    async with trio.open_nursery() as nursery:
        for name in range(20):
            nursery.start_soon(one, name)
        await trio.testing.wait_all_tasks_blocked()
        clock.now = 1.0
with seeded_scheduler({seed}):
    clock = VirtualClock()
    trio.run(main, clock, clock=clock)
print(seen)
"""


def order(seed: int, junk: int) -> str:
    code = "import trio.testing" + ORDER.format(seed=seed, junk=junk)
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_tasks_that_wake_at_one_moment_run_in_the_order_of_the_seed_in_every_process() -> None:
    orders = {order(7, junk) for junk in (0, 1000, 50_000)}  # another heap layout must not matter
    assert len(orders) == 1
    assert order(8, 0) not in orders


def test_the_private_names_of_trio_that_this_needs_are_still_there() -> None:
    scheduler = trio._core._run
    assert isinstance(scheduler._ALLOW_DETERMINISTIC_SCHEDULING, bool)
    before = scheduler._r.getstate()
    with seeded_scheduler(1):
        assert scheduler._ALLOW_DETERMINISTIC_SCHEDULING is True
        scheduler._r.random()
    assert scheduler._r.getstate() == before, "others get their own back"


def test_time_stands_still_until_it_is_moved() -> None:
    clock = VirtualClock()

    async def main() -> None:
        assert trio.current_time() == 0.0
        assert next_deadline() == float("inf")
        with trio.move_on_after(3600.0):
            assert next_deadline() == 3600.0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                await trio.testing.wait_all_tasks_blocked()
                clock.now = 3600.0
        assert trio.current_time() == 3600.0

    trio.run(main, clock=clock)


@pytest.mark.parametrize("until", [0.1 + 0.2, 1e9 + 0.1])
def test_deadlines_are_met_to_the_float(until: float) -> None:
    clock = VirtualClock()

    async def main() -> None:
        with trio.CancelScope(deadline=until) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                while not scope.cancel_called:
                    clock.now = next_deadline()
                    await trio.testing.wait_all_tasks_blocked()
        assert scope.cancelled_caught

    trio.run(main, clock=clock)
