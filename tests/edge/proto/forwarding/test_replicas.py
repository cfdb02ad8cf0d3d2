"""Replicas of a site in virtual time: who has the traffic when, and that no packet is lost from the accounts."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from heapq import heappop, heappush
from ipaddress import ip_address, ip_network

import pytest

from edge.proto.forwarding import (
    Action,
    Attachment,
    Flow,
    Forwarder,
    Party,
    Policy,
    Prober,
    ProbeSettings,
    Site,
    Verdict,
    VirtualNetwork,
)
from edge.proto.ip import (
    Unreachable,
    build_icmp_echo,
    build_udp,
    echo,
    echo_reply,
    parse_untrusted,
    unreachable,
)
from edge.proto.types import NEVER, DropReason

GATEWAY, ALICE, PBX, SHOP = "100.96.0.1", "100.96.0.12", "10.0.50.10", "10.0.60.10"
OWN = {"a": "100.96.0.2", "b": "100.96.0.3", "c": "100.96.0.4", "s": "100.96.0.9"}
BEST, FAST = ProbeSettings(), 0.001


def ip(text: str) -> bytes:
    return ip_address(text).packed


def net(text: str) -> tuple[bytes, int]:
    prefix = ip_network(text)
    return prefix.network_address.packed, prefix.prefixlen


def udp(source: str, destination: str, sport: int = 4000, dport: int = 5060) -> bytearray:
    return build_udp(ip(source), ip(destination), sport, dport, b"hello")


class World:
    """Site hq with the replicas a and b, site shop with s, and alice; connectors in `alive` answer after `rtt`."""

    def __init__(
        self,
        replicas: str = "ab",
        *,
        settings: ProbeSettings = BEST,
        alive: str | None = None,
        v6: bool = False,
    ) -> None:
        self.now = 100.0
        self.alive = set(replicas if alive is None else alive) | {"s"}
        self.rtt = FAST
        self.settings = settings
        self.rng = random.Random(1)
        self.prober = Prober(self.rng.randbytes)
        self.asked: list[Flow] = []
        self.action = Action.ALLOW
        policy = Policy(hooks=[self._hook], hook_budget=60, timer=lambda: 0.0)
        self.vnet = VirtualNetwork("acme", policy, gateway4=ip(GATEWAY), gateway6=ip("fd00:96::1"))
        self.forwarder = Forwarder()
        self.probes: Counter[str] = Counter()
        self.probe_times: list[float] = []
        self.requests: list[bytearray] = []
        self.history: list[tuple[float, str, str]] = []
        self.v6 = v6
        self._answers: list[tuple[float, int, str, bytearray]] = []
        self._count = 0
        self.attach("alice", ALICE + "/32", kind="client")
        for preference, name in enumerate(replicas):
            self.join(name, "hq", "10.0.50.0/24", preference)
        self.join("s", "shop", "10.0.60.0/24", 0)
        self.watch()

    def _hook(self, flow: Flow) -> Verdict:
        self.asked.append(flow)
        return Verdict(self.action, "")

    def attach(self, name: str, *prefixes: str, kind: str = "connector", site: str = "") -> Attachment:
        party = Party(name, kind, site)
        attachment = Attachment(party, self.vnet, tuple(map(net, prefixes)), 1420)
        self.vnet.attach(attachment)
        return attachment

    def join(self, name: str, site: str, route: str, preference: int) -> None:
        own = "fd00:96::" + OWN[name][-1] if self.v6 else OWN[name]
        attachment = self.attach(name, own, site=site)
        self.vnet.join(attachment, site, (net(route),), address=ip(own), preference=preference)

    def leave(self, name: str) -> None:
        self.vnet.detach(self.vnet.attachments[name])

    def watch(self) -> None:
        self.prober.watch(self.vnet.sites.values(), self.settings)

    @property
    def site(self) -> Site:
        return self.vnet.sites["hq"]

    @property
    def states(self) -> dict[str, str]:
        return {r.attachment.name: str(r.state) for r in self.site.replicas}

    @property
    def active(self) -> str:
        return "" if self.site.egress is None else self.site.egress.name

    @property
    def failovers(self) -> int:
        return self.vnet.failovers["hq"]

    # -- time --

    def run(self, seconds: float) -> None:
        """Let time pass: probes go out and are answered."""
        end = self.now + seconds
        while True:
            answer_at = self._answers[0][0] if self._answers else NEVER
            at = max(self.now, min(answer_at, self.prober.poll_timeout().at))
            if at > end:
                break
            self.now = at
            if answer_at <= at:
                _, _, name, packet = heappop(self._answers)
                self.send(name, packet)
            for attachment, probe in self.prober.handle_timeout(self.now):
                self.forwarder.originate(attachment, probe)
            self.deliver()
            self.note()
        self.now = end

    def note(self) -> None:
        for replica, _, after in self.prober.poll_changes():
            self.history.append((self.now, replica.attachment.name, str(after)))
        v = self.vnet
        assert v.packets_in + v.packets_generated == v.packets_out + v.drops.total() + v.packets_held

    def send(self, name: str, *packets: bytearray) -> dict[str, list[bytearray]]:
        """What comes out where, probes aside."""
        self.forwarder.forward([(self.vnet.attachments[name], list(packets))], self.now)
        out = self.deliver()
        self.note()
        return out

    def deliver(self) -> dict[str, list[bytearray]]:
        out: dict[str, list[bytearray]] = {}
        for attachment, packets in self.forwarder.take():
            for packet in packets:
                header = parse_untrusted(packet)
                ping = echo(packet, header)
                if ping is None or not ping.is_request:
                    out.setdefault(attachment.name, []).append(packet)
                    continue
                self.probes[attachment.name] += 1
                self.probe_times.append(self.now)
                self.requests.append(packet)
                if attachment.name in self.alive:
                    self._count += 1
                    answer = echo_reply(packet, header)
                    assert answer is not None
                    heappush(self._answers, (self.now + self.rtt, self._count, attachment.name, answer))
        return out

    def way(self, source: str = ALICE, destination: str = PBX, via: str = "alice") -> str:
        """The tunnel that a packet comes out of; empty if none."""
        return "".join(self.send(via, udp(source, destination)))

    def time_of(self, name: str, state: str) -> float:
        return next(at for at, who, what in reversed(self.history) if (who, what) == (name, state))


# -- failover --


def test_the_preferred_one_begins_and_the_others_are_known_to_be_there() -> None:
    world = World("abc")
    assert world.active == "a" and world.way() == "a"
    world.run(1.0)
    assert world.states == {"a": "active", "b": "standby", "c": "standby"}
    assert world.failovers == 0


@pytest.mark.parametrize("moment", [n / 37 for n in range(37)])
@pytest.mark.parametrize("settings", [BEST, ProbeSettings(0.1, 3), ProbeSettings(1.0, 2)], ids=str)
def test_the_standby_takes_over_in_time(moment: float, settings: ProbeSettings) -> None:
    """Whenever in the interval the active one dies."""
    world = World(settings=settings)
    world.run(5.0 + moment * settings.interval)
    died, world.alive = world.now, {"b", "s"}
    world.run(settings.patience * 3)
    assert world.active == "b" and world.states == {"a": "down", "b": "active"}
    took = world.time_of("b", "active") - died
    assert settings.interval * (settings.misses - 1) < took <= settings.patience + settings.interval
    assert world.failovers == 1


def test_live_flows_move_and_keep_their_entry() -> None:
    world = World()
    world.run(1.0)
    assert world.way() == "a"
    assert world.way(PBX, ALICE, "a") == "alice"
    assert world.way(SHOP, PBX, "s") == "a"
    (entry, *_) = world.vnet.flows.entries()
    flows, packets = len(world.vnet.flows), entry.forward.packets
    world.alive.discard("a")
    world.run(1.25)
    assert world.way() == "b" and world.way(SHOP, PBX, "s") == "b"
    assert world.way(PBX, ALICE, "b") == "alice"
    assert len(world.vnet.flows) == flows
    assert entry in world.vnet.flows.entries() and entry.forward.packets == packets + 1
    assert {(f.ingress.name, f.egress.name) for f in world.asked} <= {
        ("alice", "a"), ("a", "alice"), ("s", "a")
    }, "a failover changes nothing of what the rules see"  # fmt: skip


def test_a_flow_that_the_site_began_is_answered_over_the_new_one() -> None:
    world = World()
    world.run(1.0)
    assert world.way(PBX, ALICE, "a") == "alice"
    world.action = Action.BLOCK  # only the flow that is allowed already may pass
    reply = udp(ALICE, PBX, 5060, 4000)
    assert list(world.send("alice", reply.copy())) == ["a"]
    world.action = Action.ALLOW
    world.alive.discard("a")
    world.run(1.25)
    assert list(world.send("alice", reply.copy())) == ["b"]
    assert len(world.vnet.flows) == 1


def test_one_that_comes_back_is_a_standby_and_takes_nothing() -> None:
    world = World()
    world.run(1.0)
    world.alive.discard("a")
    world.run(2.0)
    back = world.now
    world.alive.add("a")
    world.run(2.9)
    assert world.states == {"a": "down", "b": "active"}, "it has to answer for a while first"
    world.run(10.0)
    assert world.states == {"a": "standby", "b": "active"}
    assert BEST.hold <= world.time_of("a", "standby") - back <= BEST.hold + 2 * BEST.interval
    assert world.way() == "b" and world.failovers == 1
    world.alive.discard("b")
    world.run(1.25)
    assert world.way() == "a" and world.failovers == 2


def test_one_that_answers_now_and_then_stays_down() -> None:
    world = World()
    world.run(1.0)
    world.alive.discard("a")
    world.run(2.0)
    for _ in range(10):
        world.alive.add("a")
        world.run(1.5)
        world.alive.discard("a")
        world.run(1.5)
    assert world.states == {"a": "down", "b": "active"}
    assert [who for _, who, _ in world.history].count("b") == 2  # standby, active


def test_preempt_takes_the_traffic_back() -> None:
    world = World(settings=replace(BEST, preempt=True))
    world.run(1.0)
    world.alive.discard("a")
    world.run(2.0)
    assert world.active == "b"
    world.alive.add("a")
    world.run(2.9)
    assert world.active == "b", "not before it has proved itself"
    world.run(1.0)
    assert world.states == {"a": "active", "b": "standby"}
    assert world.failovers == 1, "which is no failover"


def test_a_standby_that_dies_moves_nothing() -> None:
    world = World()
    world.run(1.0)
    generation = world.vnet.generation
    world.alive.discard("b")
    world.run(2.0)
    assert world.states == {"a": "active", "b": "down"}
    assert (world.vnet.generation, world.failovers) == (generation, 0)


def test_a_lost_probe_or_two_are_no_failure() -> None:
    world = World()
    world.run(1.0)
    for _ in range(5):
        world.alive = {"b", "s"}
        world.run(0.7)
        world.alive = {"a", "b", "s"}
        world.run(0.3)
    assert world.active == "a" and world.failovers == 0


def test_a_way_longer_than_an_interval_is_no_failure() -> None:
    world = World()
    world.rtt = 0.6
    world.run(10.0)
    assert world.states == {"a": "active", "b": "standby"} and world.failovers == 0
    assert world.site.replicas[0].rtt == pytest.approx(0.6)


def test_an_answer_that_comes_too_late_to_be_remembered_means_nothing() -> None:
    world = World()
    world.rtt = 10.0
    world.run(60.0)
    assert world.states == {"a": "down", "b": "down"}
    assert [replica.rtt for replica in world.site.replicas] == [None, None]


def test_a_pause_of_the_pop_is_no_failure_of_others() -> None:
    world = World()
    world.run(1.0)
    world.now += 30.0
    world.run(5.0)
    assert world.states == {"a": "active", "b": "standby"} and world.failovers == 0


def test_preempt_waits_for_one_that_nobody_has_heard_of_yet() -> None:
    world = World(settings=replace(BEST, preempt=True), alive="b")
    world.run(0.5)
    assert world.states == {"a": "active", "b": "standby"}
    world.run(1.0)
    assert world.states == {"a": "down", "b": "active"}


# -- all down --


def test_all_down_packets_die_and_never_take_a_shorter_prefix() -> None:
    world = World()
    world.attach("exit", "10.0.0.0/8")
    world.run(1.0)
    assert world.way() == "a"
    world.alive = {"s"}
    world.run(2.0)
    assert world.active == "" and world.states == {"a": "down", "b": "down"}
    before = world.vnet.drops[DropReason.TUNNEL_DOWN]
    assert world.way() == "" and world.way() == "", "the live flow"
    assert world.way(SHOP, PBX, "s") == "", "a new one"
    assert world.way(destination="10.1.1.1") == "exit", "which is there"
    assert world.vnet.drops[DropReason.TUNNEL_DOWN] == before + 3
    told = unreachable(flown := udp(PBX, ALICE), parse_untrusted(flown), ip(ALICE), Unreachable.PORT)
    assert told is not None
    assert world.way(PBX, ALICE, "a") == "alice"
    assert world.send("alice", told) == {}, "an error about what the site said"
    assert world.vnet.drops[DropReason.TUNNEL_DOWN] == before + 4
    assert world.way(destination=OWN["a"]) == "a", "the connector's own address is not the site's"


def test_denied_is_denied_whatever_the_replicas_do() -> None:
    world = World(alive="")
    world.run(5.0)
    world.action = Action.BLOCK
    assert world.way() == ""
    assert world.vnet.drops[DropReason.POLICY_BLOCKED] == 1


def test_after_an_outage_of_all_the_first_to_answer_serves_at_once() -> None:
    world = World()
    world.run(1.0)
    world.way()
    world.alive = {"s"}
    world.run(5.0)
    back, world.alive = world.now, {"b", "s"}
    world.run(0.26)
    assert world.active == "b" and world.time_of("b", "active") - back <= BEST.interval + FAST
    assert world.way() == "b", "the flow is still there"
    assert world.failovers == 1


def test_and_preference_counts_for_a_moment() -> None:
    world = World()
    world.run(1.0)
    world.alive = {"s"}
    world.run(5.0)
    world.alive = {"b", "s"}
    world.run(0.5)
    world.alive = {"a", "b", "s"}
    world.run(0.5)
    assert world.states == {"a": "active", "b": "standby"}
    world.alive = {"s"}
    world.run(5.0)
    world.alive = {"b", "s"}
    world.run(2.0)
    world.alive = {"a", "b", "s"}
    world.run(10.0)
    assert world.states == {"a": "standby", "b": "active"}, "a moment, not for ever"


def test_a_short_absence_does_not_bring_the_traffic_back() -> None:
    """The moment of preference is for outages of all, not for every failover."""
    world = World()
    world.run(1.0)
    world.alive.discard("a")
    world.run(1.3)
    assert world.active == "b"
    world.alive.add("a")
    world.run(2.0)
    assert world.active == "b"


def test_connectors_that_come_late_and_one_after_the_other() -> None:
    world = World(alive="")
    world.run(10.0)
    assert world.states == {"a": "down", "b": "down"}
    world.alive = {"b", "s"}
    world.run(0.4)
    assert world.active == "b"
    world.alive.add("a")
    world.run(0.4)
    assert world.active == "a", "both have just begun"
    assert world.failovers == 0, "nothing was lost"


def test_one_that_never_came_is_replaced_in_time() -> None:
    world = World(alive="b")
    world.run(BEST.patience + 2 * BEST.interval)
    assert world.states == {"a": "down", "b": "active"} and world.failovers == 0
    asked = min(
        at
        for at, request in zip(world.probe_times, world.requests, strict=True)
        if parse_untrusted(request).destination == ip(OWN["a"])
    )
    assert world.time_of("b", "active") == pytest.approx(asked + BEST.patience), "not before it was asked"
    world.alive.add("a")
    world.run(1.0)
    assert world.states == {"a": "standby", "b": "active"}


# -- signs of life --


def test_what_the_site_sends_is_a_sign_of_life() -> None:
    """Answers may be lost for a while, as long as anything comes."""
    world = World()
    world.run(1.0)
    world.alive.discard("a")
    for _ in range(20):
        world.send("a", udp(PBX, ALICE))
        world.run(0.25)
    assert world.active == "a"


def test_but_one_that_never_answers_is_lost_later() -> None:
    """A path that works one way only: what it sends arrives, what is sent to it does not."""
    world = World()
    world.run(1.0)
    world.alive.discard("a")
    for _ in range(40):
        world.send("a", udp(PBX, ALICE))
        world.run(0.25)
    assert world.states == {"a": "down", "b": "active"}
    world.send("a", udp(PBX, ALICE))
    world.run(0.3)
    assert world.states["a"] == "down"
    for n in range(100):  # it comes back by answers only, and one now and then is not enough
        world.send("a", udp(PBX, ALICE))
        world.alive = {"a", "b", "s"} if n % 6 == 0 else {"b", "s"}
        world.run(0.25)
    assert world.states["a"] == "down"


def test_a_connector_without_a_replica_is_not_probed_and_never_down() -> None:
    world = World("a", alive="")
    world.run(60.0)
    assert world.way() == "a" and world.way(SHOP, PBX, "s") == "a"
    assert not world.probes and world.prober.poll_timeout().at == NEVER
    assert world.history == []


def test_probes_are_pings_from_the_gateway_to_the_connector() -> None:
    world = World()
    world.run(10.0)
    assert set(world.probes) == {"a", "b"}
    assert all(39 <= count <= 41 for count in world.probes.values())
    for packet in world.requests:
        header = parse_untrusted(packet)
        assert header.source == ip(GATEWAY) and header.destination in (ip(OWN["a"]), ip(OWN["b"]))
    tokens = [bytes(packet[28:]) for packet in world.requests]
    assert len(set(tokens)) == len(tokens) and all(len(token) == 16 for token in tokens)
    assert world.vnet.packets_generated == world.vnet.drops[DropReason.LOCAL] == world.probes.total()


def test_ipv6_connectors_are_probed_too() -> None:
    world = World(v6=True)
    world.run(2.0)
    assert world.states == {"a": "active", "b": "standby"}
    world.alive.discard("a")
    world.run(1.25)
    assert world.way() == "b"


def test_many_replicas_are_not_probed_all_at_once() -> None:
    world = World("abc")
    world.run(0.25)
    assert len(set(world.probe_times)) == 3


# -- strangers --


def forged(request: bytearray, source: str, **other: int) -> bytearray:
    ping = echo(request, parse_untrusted(request))
    assert ping is not None
    ident, sequence = other.get("ident", ping.ident), other.get("sequence", ping.sequence)
    token = bytes(ping.payload) if other.get("token") is None else bytes(16)
    reply = not other.get("ping")
    return build_icmp_echo(
        ip(source), ip(GATEWAY), ident=ident, sequence=sequence, payload=token, reply=reply
    )


@pytest.mark.parametrize(
    ("via", "source", "other"),
    [
        ("a", "a", {"ident": 7}),
        ("a", "a", {"sequence": 9999}),
        ("a", "a", {"token": 0}),
        ("a", "a", {"ping": 1}),
        ("a", PBX, {}),
        ("a", "b", {}),  # the answer of the other replica
        ("s", "a", {}),
        ("alice", "a", {}),
        ("b", "a", {}),
        ("b", PBX, {}),
    ],
)
def test_only_the_answer_to_the_question_counts(via: str, source: str, other: dict[str, int]) -> None:
    """b and alice know what was asked, and say that they are a; a itself guesses."""
    world = World(alive="b")
    world.run(5.0)
    assert world.states["a"] == "down"
    for _ in range(30):
        request = [r for r in world.requests if parse_untrusted(r).destination == ip(OWN["a"])][-1]
        world.send(via, forged(request, OWN.get(source, source), **other))
        world.run(0.25)
    assert world.states["a"] == "down"


def test_the_right_answer_counts_once_and_only_from_its_tunnel() -> None:
    world = World(alive="b")
    world.run(5.0)
    request = [r for r in world.requests if parse_untrusted(r).destination == ip(OWN["a"])][-1]
    world.send("a", forged(request, OWN["a"]))
    assert world.states["a"] == "standby", "it was never lost before"
    world.run(1.25)
    assert world.states["a"] == "down"
    for _ in range(30):
        world.send("a", forged(request, OWN["a"]))
        world.run(0.25)
    assert world.states["a"] == "down", "an answer repeated"


# -- sources --


def test_the_site_speaks_through_any_of_its_replicas_and_nobody_else_does() -> None:
    world = World()
    world.run(1.0)
    assert world.way(PBX, ALICE, "b") == "alice", "a standby may bring what the site says"
    assert world.way(via="alice") == "a", "and the answer goes to the active one"
    spoofed = world.vnet.drops[DropReason.SPOOFED_SOURCE]
    assert world.way(PBX, ALICE, "s") == "", "another site"
    assert world.way(SHOP, ALICE, "a") == world.way(SHOP, ALICE, "b") == ""
    assert world.way(OWN["a"], ALICE, "b") == "", "the address of a replica is its alone"
    assert world.way(PBX, SHOP, "alice") == ""
    assert world.vnet.drops[DropReason.SPOOFED_SOURCE] == spoofed + 5


def test_a_lost_replica_still_brings_what_the_site_says() -> None:
    """Its source is as true as before."""
    world = World(alive="b")
    world.run(5.0)
    assert world.states["a"] == "down"
    assert world.way(PBX, ALICE, "a") == "alice"


def test_what_a_site_says_to_itself_is_a_hairpin_through_every_replica() -> None:
    world = World()
    world.run(1.0)
    for via in "ab":
        assert world.way(PBX, "10.0.50.11", via) == ""
    assert world.vnet.drops[DropReason.HAIRPIN] == 2


def test_errors_about_a_flow_may_come_from_any_replica_of_its_site_and_from_no_other() -> None:
    world = World()
    world.run(1.0)
    (sent,) = world.send("alice", udp(ALICE, PBX))["a"]

    def error(source: str) -> bytearray:
        made = unreachable(sent, parse_untrusted(sent), ip(source), Unreachable.NO_ROUTE)
        assert made is not None
        return made

    assert "alice" in world.send("a", error("10.0.50.1"))
    assert "alice" in world.send("b", error("10.0.50.1"))
    assert world.send("s", error("10.0.60.1")) == {}
    assert world.send("a", error(OWN["b"])) == {}
    assert world.vnet.drops[DropReason.ICMP_UNSOLICITED] == 1


# -- changes --


def test_replicas_that_join_and_leave() -> None:
    world = World("a")
    world.way()
    (entry,) = world.vnet.flows.entries()
    world.alive |= {"b", "c"}
    world.join("b", "hq", "10.0.50.0/24", 1)
    world.watch()
    assert world.active == "a"
    world.run(1.0)
    assert world.states == {"a": "active", "b": "standby"}
    world.join("c", "hq", "10.0.50.0/24", -1)
    world.watch()
    world.run(5.0)
    assert world.states == {"c": "standby", "a": "active", "b": "standby"}, "the newcomer takes nothing"
    world.leave("a")
    world.watch()
    assert world.active == "c" and world.way() == "c"
    world.leave("c")
    world.watch()
    assert world.active == "b" and world.way() == "b"
    assert world.prober.poll_timeout().at == NEVER
    assert [*world.vnet.flows.entries()] == [entry], "one flow all the time"
    assert world.failovers == 0, "nothing was lost"
    assert world.way(PBX, ALICE, "b") == "alice"
    assert world.way(PBX, SHOP, "b") == "s"
    flows = len(world.vnet.flows)
    world.leave("b")
    world.watch()
    assert len(world.vnet.flows) == flows - 2, "what the site began ends with it"
    assert world.way() == "alice", "who is told that there is no route"
    assert world.vnet.drops[DropReason.NO_ROUTE] == 1
    assert len(world.vnet.flows) == 0 and "hq" not in world.vnet.sites


def test_the_last_one_left_serves_even_if_it_was_down() -> None:
    world = World(alive="a")
    world.run(5.0)
    world.leave("a")
    world.watch()
    assert world.way() == "b"


def test_a_reload_forgets_no_state() -> None:
    world = World()
    world.run(1.0)
    world.alive.discard("a")
    world.run(2.0)
    world.watch()
    assert world.states == {"a": "down", "b": "active"}
    world.alive = {"s"}
    world.run(2.0)
    world.watch()
    assert world.active == "", "nobody is presumed alive who was seen to die"
    world.settings = ProbeSettings(0.1, 3)
    world.watch()
    world.alive = {"b", "s"}
    world.run(0.5)
    assert world.active == "b"


def test_one_that_never_came_is_not_presumed_again_by_a_reload() -> None:
    world = World(alive="")
    world.run(5.0)
    world.watch()
    assert world.active == ""


def test_reloads_in_a_row_delay_nothing() -> None:
    world = World()
    world.run(1.0)
    world.alive.discard("a")
    for _ in range(65):
        world.run(0.02)
        world.watch()
    assert world.active == "b"


def test_a_site_has_one_set_of_prefixes() -> None:
    world = World()
    attachment = world.attach("x", "100.96.0.77/32")
    with pytest.raises(ValueError, match="site hq"):
        world.vnet.join(attachment, "hq", (net("10.0.51.0/24"),))
    with pytest.raises(ValueError, match="already routed to hq"):
        world.vnet.join(attachment, "other", (net("10.0.50.0/24"),))


def test_accounts_are_exact_in_any_course_of_events() -> None:
    """Checked after every event by the world."""
    world = World("abc")
    rng = random.Random(7)
    for _ in range(400):
        world.alive = {name for name in "abc" if rng.random() < 0.6} | {"s"}
        for _ in range(rng.randrange(4)):
            via = rng.choice("abcs") if rng.random() < 0.5 else "alice"
            source = {"alice": ALICE, "s": SHOP}.get(via, PBX)
            world.send(via, udp(source, rng.choice([ALICE, PBX, SHOP, GATEWAY, OWN["b"]]), rng.randrange(9)))
        world.run(rng.random() * 2)
    assert world.failovers > 5
    assert world.vnet.drops[DropReason.TUNNEL_DOWN] > 0
    assert set(world.vnet.drops) <= {
        DropReason.TUNNEL_DOWN, DropReason.LOCAL, DropReason.HAIRPIN,
    }  # fmt: skip
