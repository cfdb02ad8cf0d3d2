"""The TUN port with a real kernel on the other side."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest

from tests.interop.namespaces import Lab, missing

NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")
OPEN = """
import sys
from connectors.tun import Tun
from edge.errors import PoplabError
try:
    Tun.open("probe0", mtu=1300)
except PoplabError as error:
    print(error.exit_code, error)
"""

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def probe() -> dict[str, Any]:
    if reason := missing():
        pytest.skip(reason)
    with Lab() as lab:
        return json.loads(lab.namespace("tun").run(sys.executable, "-m", "tests.interop.tun_probe"))


def test_packets_go_both_ways_whole_and_with_right_checksums(probe: dict[str, Any]):
    seen = probe["traffic"]
    assert seen["mtu"] == 1300 and seen["index"]
    assert seen["one"] and seen["got"]
    assert seen["many"] and seen["right"] and seen["sizes"] == [1028]
    assert seen["drops"] == 1  # what was no packet


def test_a_name_that_is_taken(probe: dict[str, Any]):
    for name in ("taken", "lo"):
        code, said = probe[name]
        assert code == 2 and f"ip -details link show {name}" in said
    assert probe["again"] == [0, ""]


@pytest.mark.parametrize(
    ("what", "words"),
    [("long", "at most 15 characters"), ("pattern", "cannot be the name"), ("mtu", "an MTU of 20 octets")],
)
def test_what_the_kernel_would_not_take(probe: dict[str, Any], what: str, words: str):
    code, said = probe[what]
    assert code == 2 and words in said and "fix: " in said


def test_a_device_that_was_deleted_says_so(probe: dict[str, Any]):
    code, said = probe["gone"]
    assert code == 3 and "was deleted" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_without_privilege_the_fix_is_named():
    if reason := missing():
        pytest.skip(reason)
    with Lab() as lab:
        said = lab.namespace("tun").run(*NOBODY, sys.executable, "-B", "-c", OPEN)
    assert said.startswith("3 ") and "fix: run as root" in said
