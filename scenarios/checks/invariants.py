"""What must hold in every run, whatever the scenario expects.

Two witnesses that know nothing of each other: the hosts' ledger, which compares each packet that arrived
with what was sent, and the PoP's own counters.
"""

from __future__ import annotations

from typing import NamedTuple

from edge.metrics import Snapshot
from scenarios.proto.ledger import Ledger, Offence


class Invariant(NamedTuple):
    """One law, whether it held, and the packets or counters that broke it."""

    id: str
    holds: bool
    text: str
    details: tuple[str, ...] = ()


def check(ledger: Ledger, snapshot: Snapshot) -> list[Invariant]:
    """Judge a run, at its end or at any moment of it."""
    return [
        _from_ledger(ledger, "isolation", "crossed between vnets", Offence.CROSSED),
        accounting(snapshot),
        _from_ledger(ledger, "no-spoofing", "came from no rightful sender", Offence.FORGED),
        _from_ledger(ledger, "true-addresses", "had another address or port than sent", Offence.REWRITTEN),
        _from_ledger(ledger, "delivery", "reached the wrong host", Offence.MISDELIVERED),
    ]


def _from_ledger(ledger: Ledger, name: str, text: str, offence: Offence) -> Invariant:
    count = ledger.offences[offence]
    details = tuple(finding.text for finding in ledger.findings if finding.offence is offence)
    text = f"{count:,} of {ledger.received_packets:,} packets {text}"
    if unjudged := ledger.unjudged[offence]:
        text += f"; {unjudged:,} not judged: the kernel had no room for copies of what real hosts sent"
    return Invariant(name, count == 0, text, details)


def accounting(snapshot: Snapshot) -> Invariant:
    """Every packet is out, dropped for a reason, or held; in each virtual network by itself."""
    wrong = [vnet for vnet in snapshot.vnets if vnet.unaccounted]
    details = tuple(
        f"vnet {vnet.name}: in {vnet.packets_in} + generated {vnet.packets_generated} is not "
        f"out {vnet.packets_out} + dropped {vnet.dropped} + held {vnet.packets_held}"
        for vnet in wrong
    )
    total = sum(vnet.packets_in + vnet.packets_generated for vnet in snapshot.vnets)
    missing = sum(abs(vnet.unaccounted) for vnet in wrong)
    return Invariant(
        "accounting", not wrong, f"{missing:,} of {total:,} packets are unaccounted for", details
    )
