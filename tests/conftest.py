"""The toy project is not a part of ours: test_foreign_project.py runs its tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

collect_ignore = ["foreign_project"]

# Whoever starts the tests in the background, or by nohup(1), has them ignore Ctrl-C or a hangup, and every program that
# they start as well; what these do is tested, so they are given back.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def signals_that_come() -> Iterator[None]:
    """A command that is tested in this process may leave some blocked, as it would in one of its own, which then ends:
    programs that later tests start must not inherit that."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
