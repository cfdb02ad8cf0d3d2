"""Debian's wireguard-go through the hub: the kernel's own IP stack at both ends, a TUN device, real tools."""

import json
import threading

import pytest

from tests.interop.namespaces import wait_for

pytestmark = pytest.mark.interop
TCP = ["--bytes", "20M"]
UDP = ["--udp", "--bitrate", "20M", "--time", "2"]


@pytest.mark.parametrize("version", ["v4", "v6"])
def test_ping_both_ways(pair, version):
    for source, target in (pair, reversed(pair)):
        answer = source.ping(getattr(target.config, version))
        assert answer["received"] == answer["sent"]


@pytest.mark.parametrize("version", ["v4", "v6"])
def test_receiver_sees_the_true_source_address(pair, version):
    alice, bob = pair
    source, target = getattr(alice.config, version), getattr(bob.config, version)
    server = bob.echo(target, 7)
    flow = json.loads(alice.flow(target, 7, rate=50, seconds=0.5).result(10))
    assert flow["seen_as"] == [source]
    assert json.loads(server.finish(10))["sources"] == {source: flow["sent"]}


@pytest.mark.parametrize("version", ["v4", "v6"])
@pytest.mark.parametrize("options", [pytest.param(TCP, id="tcp"), pytest.param(UDP, id="udp")])
def test_iperf3(pair, iperf3, version, options):
    alice, bob = pair
    source, target = getattr(alice.config, version), getattr(bob.config, version)
    serve = ("--server", "--one-off", "--json", "--bind", target)
    server = bob.space.start(iperf3, *serve, log=bob.process.log.with_name("iperf3.log"), interactive=True)
    wait_for(lambda: "5201" in bob.space.run("ss", "-Htnl"), "iperf3 to listen")
    client = json.loads(alice.space.run(iperf3, "--client", target, "--json", *options))
    report = json.loads(server.result(20))
    assert report["start"]["connected"][0]["remote_host"] == source
    if options is UDP:
        assert client["end"]["sum"]["packets"] > 1000
        assert client["end"]["sum"]["lost_percent"] < 1
    else:  # the server stops counting at the end of the control connection, a window short of everything
        assert report["end"]["sum_received"]["bytes"] > 15_000_000


def test_full_size_packets_pass_whole(pair):
    """1420 bytes inside, as wg-quick's MTU promises, with the Don't Fragment bit set."""
    alice, bob = pair
    server = bob.echo(bob.config.v4, 7)
    flow = json.loads(alice.flow(bob.config.v4, 7, rate=50, seconds=0.3, size=1420 - 20 - 8).result(10))
    server.finish(10)
    assert flow["sent"] > 10
    assert (flow["lost"], flow["unsent"]) == ([], 0)


def test_preshared_key(world):
    alice, bob = world.peer("alice", psk=True), world.peer("bob")
    assert alice.config.preshared_key
    world.hub.start()
    alice.up()
    bob.up()
    assert alice.ping(bob.config.v4)["received"] == 5


def test_wrong_preshared_key_gets_no_session(world):
    alice, bob = world.peer("alice", psk=True), world.peer("bob")
    world.hub.start()
    alice.config = alice.config.with_preshared_key("A" * 43 + "=")
    alice.up()
    bob.up()
    assert alice.ping(bob.config.v4, count=1)["received"] == 0
    assert alice.show("latest-handshakes") == "0"


def test_roaming(pair):
    """The peer's source port changes under a flow; the session goes on from there without a handshake."""
    alice, bob = pair
    bob.echo(bob.config.v4, 7)
    alice.ping(bob.config.v4)
    handshake, port = alice.show("latest-handshakes"), int(alice.show("listen-port"))
    flow = alice.flow(bob.config.v4, 7, rate=100, seconds=3)
    timer = threading.Timer(1.0, alice.set, ("listen-port", str(port ^ 1)))
    timer.start()
    answer = json.loads(flow.result(15))
    timer.join()
    assert int(alice.show("listen-port")) == port ^ 1
    assert alice.show("latest-handshakes") == handshake
    assert answer["sent"] > 250
    assert len(answer["lost"]) < 5
    assert answer["duplicates"] == 0
