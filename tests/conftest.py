"""The toy project is not a part of ours: test_foreign_project.py runs its tests."""

from __future__ import annotations

import signal

collect_ignore = ["foreign_project"]

# Whoever starts the tests in the background, or by nohup(1), has them ignore Ctrl-C or a hangup, and every program that
# they start as well; what these do is tested, so they are given back.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
