"""What must hold in every run is seen when it does not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from edge.metrics import Snapshot, VnetSnapshot
from edge.proto.ip import build_udp
from edge.proto.types import DropReason
from scenarios.checks.invariants import check
from scenarios.proto.ledger import Ledger

GOOD = Snapshot(
    vnets=(
        VnetSnapshot(
            "acme",
            packets_in=10,
            packets_generated=1,
            packets_out=8,
            packets_held=1,
            drops={DropReason.POLICY_BLOCKED: 2},
        ),
        VnetSnapshot("umbrella", packets_in=3, packets_out=3),
    )
)


def broken(ledger: Ledger, snapshot: Snapshot = GOOD) -> dict[str, tuple[str, ...]]:
    return {law.id: law.details for law in check(ledger, snapshot) if not law.holds}


def test_a_quiet_world_is_lawful() -> None:
    assert broken(Ledger()) == {}


def test_one_missing_packet_breaks_the_accounting_of_its_network() -> None:
    acme, umbrella = GOOD.vnets
    wrong = replace(GOOD, vnets=(replace(acme, packets_out=7), umbrella))
    assert broken(Ledger(), wrong) == {
        "accounting": ("vnet acme: in 10 + generated 1 is not out 7 + dropped 2 + held 1",)
    }


def test_what_one_network_lacks_another_cannot_make_up_for() -> None:
    acme, umbrella = GOOD.vnets
    wrong = replace(GOOD, vnets=(replace(acme, packets_out=7), replace(umbrella, packets_out=4)))
    assert len(broken(Ledger(), wrong)["accounting"]) == 2


def test_one_packet_in_the_wrong_network_breaks_isolation() -> None:
    ledger = Ledger()
    packet = build_udp(
        ip_address("100.96.0.12").packed, ip_address("10.0.50.60").packed, 5060, 5060, b"INVITE"
    )
    ledger.sent("acme", "alice", packet, 0.0)
    ledger.received("acme", "hq/pbx", packet, 0.0)
    assert broken(ledger) == {}
    ledger.received("umbrella", "decoy/pbx", packet, 0.0)
    assert list(broken(ledger)) == ["isolation"]


def test_what_nobody_can_know_is_not_judged_and_the_law_says_so() -> None:
    ledger = Ledger()
    lost = {"acme": 0}
    ledger.unseen = lambda vnet: lost.get(vnet, 0)
    packet = build_udp(
        ip_address("100.96.0.12").packed, ip_address("10.0.50.60").packed, 5060, 5060, b"INVITE"
    )
    lost["acme"] = 1
    assert ledger.received("acme", "hq/pbx", packet, 0.0) is None
    assert broken(ledger) == {}
    texts = {law.id: law.text for law in check(ledger, GOOD)}
    assert texts["no-spoofing"].endswith(
        "1 not judged: the kernel had no room for copies of what real hosts sent"
    )
    assert "not judged" not in texts["isolation"]
    ledger.received("umbrella", "decoy/pbx", packet, 0.0)
    assert list(broken(ledger)) == ["no-spoofing"], "of that network every packet was seen"
