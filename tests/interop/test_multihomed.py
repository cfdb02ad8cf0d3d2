"""A PoP that listens on all addresses of a machine that has several."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.interop.enrolled import EnrolledPop
from tests.interop.namespaces import Lab, missing
from tests.interop.test_daemons import POPLAB, End, traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.namespaces import Namespace

pytestmark = pytest.mark.interop

DIALLED, DIALLED6 = "203.0.113.1", "2001:db8:1::1"
PREFERRED, PREFERRED6 = "198.51.100.2", "2001:db8:2::2"  # by the route to whoever dials

BEGINNING = """
import json, socket, subprocess
from edge.io import dialled
from edge.io.udp import UdpPort

def ip(*words):
    subprocess.run(["ip", *words], check=True)

def add(address):
    ip("address", "replace", address, "dev", "lo", *(["nodad"] if ":" in address else []))

def bound(address):
    made = []
    def make(family, kind):
        made.append(socket.socket(family, kind))
        return made[-1]
    return UdpPort.bind((address, 0), reads=64, is_dialled=True, make_socket=make), made[0]
"""

DECISIONS = """
def decided():
    told = []
    for address in ("0.0.0.0", "::", "127.0.0.1"):
        port, sock = bound(address)
        told.append(dialled.tells(sock))
        port.close()
    return told

found = [decided()]
for address in ("203.0.113.1/32", "2001:db8:1::1/128", "2001:db8:1::2/128", "203.0.113.2/32"):
    add(address)
    found.append(decided())
print(json.dumps(found))
"""

VANISHING = """
found = []
for listen, gone, stays in (
    ("0.0.0.0", "203.0.113.1", "203.0.113.2"),
    ("::", "203.0.113.1", "203.0.113.2"),
    ("::", "2001:db8:1::1", "2001:db8:1::2"),
):
    for address in (gone, stays):
        add(address)
    port, _ = bound(listen)
    client = socket.socket(socket.AF_INET6 if ":" in stays else socket.AF_INET, socket.SOCK_DGRAM)
    client.bind((stays, 0))
    client.settimeout(2)

    def came(answers):
        port.send([(source, each) for each in answers])
        return sorted({client.recvfrom(9)[1][0] for each in answers for _ in each})

    for shape in ([[b"x"]], [[b"x"]] * 3, [[b"x"] * 3]):
        add(gone)
        client.sendto(b"?", (gone, port.address[1]))
        ((_, _, source),) = port.receive()
        found.append(came(shape))
        ip("address", "del", gone + ("/128" if ":" in gone else "/32"), "dev", "lo")
        found.append(came(shape))
    assert not port.drops, port.drops
print(json.dumps(found))
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    if reason := missing():
        pytest.skip(reason)
    with Lab() as lab:
        yield lab


def result(space: Namespace, program: str) -> Any:
    return json.loads(space.run(sys.executable, "-c", BEGINNING + program))


def test_it_costs_nothing_where_there_is_one_address_of_a_version(lab: Lab):
    alone, more4, more6 = [False, False, False], [True, True, False], [False, True, False]
    assert result(lab.root, DECISIONS) == [alone, alone, alone, more6, more4]


def test_where_the_dialled_address_is_gone_answers_leave_from_another(lab: Lab):
    one, two = ["203.0.113.1"], ["203.0.113.2"]
    mine = [one, two] * 3
    assert result(lab.root, VANISHING) == mine * 2 + [["2001:db8:1::1"], ["2001:db8:1::2"]] * 3


@pytest.mark.parametrize(
    ("listen", "address"), [("0.0.0.0", DIALLED), ("[::]", DIALLED), ("[::]", f"[{DIALLED6}]")]
)
def test_both_tunnels_come_up_by_an_address_that_the_route_does_not_prefer(
    lab: Lab, tmp_path: Path, listen: str, address: str
):
    middle, router, home = (lab.namespace(name) for name in ("middle", "router", "home"))
    for space in (middle, router, home):
        space.sysctl(ipv6__conf__default__accept_dad=0)  # else addresses are usable after two seconds
    lab.join(router, "198.51.100.1/30", middle, f"{PREFERRED}/30")
    lab.join(router, "198.51.100.5/30", home, "198.51.100.6/30")
    for space, near, far in ((middle, PREFERRED, PREFERRED6), (home, "198.51.100.6", "2001:db8:3::2")):
        gate, gate6 = (near[:-1] + str(int(near[-1]) - 1), far[:-1] + "1")
        for place, at, at6 in ((router, gate, gate6), (space, near, far)):
            device = next(
                line.split()[1] for line in place.ip("-o", "address").splitlines() if f" {at}/" in line
            )
            place.ip("address", "add", f"{at6}/64", "dev", device)
        space.ip("route", "add", "default", "via", gate)
        space.ip("-6", "route", "add", "default", "via", gate6)
    middle.ip("address", "add", f"{DIALLED}/32", "dev", "lo")
    middle.ip("address", "add", f"{DIALLED6}/128", "dev", "lo")
    router.ip("route", "add", DIALLED, "via", PREFERRED)
    router.ip("route", "add", DIALLED6, "via", PREFERRED6)
    router.sysctl(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
    # What a stateful firewall at home does with answers from where nobody has sent anything to.
    router.ip("rule", "add", "pref", "5", "from", PREFERRED, "ipproto", "udp", "blackhole")
    router.ip("-6", "rule", "add", "pref", "5", "from", PREFERRED6, "ipproto", "udp", "blackhole")
    assert f"src {PREFERRED} " in middle.ip("route", "get", "198.51.100.6")
    assert f"src {PREFERRED6} " in middle.ip("route", "get", "2001:db8:3::2")
    pop = EnrolledPop(middle, tmp_path, wireguard=f"{listen}:51820", masque=f"{listen}:443")
    ends = []
    for name, port, options in (("alice", 51820, ("--for", "poplab")), ("bob", 443, ("--tunnel", "masque"))):
        file = tmp_path / f"{name}.yaml"
        file.write_text(pop.add_client(name, "--endpoint", f"{address}:{port}", *options))
        file.chmod(0o600)
        ends.append(End(home, (*POPLAB, "client", str(file)), tmp_path / f"{name}.log"))
    pop.start()
    for end, way in zip(ends, ("", "way=h3"), strict=True):
        end.start()
        assert way in end.process.output().split("event=tunnel-up")[1].splitlines()[0]
        assert traffic(home, "ping", "100.96.0.1", "3")["received"] == 3
        assert end.stop() == 0
    pop.stop()
