"""Work that takes too long ends, and a limit leaves nothing behind."""

from __future__ import annotations

import re
import signal
import threading

import pytest

from scenarios.runner.cpu_limit import Overrun, limited


def test_work_that_ends_in_time_has_its_result_and_its_errors() -> None:
    assert limited(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        limited(lambda: 1 // 0)


def test_a_search_that_takes_too_long_is_an_overrun() -> None:
    with pytest.raises(Overrun):
        limited(lambda: re.search("(a+)+$", "a" * 40 + "!"), 0.05)


def test_nothing_rings_afterwards() -> None:
    limited(lambda: 7, 0.01)
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_whoever_uses_that_signal_has_it_again() -> None:
    def mine(number: int, frame: object) -> None:
        """Somebody else's."""

    before = signal.signal(signal.SIGVTALRM, mine)
    try:
        limited(lambda: 7)
        assert signal.getsignal(signal.SIGVTALRM) is mine
    finally:
        signal.signal(signal.SIGVTALRM, before)


def test_in_another_thread_there_is_no_limit() -> None:
    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(limited(lambda: 7)))
    thread.start()
    thread.join()
    assert results == [7]
