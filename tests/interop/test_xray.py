"""Xray's userspace WireGuard client: no TUN device, no privilege, a TCP/IP stack of its own."""

import json
import sys

import pytest

from tests.interop.namespaces import wait_for
from tests.interop.peers import TRAFFIC, XRAY, xray_config, xray_door
from tests.interop.wgquick import parse

pytestmark = pytest.mark.interop
UDP_DOOR, HTTP_DOOR = 7007, 8008
GET = (
    f"import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:{HTTP_DOOR}/', timeout=8).status)"
)


@pytest.fixture(autouse=True)
def _xray():
    pytest.importorskip("xray", reason="pip install --require-hashes -r tests/interop/requirements.txt")


def test_udp_and_http_from_xray_to_a_wireguard_go_peer(world):
    bob, quick = world.peer("bob"), world.hub.add_client("xray")
    space = world.outside("xray")
    world.hub.start()
    bob.up()
    doors = [
        xray_door(UDP_DOOR, (bob.config.v4, 7), "udp"),
        xray_door(HTTP_DOOR, (bob.config.v4, 8080), "tcp"),
    ]
    config = world.directory / "xray.json"
    config.write_text(xray_config(doors, quick))
    client = space.start(sys.executable, "-c", XRAY, str(config), log=world.directory / "xray.log")
    echo = bob.echo(bob.config.v4, 7)
    web_log = world.directory / "web.log"
    bob.space.start(
        sys.executable,
        "-m",
        "http.server",
        "8080",
        "--bind",
        bob.config.v4,
        "--directory",
        str(world.directory),
        log=web_log,
    )
    wait_for(lambda: f":{HTTP_DOOR}" in space.run("ss", "-Htnl"), f"Xray to listen: {client.output()}")

    mine = parse(quick).v4
    arguments = ("flow", "127.0.0.1", str(UDP_DOOR), "50", "1", "1000")
    log = world.directory / "flow.log"
    flow = json.loads(space.start(sys.executable, TRAFFIC, *arguments, log=log, interactive=True).result(15))
    assert flow["sent"] > 25
    assert (flow["lost"], flow["seen_as"]) == ([], [mine])
    assert set(json.loads(echo.finish(10))["sources"]) == {mine}
    assert space.run(sys.executable, "-c", GET).strip() == "200"
    assert web_log.read_text().count(f"{mine} - - ") == 1
