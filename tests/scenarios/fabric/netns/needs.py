"""What tests of the kernel's machines need, and the reason where it is absent."""

from __future__ import annotations

import os
import sys

import pytest

from scenarios import doctor

_NAMES = (
    "network-namespace",
    "mount-namespace",
    "pid-namespace",
    "raw-sockets",
    "packet-sockets",
    "pyroute2",
)


def missing(*names: str) -> str:
    """Why there are no machines here, or the empty string."""
    if sys.platform != "linux":
        return "needs Linux"
    lacking = doctor.missing(*_NAMES, *names)
    if lacking:
        return lacking[0].sentence
    if os.geteuid():
        return "the test process makes namespaces itself: needs root, or to be run by `unshare --user --map-root-user`"
    return ""


def needs(*names: str) -> pytest.MarkDecorator:
    """Skips what needs namespaces, and these findings of the doctor."""
    reason = missing(*names)
    return pytest.mark.skipif(bool(reason), reason=reason)
