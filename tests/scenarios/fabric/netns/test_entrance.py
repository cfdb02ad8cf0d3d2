"""The words that lead to a machine suit whoever has started the process that holds it."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from tests.scenarios.fabric.netns.killing import ROOT
from tests.scenarios.fabric.netns.needs import needs

pytestmark = [
    needs("netns", "user-namespace", "unshare", "ip"),
    pytest.mark.skipif(not shutil.which("nsenter"), reason="needs nsenter"),
]

THERE = """
import subprocess
from scenarios.fabric.netns.entrance import entrance
from scenarios.fabric.netns.namespace import Namespace, become_privileged
become_privileged()
there = Namespace("there")
words = entrance(there)
print(words, flush=True)
subprocess.run([*words.split(), "ip", "-brief", "link"], check=True)
"""


@pytest.mark.parametrize("within", [(), ("unshare", "--user", "--map-root-user", "--net", "--mount")])
def test_who_shares_our_user_namespace_need_not_go_in_first(within: tuple[str, ...]) -> None:
    """So it is for root, and in a shell that lives in a user namespace itself."""
    done = subprocess.run(
        [*within, "sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, THERE],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
    )  # fmt: skip
    words, *links = done.stdout.splitlines()
    assert words.startswith("nsenter --net=/proc/"), done.stderr
    assert [line.split()[0] for line in links] == ["lo"], done.stderr
