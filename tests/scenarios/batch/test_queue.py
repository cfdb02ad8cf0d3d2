"""Which runs may share the machine: virtual time never notices, real clocks do."""

from __future__ import annotations

import pytest

from scenarios.batch import Job
from scenarios.batch.queue import Queue
from scenarios.fabric import FABRICS, Fabric
from scenarios.runner import check

TEXT = """\
version: 1
name: NAME
vnets: {acme: {}}
topology: {clients: {alice: {vnet: acme}, bob: {vnet: acme, app: {udp.echo: {}}}}}
policy: [{id: all, action: allow}]
steps: [{wait: {tunnels: up}}]
"""
LOAD = "load: {asks: {actor: alice, do: {udp.send: {from: alice, to: bob}}, stages: [{to: 1/s, over: 1s}]}}\n"
LATENCY = 'thresholds: {"ping.rtt": ["p(95) < 20ms"]}\n'
COUNTS = 'thresholds: {"edge.flows": ["max < 100"], "rtp.mos": ["avg > 4"]}\n'

SIM, REAL = FABRICS["sim"], FABRICS["loopback"]


def job(fabric: Fabric | None, more: str = "") -> Job:
    (script,) = check(TEXT + more)
    return Job(script, fabric, 7, "poplab run")


def starts(queue: Queue, running: list[int]) -> list[int]:
    """What may begin beside `running`; it joins them."""
    begun = []
    while (index := queue.take(running)) is not None:
        running.append(index)
        begun.append(index)
    return begun


def test_virtual_time_takes_all_cores() -> None:
    queue = Queue([job(SIM), job(SIM, LOAD), job(SIM, LATENCY), job(SIM)], cores=3)
    running: list[int] = []
    assert starts(queue, running) == [0, 1, 2]
    running.remove(1)
    assert starts(queue, running) == [3]
    assert not queue


@pytest.mark.parametrize(("cores", "at_once"), [(1, 1), (2, 1), (3, 1), (4, 2), (9, 4)])
def test_real_clocks_take_half_of_the_cores(cores: int, at_once: int) -> None:
    queue = Queue([job(REAL, COUNTS)] * 10, cores=cores)
    running: list[int] = []
    assert starts(queue, running) == list(range(at_once))
    running.remove(0)
    assert starts(queue, running) == [at_once]


def test_the_other_half_is_for_virtual_time() -> None:
    queue = Queue([job(REAL), job(REAL), job(REAL), job(SIM), job(SIM), job(SIM)], cores=4)
    running: list[int] = []
    assert starts(queue, running) == [0, 1, 3, 4]
    running.remove(3)
    assert starts(queue, running) == [5]
    running.remove(4)
    assert starts(queue, running) == []
    running.remove(0)
    assert starts(queue, running) == [2]


@pytest.mark.parametrize("more", [LOAD, LATENCY])
def test_what_measures_the_machine_has_it_to_itself_when_the_others_are_through(more: str) -> None:
    queue = Queue([job(REAL, more), job(REAL), job(SIM), job(REAL, more), job(SIM)], cores=8)
    running: list[int] = []
    assert starts(queue, running) == [1, 2, 4]
    del running[:2]
    assert starts(queue, running) == [], "one is still there"
    running.clear()
    assert starts(queue, running) == [0]
    running.clear()
    assert starts(queue, running) == [3]
    assert not queue


def test_who_says_how_many_gets_them() -> None:
    queue = Queue([job(REAL, LOAD), job(REAL, LATENCY), job(REAL), job(SIM)], cores=2, at_once=3)
    assert starts(queue, []) == [0, 1, 2]


def test_what_is_skipped_needs_no_room() -> None:
    queue = Queue([job(REAL), job(None), job(REAL)], cores=2)
    running = [queue.take([])]
    assert running == [0]
    assert queue.take([0]) == 1
    assert queue.take([0]) is None


def test_what_waits_can_be_given_up() -> None:
    queue = Queue([job(REAL), job(REAL), job(REAL, LOAD)], cores=2)
    assert queue.take([]) == 0
    assert queue.empty() == [1, 2]
    assert not queue
    assert queue.take([]) is None


def test_a_run_on_a_real_clock_that_is_compared_is_alone_after_all_others() -> None:
    both = ("sim", "loopback")
    queue = Queue([job(each)._replace(beside=both) for each in (SIM, REAL, SIM, REAL)], cores=9)
    running: list[int] = []
    assert starts(queue, running) == [0, 2]
    running.clear()
    assert starts(queue, running) == [1]
    running.clear()
    assert starts(queue, running) == [3]
