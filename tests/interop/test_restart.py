"""The PoP is killed without warning and started again."""

import json
import signal
import sys
import time

import pytest

from tests.benchmarks.initiator import Initiator
from tests.interop.conftest import LISTEN
from tests.interop.peers import TRAFFIC

pytestmark = pytest.mark.interop


@pytest.fixture
def _keeps_state(world):
    if not world.hub.restores_sessions:
        pytest.skip("this hub keeps no state over a restart")


def ask(space, payload, seconds=1.5):
    """What the hub answers to one datagram from this namespace."""
    arguments = (LISTEN[0], str(LISTEN[1]), payload.hex(), str(seconds))
    return [
        bytes.fromhex(text)
        for text in json.loads(space.run(sys.executable, TRAFFIC, "ask", *arguments))["answers"]
    ]


@pytest.mark.usefixtures("_keeps_state")
def test_tunnels_forward_again_within_three_seconds(world, pair):
    """A standard peer alone would take 15 s to notice: the PoP has to call its peers back."""
    alice, bob = pair
    bob.echo(bob.config.v4, 7)
    flow = alice.flow(bob.config.v4, 7, rate=50, seconds=30)
    time.sleep(1.5)
    world.hub.stop(signal.SIGKILL)
    restarted = time.monotonic()
    world.hub.start()
    time.sleep(max(0.0, restarted + 4.0 - time.monotonic()))
    answer = json.loads(flow.finish(10))
    back = [at for at in answer["received_at"] if at > restarted]
    assert any(at < restarted for at in answer["received_at"]), "traffic flowed before"
    assert back, "traffic never flowed again"
    assert back[0] - restarted < 3.0
    sent_late = sum(at > restarted + 3.0 for at in answer["sent_at"])
    assert sum(n >= answer["sent"] - sent_late for n in answer["lost"]) == 0


@pytest.mark.usefixtures("_keeps_state")
def test_recorded_initiation_is_not_answered_after_a_restart(world):
    alice, carol = world.peer("alice"), world.peer("carol")
    mallory = world.outside("mallory")
    world.hub.start()
    capture = (sys.executable, TRAFFIC, "capture", str(LISTEN[1]), "1", "10")
    recorder = world.middle.start(*capture, log=world.directory / "capture.log", interactive=True)
    assert recorder.read_line() == "ready"
    alice.up()
    alice.set("peer", alice.config.peer_key, "persistent-keepalive", "1")
    recorded = bytes.fromhex(json.loads(recorder.result(12))["payload"])
    assert len(recorded) == 148
    time.sleep(0.5)
    assert int(alice.show("latest-handshakes")) > 0, "the hub took it the first time"
    alice.process.stop()

    assert ask(mallory, recorded) == []
    world.hub.stop(signal.SIGKILL)
    world.hub.start()
    assert ask(mallory, recorded) == []
    fresh = Initiator.from_base64(carol.config.private_key, carol.config.peer_key)
    answers = ask(mallory, fresh.initiation(time.time()))
    assert [answer[0] for answer in answers][:1] == [2], "a fresh one from the same place is answered"
