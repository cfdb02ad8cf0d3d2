"""What an observer is told: every packet once, with its fate, and never the packet itself."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_network

import pytest

from edge.proto.forwarding import (
    Action,
    Attachment,
    Fate,
    Forwarder,
    Party,
    Passage,
    Policy,
    VirtualNetwork,
    Watch,
)
from edge.proto.forwarding.policy import Rule
from edge.proto.ip import build_icmp_echo, build_udp, fragment_ipv4
from edge.proto.types import DropReason

A, B = "10.0.1.5", "10.0.2.6"


def ip(text: str) -> bytes:
    return ip_address(text).packed


def udp(dport: int = 5060, size: int = 5, source: str = A, **kw) -> bytearray:
    return build_udp(ip(source), ip(B), 4000, dport, bytes(size), **kw)


class Lab:
    """Tunnels a and b in one network; port 5060 is allowed, 666 rejected, the rest is blocked."""

    def __init__(self) -> None:
        rules = [
            Rule("voice", Action.ALLOW, services=((17, 5060, 5060),)),
            Rule("deny-evil", Action.REJECT, services=((17, 666, 666),)),
        ]
        self.vnet = VirtualNetwork("acme", Policy(rules, timer=lambda: 0.0), gateway4=ip("10.255.0.1"))
        self.forwarder = Forwarder()
        self.passages: list[Passage] = []
        self.refusals: list[tuple[DropReason, int]] = []
        self.vnet.watch = self.watch = Watch(self)
        for name, prefix in (("a", "10.0.1.0/24"), ("b", "10.0.2.0/24")):
            net = ip_network(prefix)
            self.vnet.attach(
                Attachment(
                    Party(name, "connector"),
                    self.vnet,
                    ((net.network_address.packed, net.prefixlen),),
                    1420,
                )
            )

    def passed(self, passage: Passage) -> None:
        self.passages.append(passage)

    def tunnel_changed(self, at: float, vnet: str, tunnel: str, what: str, detail: str) -> None:
        raise AssertionError("no tunnel here")

    def refused(self, at: float, reason: DropReason, count: int) -> None:
        self.refusals.append((reason, count))

    def turn(self, *packets: bytearray, now: float = 1.0) -> list[Passage]:
        opened = [(self.vnet.attachments["a"], list(packets))]
        self.watch.opened(opened, now)
        self.forwarder.forward(opened, now)
        self.watch.settle(self.forwarder.take())
        told, self.passages = self.passages, []
        return told


def test_a_forwarded_packet_is_told_as_it_came_and_as_it_left_with_the_rule_on_both_paths() -> None:
    lab = Lab()
    for _ in range(2):  # slow path, fast path
        (told,) = lab.turn(udp() + bytes(11))
        assert (told.fate, told.ingress, told.egress, told.rule) == (Fate.FORWARDED, "a", "b", "voice")
        assert told.arrived == udp()
        assert told.left == udp(ttl=63)
        assert told.at == 1.0


def test_policy_and_everything_else_that_kills_is_told_with_its_reason_and_rule() -> None:
    lab = Lab()
    dead, spoofed, garbage, rejected, error = lab.turn(
        udp(7), udp(source="10.0.9.9"), bytearray(b"\x45"), udp(666)
    )
    assert [(p.fate, p.reason, p.rule) for p in (dead, spoofed, garbage, rejected)] == [
        (Fate.DROPPED, DropReason.POLICY_BLOCKED, "default"),
        (Fate.DROPPED, DropReason.SPOOFED_SOURCE, ""),
        (Fate.DROPPED, DropReason.BAD_LENGTH, ""),
        (Fate.DROPPED, DropReason.POLICY_REJECTED, "deny-evil"),
    ]
    assert garbage.header is None
    assert (error.fate, error.ingress, error.egress) == (Fate.GENERATED, "", "a")
    assert Counter(p.reason for p in (dead, spoofed, garbage, rejected)) == lab.vnet.drops


def test_fragments_are_told_when_they_are_held_when_they_pass_and_when_they_die() -> None:
    lab = Lab()
    first, second = fragment_ipv4(udp(size=1000, dont_fragment=False), 600)
    (held,) = lab.turn(second)
    assert (held.fate, held.arrived) == (Fate.HELD, bytes(second))
    passed, late = lab.turn(first)
    assert (passed.fate, passed.rule) == (Fate.FORWARDED, "voice")
    assert (late.fate, late.ingress, late.egress) == (Fate.GENERATED, "", "b")
    lab.turn(fragment_ipv4(udp(size=1000, ident=9, dont_fragment=False), 600)[1])
    lab.vnet.expire(100.0)
    (orphan,) = lab.turn()
    assert (orphan.fate, orphan.reason) == (Fate.PERISHED, DropReason.FRAGMENT_ORPHAN)
    first, second = fragment_ipv4(udp(666, size=1000, ident=10, dont_fragment=False), 600)
    told = [p for p in lab.turn(first, second) if p.fate is Fate.DROPPED]
    assert [p.rule for p in told] == ["deny-evil", "deny-evil"]


def test_a_packet_that_is_cut_up_is_told_and_so_are_its_pieces() -> None:
    lab = Lab()
    lab.vnet.attachments["b"].mtu = 600
    whole, *pieces = lab.turn(udp(size=1000, dont_fragment=False))
    assert whole.fate is Fate.DIVIDED
    assert [p.fate for p in pieces] == [Fate.GENERATED, Fate.GENERATED]
    assert {p.egress for p in pieces} == {"b"}


def test_a_ping_to_the_pop_is_local_and_its_answer_generated() -> None:
    lab = Lab()
    asked, answer = lab.turn(build_icmp_echo(ip(A), ip("10.255.0.1"), ident=1, sequence=1, payload=b""))
    assert (asked.reason, answer.fate, answer.egress) == (DropReason.LOCAL, Fate.GENERATED, "a")


def test_what_died_before_it_was_a_packet_is_told_once() -> None:
    lab = Lab()
    drops = Counter({DropReason.REPLAYED: 2})
    lab.watch.close(drops)
    lab.watch.close(drops)
    drops[DropReason.REPLAYED] += 1
    lab.watch.close(drops)
    assert lab.refusals == [(DropReason.REPLAYED, 2), (DropReason.REPLAYED, 1)]


def test_an_observer_gets_copies() -> None:
    lab = Lab()
    packet = udp()
    (told,) = lab.turn(packet)
    assert isinstance(told.arrived, bytes) and isinstance(told.left, bytes)
    packet[:] = bytes(len(packet))
    assert told.arrived == udp()


@pytest.mark.parametrize("watched", [True, False])
def test_watching_changes_nothing(watched: bool) -> None:
    lab = Lab()
    if not watched:
        lab.vnet.watch = None
    packets = [udp(), udp(), udp(7), udp(666), *fragment_ipv4(udp(size=1000, dont_fragment=False), 600)]
    runs = [(lab.vnet.attachments["a"], [bytearray(p) for p in packets])]
    if watched:
        lab.watch.opened(runs, 1.0)
    lab.forwarder.forward(runs, 1.0)
    out = lab.forwarder.take()
    if watched:
        lab.watch.settle(out)
    assert {a.name: len(p) for a, p in out} == {"b": 4, "a": 1}
    assert lab.vnet.drops == {DropReason.POLICY_BLOCKED: 1, DropReason.POLICY_REJECTED: 1}
