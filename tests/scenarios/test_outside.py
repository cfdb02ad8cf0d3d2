"""Devices whose cards nobody can look at: the PoP's view of them is what goes into the books."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

from edge.proto.forwarding import Fate, Passage
from edge.proto.ip import build_udp, parse_untrusted
from edge.proto.types import DropReason
from scenarios.outside import Lookout
from scenarios.proto.ledger import Ledger, Offence
from scenarios.proto.real_host import RealHost

BOB, WEB = "100.96.0.12", "10.0.50.80"


class Listener:
    def __init__(self) -> None:
        self.told: list[object] = []

    def passed(self, passage: Passage) -> None:
        self.told.append(passage.fate)

    def tunnel_changed(self, at: float, vnet: str, tunnel: str, what: str, detail: str) -> None:
        self.told.append(what)

    def refused(self, at: float, reason: DropReason, count: int) -> None:
        self.told.append(reason)


def packet(source: str, destination: str, payload: bytes = b"so it is") -> bytes:
    return bytes(build_udp(ip_address(source).packed, ip_address(destination).packed, 4000, 7, payload))


def passage(data: bytes, fate: Fate, *, ingress: str = "", egress: str = "") -> Passage:
    arrived, left = (data if ingress else b""), (data if egress else b"")
    return Passage(1.0, "acme", fate, parse_untrusted(data), ingress, egress, arrived, left)


def bench() -> tuple[Lookout, RealHost, Ledger, Listener]:
    ledger, listener = Ledger(), Listener()
    bob = RealHost("bob", BOB, vnet="acme", ledger=ledger, rng=Random(1))
    return Lookout({"bob": bob}, listener), bob, ledger, listener


def test_what_comes_out_of_its_tunnel_it_has_sent() -> None:
    watch, bob, ledger, _ = bench()
    data = packet(BOB, WEB)
    watch.passed(passage(data, Fate.FORWARDED, ingress="bob", egress="hq"))
    assert ledger.received("acme", "web", data, 1.0) is None
    assert (bob.counters["sent"], bob.counters["received"]) == (1, 0)


def test_what_the_pop_drops_was_sent_all_the_same() -> None:
    watch, bob, _, _ = bench()
    watch.passed(passage(packet(BOB, WEB), Fate.DROPPED, ingress="bob"))
    assert bob.counters["sent"] == 1


def test_what_goes_into_its_tunnel_it_gets() -> None:
    watch, bob, ledger, _ = bench()
    data = packet(WEB, BOB)
    watch.passed(passage(data, Fate.FORWARDED, ingress="hq", egress="bob"))
    ledger.sent("acme", "web", data, 1.0)  # as where the copy of a real host's card is read later
    watch.settle()
    assert bob.seen[WEB].packets == 1
    assert not any(ledger.offences.values())


def test_what_nobody_has_sent_is_found() -> None:
    watch, _, ledger, _ = bench()
    watch.passed(passage(packet(WEB, BOB), Fate.FORWARDED, ingress="hq", egress="bob"))
    watch.settle()
    assert ledger.offences[Offence.FORGED] == 1


def test_what_perishes_neither_comes_nor_goes_again() -> None:
    watch, bob, ledger, _ = bench()
    watch.passed(passage(packet(BOB, WEB), Fate.PERISHED, ingress="bob"))
    watch.passed(passage(packet(WEB, BOB), Fate.PERISHED, egress="bob"))
    watch.settle()
    assert (bob.counters["sent"], bob.counters["received"], ledger.sent_packets) == (0, 0, 0)


def test_others_are_none_of_its_business_and_everything_is_passed_on() -> None:
    watch, bob, ledger, listener = bench()
    watch.passed(passage(packet("100.96.0.13", WEB), Fate.FORWARDED, ingress="carol", egress="hq"))
    watch.tunnel_changed(1.0, "acme", "bob", "handshake", "")
    watch.refused(1.0, DropReason.OTHER, 1)
    assert (bob.counters["sent"], ledger.sent_packets) == (0, 0)
    assert listener.told == [Fate.FORWARDED, "handshake", DropReason.OTHER]
