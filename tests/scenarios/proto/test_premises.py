"""Which connector the hosts of a site send to, and what becomes of what they say."""

from __future__ import annotations

from ipaddress import ip_address

from edge.proto.ip import parse_untrusted
from scenarios.proto.host import Host
from scenarios.proto.lan import Lan
from scenarios.proto.ledger import Ledger
from scenarios.proto.premises import TRACKING_TIME, Port, Premises
from scenarios.proto.udp_echo import UdpProbe


class World:
    def __init__(self, *ports: str) -> None:
        self.host = Host("hq/pbx", "10.0.50.60", vnet="acme", ledger=Ledger())
        self.probe = UdpProbe()
        self.host.add(self.probe)
        self.premises = Premises(Lan("hq", [self.host]), ports)
        self.woken: list[str] = []
        self.premises.on_waiting = lambda port: self.woken.append(port.name)
        for port in self.premises.ports.values():
            port.running = True

    def port(self, name: str) -> Port:
        return self.premises.ports[name]

    def say(self, now: float) -> None:
        self.probe.start(("100.96.0.12", 7), b"x", count=1, interval=1.0, patience=0.5, now=now)
        self.premises.touch(self.host)


def test_the_first_that_is_alive_carries_and_keeps_carrying() -> None:
    world = World("a", "b")
    for port in world.premises.ports.values():
        port.handle_packets([], 0.0)
    assert world.premises.elect(0.0) is world.port("a")
    world.port("b").handle_packets([], 1.5)
    assert world.premises.elect(1.5) is world.port("b"), "a has been silent for too long"
    world.port("a").handle_packets([], 1.6)
    assert world.premises.elect(1.7) is world.port("b"), "who is back does not take over"
    assert world.premises.elect(1.5 + TRACKING_TIME + 1) is world.port("b"), "with nobody better it stays"


def test_a_dead_process_is_left_at_once() -> None:
    world = World("a", "b")
    world.premises.elect(0.0)
    world.port("a").running = False
    assert world.premises.elect(0.0) is world.port("b")
    world.port("b").running = False
    assert world.premises.elect(0.0) is None
    world.say(0.0)
    world.premises.run(0.0)
    assert world.premises.counters["no_gateway"] == 1


def test_what_another_port_has_brought_about_goes_out_at_the_gateway() -> None:
    world = World("a", "b")
    world.premises.elect(0.0)
    world.say(0.0)
    world.port("b").handle_timeout(0.0)
    assert world.port("b").poll_packets() == []
    assert world.woken == ["a"]
    (packet,) = world.port("a").poll_packets()
    assert parse_untrusted(packet).source == ip_address("10.0.50.60").packed
    assert world.port("b").poll_timeout() == float("inf"), "only the gateway wakes for the hosts"
    assert world.port("a").poll_timeout() < float("inf")


def test_a_zombie_forwards_neither_way() -> None:
    world = World("a")
    world.premises.elect(0.0)
    world.port("a").zombie = True
    world.say(0.0)
    world.port("a").handle_timeout(0.0)
    assert world.port("a").poll_packets() == []
    world.port("a").handle_packets([bytearray(40)], 0.0)
    assert world.premises.counters["zombie"] == 2
    assert world.host.counters["received"] == 0
