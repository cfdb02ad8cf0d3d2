"""Xray by MASQUE and wireguard-go by WireGuard in one virtual network: two stacks by other people meet in the PoP."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import pytest

from tests.interop.conftest import LISTEN, Star
from tests.interop.enrolled import EnrolledPop
from tests.interop.namespaces import wait_for
from tests.interop.peers import TRAFFIC, WireguardGoPeer, xray_door
from tests.interop.xray_proxy import XrayProxy

pytestmark = pytest.mark.interop

UDP_DOOR, HTTP_DOOR = 7007, 8008  # in a namespace of their own
GET = (
    "import hashlib, urllib.request as u;"
    f"print(hashlib.sha256(u.urlopen('http://127.0.0.1:{HTTP_DOOR}/page', timeout=10).read()).hexdigest())"
)
PAGE = bytes(range(256)) * 2000


@pytest.fixture(autouse=True)
def _xray() -> None:
    pytest.importorskip("xray", reason="pip install --require-hashes -r tests/interop/requirements.txt")


@pytest.mark.parametrize(("dialect", "http"), [("standard", "h3"), ("warp", "h2")])
def test_udp_and_tcp_under_true_addresses(star: Star, tmp_path: Path, dialect: str, http: str) -> None:
    pop = EnrolledPop(star.middle, tmp_path, wireguard=f"{LISTEN[0]}:{LISTEN[1]}", masque=f"{LISTEN[0]}:4433")
    bob = WireguardGoPeer(star.outside("bob"), tmp_path, pop.add_client("bob"))
    options = ("--tunnel", "masque", "--for", "xray", "--dialect", dialect)
    text = pop.add_client("alice", *options)
    pop.start()
    bob.up()
    echo = bob.echo(bob.config.v4, 7)
    web = tmp_path / "web"
    web.mkdir()
    (web / "page").write_bytes(PAGE)
    serve = ("-um", "http.server", "8080", "--bind", bob.config.v4, "--directory", str(web))
    server = bob.space.start(sys.executable, *serve, log=tmp_path / "web.log")
    wait_for(lambda: "Serving" in server.output(), "the web server")
    doors = [
        xray_door(UDP_DOOR, (bob.config.v4, 7), "udp"),
        xray_door(HTTP_DOOR, (bob.config.v4, 8080), "tcp"),
    ]
    alice = star.outside("alice")
    xray = XrayProxy(alice, tmp_path / "xray.log", text, alpn=http, doors=doors)
    wait_for(lambda: f":{HTTP_DOOR}" in alice.run("ss", "-Htnl"), f"Xray to listen: {xray.said}")

    mine = "100.96.0.3"  # the second that was enrolled
    arguments = ("flow", "127.0.0.1", str(UDP_DOOR), "100", "1", "1200")
    log = tmp_path / "flow.log"
    flow = json.loads(alice.start(sys.executable, TRAFFIC, *arguments, log=log, interactive=True).result(15))
    assert flow["sent"] > 50
    assert (flow["lost"], flow["duplicates"], flow["seen_as"]) == ([], 0, [mine])
    assert set(json.loads(echo.finish(10))["sources"]) == {mine}
    assert alice.run(sys.executable, "-c", GET).strip() == hashlib.sha256(PAGE).hexdigest()
    assert server.output().count(f"{mine} - - ") == 1

    now = pop.metrics()
    for tunnel in ("alice", "bob"):
        assert now("poplab_tunnel_up", tunnel=tunnel, kind="client") == 1
        for direction in ("in", "out"):
            assert now("poplab_tunnel_packets_total", tunnel=tunnel, direction=direction) > flow["sent"]
    assert now("poplab_tunnel_http", tunnel="alice", http=http) == now("poplab_tunnel_http") == 1
    assert now.unaccounted == now("poplab_dropped_packets_total") == 0
    (masque,) = pop.lines("tunnel-up", "tunnel=alice ")
    assert f"http={http} dialect={dialect}" in masque
    (wireguard,) = pop.lines("tunnel-up", "tunnel=bob ")
    assert "http=" not in wireguard
