"""`poplab client` on paths that are not as paths should be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.interop.enrolled import EnrolledPop
from tests.interop.namespaces import Lab, missing
from tests.interop.test_daemons import POPLAB, End, traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.namespaces import Namespace

pytestmark = pytest.mark.interop

LARGE = "1380"  # octets of a ping, which make more than 1400 with what the tunnel adds


@pytest.fixture
def lab() -> Iterator[Lab]:
    if reason := missing():
        pytest.skip(reason)
    with Lab() as lab:
        yield lab


def far_end(pop: EnrolledPop, space: Namespace, directory: Path) -> End:
    file = directory / "alice.yaml"
    file.write_text(pop.add_client("alice", "--for", "poplab"))
    file.chmod(0o600)
    return End(space, (*POPLAB, "client", str(file)), directory / "alice.log")


def test_where_no_icmp_error_comes_back_what_is_too_large_still_gets_through(lab: Lab, tmp_path: Path):
    middle, router, home = (lab.namespace(name) for name in ("middle", "router", "home"))
    lab.join(router, "198.51.100.1/30", middle, "198.51.100.2/30")
    lab.join(router, "203.0.113.1/30", home, "203.0.113.2/30")
    middle.ip("route", "add", "default", "via", "198.51.100.1")
    home.ip("route", "add", "default", "via", "203.0.113.1")
    router.sysctl(ipv4__ip_forward=1)
    router.ip("rule", "add", "pref", "1", "ipproto", "icmp", "blackhole")
    for network in ("198.51.100.0/30", "203.0.113.0/30"):
        device = router.ip("route", "show", network).split("dev ")[1].split()[0]
        router.ip("route", "replace", network, "dev", device, "mtu", "lock", "1400")
    pop = EnrolledPop(middle, tmp_path, wireguard="198.51.100.2:51820", masque="198.51.100.2:443")
    alice = far_end(pop, home, tmp_path)
    pop.start()
    alice.start()
    assert " 3 received" in home.run(
        "ping", "-c", "3", "-i", "0.2", "-W", "2", "-s", LARGE, "100.96.0.1", check=False
    )
    assert alice.stop() == 0


def test_a_pop_by_ipv6_alone_carries_everything_of_both_versions(lab: Lab, tmp_path: Path):
    middle, home = lab.namespace("middle"), lab.namespace("home")
    for space in (middle, home):
        space.sysctl(ipv6__conf__default__accept_dad=0)  # else addresses are usable after two seconds
    lab.join(middle, "2001:db8::1/64", home, "2001:db8::2/64")
    home.ip("-6", "route", "add", "default", "via", "2001:db8::1")
    home.ip("route", "add", "default", "dev", "lo")
    pop = EnrolledPop(middle, tmp_path, wireguard="[2001:db8::1]:51820", masque="[2001:db8::1]:443")
    alice = far_end(pop, home, tmp_path)
    pop.start()
    alice.start("--include", "0.0.0.0/0", "--include", "::/0")
    assert traffic(home, "ping", "100.96.0.1", "2")["received"] == 2
    assert "dev poplab0" in home.ip("route", "get", "192.0.2.9")
    assert "dev poplab0" in home.ip("-6", "route", "get", "2001:db8:9::9")
    assert "dev poplab0" not in home.ip("-6", "route", "get", "2001:db8::1")
    assert alice.stop() == 0
    assert alice.state() == alice.before
