"""The lines that `poplab connector` prints, typed in where it says: a LAN with a router, a host and the connector."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from connectors.deployment import Mode
from tests.interop.conftest import LISTEN, Star
from tests.interop.enrolled import EnrolledPop
from tests.interop.namespaces import Lab, missing
from tests.interop.test_daemons import POPLAB, End, traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.interop.namespaces import Namespace

pytestmark = pytest.mark.interop

ROUTER, CONNECTOR, HOST = "10.0.50.1", "10.0.50.2", "10.0.50.7"


@pytest.fixture
def lab() -> Iterator[Lab]:
    if reason := missing():
        pytest.skip(reason)
    with Lab() as lab:
        yield lab


def wire(lab: Lab, router: Namespace, others: dict[str, Namespace]) -> None:
    """One Ethernet: the router's bridge `lan`, and `eth0` of the others."""
    router.ip("link", "add", "lan", "type", "bridge")
    router.ip("address", "add", f"{ROUTER}/24", "dev", "lan")
    router.ip("link", "set", "lan", "up")
    for number, (address, space) in enumerate(others.items()):
        port = f"p{number}-{lab.tag}"
        lab.root.ip("link", "add", port, "type", "veth", "peer", "name", f"e{port}")
        lab.root.ip("link", "set", port, "netns", str(router.holder))
        lab.root.ip("link", "set", f"e{port}", "netns", str(space.holder))
        router.ip("link", "set", port, "master", "lan", "up")
        space.ip("link", "set", f"e{port}", "name", "eth0")
        space.ip("address", "add", f"{address}/24", "dev", "eth0")
        space.ip("link", "set", "eth0", "up")


def test_the_lines_to_type_do_what_they_say(lab: Lab, tmp_path: Path):
    star = Star(lab, tmp_path)
    pop = EnrolledPop(star.middle, tmp_path, wireguard=f"{LISTEN[0]}:51820", masque=f"{LISTEN[0]}:443")
    file = tmp_path / "hq.yaml"
    file.write_text(pop.add_connector("hq", "--route", "10.0.50.0/24", "--for", "poplab"))
    file.chmod(0o600)
    config = pop.config
    config.write_text(config.read_text().replace("default: block", "default: allow"))
    connector, router, host = star.outside("hq"), lab.namespace("router"), lab.namespace("host")
    wire(lab, router, {CONNECTOR: connector, HOST: host})
    router.sysctl(ipv4__ip_forward=1)
    for space in (connector, router):
        space.sysctl(ipv4__conf__all__rp_filter=1)  # strict
    site = End(connector, (*POPLAB, "connector", str(file)), tmp_path / "hq.log")
    checks = [("--check", "--enable-forwarding", "--mode", mode.value) for mode in Mode]
    told = dict(zip(Mode, site.all_tried(checks), strict=True))
    pop.start()
    site.start("--enable-forwarding")
    for mode, (code, said) in told.items():
        commands = [line.split() for line in said.splitlines() if line.startswith("    ip ")]
        assert code == 0 and commands, said
        where = router if mode is Mode.INTERMEDIATE_GATEWAY else host
        host.ip("route", "add", "default", "via", ROUTER)
        for command in commands:
            where.run(*command)
        assert traffic(host, "ping", "100.96.0.1", "2")["received"] == 2, mode
        for space in (router, host):  # as before
            space.ip("route", "flush", "table", "main", "proto", "boot")
    assert site.stop() == 0
    assert site.state() == site.before
