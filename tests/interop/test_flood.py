"""Strangers send handshake initiations, from addresses that they need not own."""

import base64
import json
import sys

import pytest

from tests.benchmarks.arena import resident_kb
from tests.interop.conftest import LISTEN
from tests.interop.peers import TRAFFIC

pytestmark = pytest.mark.interop
SOURCES = "198.18.0.0/15"  # RFC 2544: benchmarking
COOKIE = "3"
RATE = 20_000
NO_PAUSE = 0


@pytest.fixture
def flood(world, pair):
    """Floods the hub from a namespace that can be reached under every address it uses."""
    alice, _ = pair
    mallory = world.outside("mallory")
    mallory.ip("route", "add", "local", SOURCES, "dev", "lo")
    world.middle.ip("route", "add", SOURCES, "via", world.address_of("mallory"))
    public = base64.b64decode(alice.config.peer_key).hex()

    def run(rate, seconds, valid):
        arguments = (LISTEN[0], str(LISTEN[1]), public, str(rate), str(seconds), str(valid))
        return json.loads(mallory.run(sys.executable, TRAFFIC, "flood", *arguments))

    return run


def test_live_traffic_survives_garbage_and_then_valid_mac1(world, pair, flood):
    alice, bob = pair
    bob.echo(bob.config.v4, 7)
    alice.ping(bob.config.v4)
    before = resident_kb(world.hub.process.pid)
    flow = alice.flow(bob.config.v4, 7, rate=100, seconds=5)
    garbage = flood(RATE, 1.5, valid=0)
    convincing = flood(RATE, 1.5, valid=1)
    live = json.loads(flow.result(15))

    assert garbage["sent"] + convincing["sent"] > RATE
    assert garbage["answers"] == {}, "without a right mac1 nobody learns that somebody listens"
    assert set(convincing["answers"]) <= {COOKIE}
    assert convincing["bytes_in"] < convincing["bytes_out"]
    assert live["sent"] > 450
    assert len(live["lost"]) <= live["sent"] // 100
    assert resident_kb(world.hub.process.pid) - before < world.hub.flood_memory_kb


def test_more_than_the_hub_can_compute_is_asked_for_cookies(pair, flood):
    """Cookies are an answer to overload, not to a rate: so here is as much as one core can send."""
    alice, bob = pair
    alice.ping(bob.config.v4)
    assert set(flood(NO_PAUSE, 1.5, valid=1)["answers"]) == {COOKIE}
    assert alice.ping(bob.config.v4)["received"] == 5
