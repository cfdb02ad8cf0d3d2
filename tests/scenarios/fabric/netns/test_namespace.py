"""Namespaces held by descriptor: entering, leaving, and being gone."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from scenarios.fabric.netns.namespace import Namespace
from tests.scenarios.fabric.netns.needs import needs

pytestmark = needs()

ROOT = Path(__file__).parents[4]


def here() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def interfaces() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def test_what_is_done_inside_happens_there_and_the_thread_comes_back() -> None:
    home, outside = here(), interfaces()
    space = Namespace("there")
    assert here() == home
    with space.inside():
        assert here() != home
        assert interfaces() == ["lo"]
    assert here() == home and interfaces() == outside
    space.close()


def test_an_exception_inside_leads_home() -> None:
    home, space = here(), Namespace("there")
    with pytest.raises(ZeroDivisionError), space.inside():
        raise ZeroDivisionError
    assert here() == home
    space.close()


def test_one_inside_another() -> None:
    home, one, other = here(), Namespace("one"), Namespace("other")
    with one.inside():
        first = here()
        with other.inside():
            assert here() not in (home, first)
        assert here() == first
    assert here() == home
    one.close()
    other.close()


def test_a_socket_stays_where_it_was_opened() -> None:
    space = Namespace("there")
    with space.inside():
        sock = socket.socket()
    with sock, pytest.raises(OSError, match="unreachable"):
        sock.connect(("192.0.2.2", 9))
    space.close()


def test_closing_closes_every_file_and_may_be_repeated() -> None:
    before = os.listdir("/proc/self/fd")
    space = Namespace("there")
    space.sysctl("ipv4/ip_forward", 1)
    space.close()
    space.close()
    assert os.listdir("/proc/self/fd") == before


def test_settings_are_those_of_the_namespace_and_unknown_ones_are_left_out() -> None:
    def forwards() -> str:
        return Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()

    before, space = forwards(), Namespace("there")
    space.sysctls({"ipv4/ip_forward": 1, "ipv4/no_such_setting": 1, "ipv6/conf/none/disable_ipv6": 1})
    with space.inside():
        assert forwards() == "1"
    space.sysctl("ipv4/ip_forward", 0)
    with space.inside():
        assert forwards() == "0"
    assert forwards() == before
    space.close()


def test_it_is_gone_when_nobody_holds_it() -> None:
    space = Namespace("there")
    with space.inside():
        name = here()
    space.close()
    assert name not in held()


def held() -> set[str]:
    """Network namespaces that some process is in or has open."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.add(os.readlink(entry / "ns/net"))
                found |= {os.readlink(file) for file in (entry / "fd").iterdir()}
            except OSError:
                continue
    return {name for name in found if name.startswith("net:")}


# -- becoming privileged, each in a process of its own

BECOME = (
    "import sys; sys.path.insert(0, sys.argv[1])\n"
    "from edge.errors import FabricUnavailable\n"
    "from scenarios.fabric.netns.namespace import Namespace, become_privileged\n"
    "try:\n"
    "    become_privileged(); become_privileged(); Namespace('x'); print('fine')\n"
    "except FabricUnavailable as error: print(error)\n"
)


def become(*before: str) -> str:
    done = subprocess.run(
        [*before, sys.executable, "-c", BECOME, str(ROOT)], capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert not done.returncode, done.stderr
    return done.stdout


def test_in_a_user_namespace_it_may_do_it_too() -> None:
    assert become("unshare", "--user", "--map-root-user") == "fine\n"


def test_root_that_has_lost_the_right_gets_it_in_a_user_namespace() -> None:
    assert become("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin") == "fine\n"


def test_where_there_may_be_no_namespaces_it_says_why_and_what_helps() -> None:
    script = 'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"'
    said = become("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    assert "fix: " in said and "max_net_namespaces" in said
    assert "Traceback" not in said


def test_a_user_who_may_make_none_is_told_so() -> None:
    script = (
        "echo 0 > /proc/sys/user/max_user_namespaces && "
        'exec setpriv --bounding-set -sys_admin --inh-caps -sys_admin "$@"'
    )
    said = become("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")
    assert "fix: " in said and "max_user_namespaces" in said
