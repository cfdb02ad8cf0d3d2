"""`poplab client` with `tunnel: auto` in networks that let ever less through, and more again."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edge.config import public_key
from tests.interop.conftest import LISTEN, Star
from tests.interop.enrolled import EnrolledPop
from tests.interop.namespaces import Lab, missing, wait_for
from tests.interop.test_daemons import POPLAB, End, traffic

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.interop

PATIENCE = 60.0  # seconds; a way has two until the next is begun, and a better one is tried every 15


@pytest.fixture
def star(tmp_path: Path) -> Iterator[Star]:
    if reason := missing():
        pytest.skip(reason)
    with Lab() as lab:
        yield Star(lab, tmp_path)


def enrol_by_both(pop: EnrolledPop, directory: Path) -> Path:
    """As docs/edge.md says, "By both"; returns the client's file."""
    file = yaml.safe_load(pop.add_client("dora", "--tunnel", "masque"))
    other = yaml.safe_load(pop.add_client("other", "--for", "poplab"))
    private = X25519PrivateKey.generate().private_bytes_raw()
    at_pop = pop.config.parent / "tunnels.d" / "dora.yaml"
    theirs = at_pop.read_text().replace("tunnel: masque", "tunnel: auto")
    at_pop.write_text(f'{theirs}\npublic_key: "{base64.b64encode(public_key(private)).decode()}"\n')
    file["tunnel"] = "auto"
    file["wireguard"] = {
        "server": other["wireguard"]["server"],
        "public_key": other["wireguard"]["public_key"],
        "private_key": base64.b64encode(private).decode(),
    }
    mine = directory / "dora.yaml"
    mine.write_text(yaml.safe_dump(file))
    mine.chmod(0o600)
    return mine


def test_the_best_way_that_the_network_lets_through_is_taken(star: Star, tmp_path: Path):
    pop = EnrolledPop(star.middle, tmp_path, wireguard=f"{LISTEN[0]}:51820", masque=f"{LISTEN[0]}:443")
    home = End(
        star.outside("dora"), (*POPLAB, "client", str(enrol_by_both(pop, tmp_path))), tmp_path / "dora.log"
    )
    pop.start()

    def answers(verb: str, protocol: str) -> None:
        """Whether what the PoP says from port 443 by that protocol gets lost."""
        star.middle.ip("rule", verb, "pref", "5", "ipproto", protocol, "sport", "443", "blackhole")

    def takes(way: str) -> None:
        wait_for(lambda: f"way={way}" in home.process.output(), f"the way by {way}", timeout=PATIENCE)
        assert traffic(home.space, "ping", "100.96.0.1", "2")["received"] == 2

    answers("add", "udp")
    home.start()
    takes("h2")
    assert 'way=h2 instead_of="h3: no answer in time"' in home.process.output()
    answers("add", "tcp")
    takes("wireguard")
    assert re.search(r'way=wireguard instead_of="h3: .*; h2: ', home.process.output())
    answers("del", "tcp")
    answers("del", "udp")
    takes("h3")
    assert "way=h3\n" in home.process.output()
    assert home.stop() == 0
    assert home.state() == home.before
