"""The toy project is not a part of ours: test_foreign_project.py runs its tests."""

from __future__ import annotations

import signal

collect_ignore = ["foreign_project"]

# Whoever starts the tests in the background has them ignore Ctrl-C, and every program that they start as well; what
# Ctrl-C does is tested, so it is given back.
signal.signal(signal.SIGINT, signal.default_int_handler)
