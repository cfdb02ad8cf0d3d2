"""How an attempt speaks with the kernel, and what becomes of one that is refused."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scenarios import doctor
from scenarios.doctor import Machine
from scenarios.doctor.trial.netlink import attribute, attributes, nested

ROOT = Path(__file__).parents[3]
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def test_attributes_are_padded_and_found_again() -> None:
    body = bytes(12) + attribute(3, "eth0") + attribute(6, 7) + nested(18, attribute(1, b"\x11"))
    assert len(body) % 4 == 0
    found = attributes(body, 12)
    assert found[3] == b"eth0\0" and int.from_bytes(found[6], sys.byteorder) == 7
    assert attributes(found[18], 0) == {1: b"\x11"}


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_message_that_is_cut_short_ends_the_search(cut: int) -> None:
    attributes((attribute(3, "eth0") + attribute(6, 7))[:-cut], 0)
    assert attributes(bytes(8), 0) == {}


@linux
def test_an_attempt_does_not_need_what_poplab_is_installed_with() -> None:
    """It starts fast, and works for a user who cannot read the virtual environment."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import scenarios.doctor.trial\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('trio', 'click', 'rich', 'edge')])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout.strip() == "[]"


@linux
def test_a_refused_attempt_has_the_kernels_number_and_words() -> None:
    """Without the right to make a network namespace, one is tried inside a user namespace: the last word counts."""
    if os.geteuid() or doctor.missing("network-namespace", "setpriv", "unshare"):
        pytest.skip("needs root, setpriv and unshare, to make a place without rights")
    # The limit of a user namespace is its own: that of the machine stays what it is.
    inner = (
        f"import json, sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "open('/proc/sys/user/max_user_namespaces', 'w').write('0')\n"
        "open('/proc/sys/user/max_net_namespaces', 'w').write('0')\n"
        "from scenarios.doctor import Machine\n"
        "found = Machine().attempt(['network-namespace', 'veth'])\n"
        "print([[a.state, a.errno, a.step] for a in found.values()])"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", inner],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    step = "unshare(CLONE_NEWUSER)"
    assert done.stdout.strip() == str([["no", errno.ENOSPC, step], ["untried", errno.ENOSPC, step]])
    assert Machine().attempt(["network-namespace"])["network-namespace"].state == "yes"
