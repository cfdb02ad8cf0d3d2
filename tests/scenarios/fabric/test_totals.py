"""What the PoP counted in a whole run, however many processes it was."""

from __future__ import annotations

from dataclasses import fields

from edge.metrics import (
    HANDSHAKE_BOUNDS,
    Histogram,
    SiteSnapshot,
    Snapshot,
    TunnelSnapshot,
    VnetSnapshot,
)
from edge.proto.forwarding.replica import ReplicaState
from edge.proto.types import DropReason
from scenarios.checks import invariants
from scenarios.fabric.totals import of_the_dead, total


def observed(*seconds: float) -> Histogram:
    histogram = Histogram(HANDSHAKE_BOUNDS)
    for each in seconds:
        histogram.observe(each)
    return histogram


def tunnel(
    name: str, *, up: bool = True, times: int = 0, age: float | None = None, endpoint: str = ""
) -> TunnelSnapshot:
    """Everything that is counted is `times` something of its own."""
    return TunnelSnapshot(
        name=name,
        vnet="acme",
        kind="client",
        up=up,
        handshakes=2 * times,
        handshakes_initiated=times,
        last_handshake_age=age,
        packets_rx=50 * times,
        bytes_rx=500 * times,
        packets_tx=40 * times,
        bytes_tx=400 * times,
        endpoint=endpoint,
    )


FIRST = Snapshot(
    vnets=(
        VnetSnapshot(
            "acme",
            packets_in=100,
            bytes_in=1000,
            packets_generated=3,
            packets_out=90,
            bytes_out=900,
            packets_held=6,
            drops={DropReason.NO_ROUTE: 5, DropReason.OTHER: 2},
            flows=7,
            flow_limit=1000,
            rule_hits={("all", "allow"): 4, ("default", "block"): 0},
        ),
        VnetSnapshot("umbrella", packets_in=1, packets_out=1),
    ),
    tunnels=(
        tunnel("alice", times=3, age=9.0, endpoint="127.0.0.1:1"),
        tunnel("bob", times=1),
    ),
    sites=(SiteSnapshot("hq", "acme", "hq-a", 1, {"hq-a": ReplicaState.ACTIVE}, {"hq-a": 0.01}),),
    datagrams_in=300,
    datagrams_out=200,
    datagram_drops={DropReason.BAD_MAC1: 1},
    handshake_seconds=observed(0.25).snapshot(),
    started_at=10.0,
    generation=3,
    reloads_ok=2,
)

SECOND = Snapshot(
    vnets=(
        VnetSnapshot(
            "acme",
            packets_in=10,
            bytes_in=100,
            packets_generated=1,
            packets_out=8,
            bytes_out=80,
            packets_held=1,
            drops={DropReason.NO_ROUTE: 1, DropReason.TTL_EXCEEDED: 1},
            flows=2,
            flow_limit=2000,
            rule_hits={("all", "allow"): 1},
        ),
        VnetSnapshot("umbrella"),
    ),
    tunnels=(
        tunnel("alice", times=1, age=1.0, endpoint="127.0.0.1:2"),
        tunnel("bob", up=False),
    ),
    sites=(SiteSnapshot("hq", "acme", "hq-b", 1, {"hq-a": ReplicaState.DOWN}, {}),),
    datagrams_in=30,
    datagrams_out=20,
    datagram_drops={DropReason.BAD_MAC1: 2, DropReason.REPLAYED: 1},
    handshake_seconds=observed(0.5, 2.0).snapshot(),
    started_at=50.0,
    generation=1,
)


def test_counters_are_added_and_what_is_true_now_is_of_the_living() -> None:
    whole = total(of_the_dead(FIRST), SECOND)
    acme = whole.vnet("acme")
    assert (acme.packets_in, acme.packets_generated, acme.packets_out) == (110, 4, 98)
    assert (acme.bytes_in, acme.bytes_out) == (1100, 980)
    assert (acme.flows, acme.flow_limit, acme.packets_held) == (2, 2000, 1)
    assert acme.rule_hits == {("all", "allow"): 5, ("default", "block"): 0}
    assert whole.vnet("umbrella").packets_in == 1
    assert whole.tunnel("alice") == tunnel("alice", times=4, age=1.0, endpoint="127.0.0.1:2")
    assert whole.tunnel("bob") == tunnel("bob", up=False, times=1)
    assert whole.site("hq") == SiteSnapshot("hq", "acme", "hq-b", 2, {"hq-a": ReplicaState.DOWN}, {})
    assert (whole.datagrams_in, whole.datagrams_out) == (330, 220)
    assert whole.datagram_drops == {DropReason.BAD_MAC1: 3, DropReason.REPLAYED: 1}
    assert whole.handshake_seconds == observed(0.25, 0.5, 2.0).snapshot()
    assert (whole.started_at, whole.generation, whole.reloads_ok) == (50.0, 1, 2)


def test_what_a_process_held_died_with_it_and_is_accounted_for() -> None:
    dead = of_the_dead(FIRST)
    acme = dead.vnet("acme")
    assert (acme.packets_held, acme.flows) == (0, 0)
    assert acme.drops == {DropReason.NO_ROUTE: 5, DropReason.OTHER: 8}
    assert not any(tunnel.up for tunnel in dead.tunnels)
    assert invariants.accounting(FIRST).holds
    assert invariants.accounting(dead).holds
    assert invariants.accounting(total(dead, SECOND)).holds
    assert total(dead, SECOND).vnet("acme").drops == {
        DropReason.NO_ROUTE: 6, DropReason.OTHER: 8, DropReason.TTL_EXCEEDED: 1,
    }  # fmt: skip


def test_a_breach_of_a_dead_process_is_not_forgotten() -> None:
    broken = of_the_dead(Snapshot(vnets=(VnetSnapshot("acme", packets_in=2, packets_out=1),)))
    assert not invariants.accounting(total(broken, SECOND)).holds


def test_who_is_gone_from_the_configuration_is_still_counted() -> None:
    later = Snapshot(vnets=SECOND.vnets[:1], tunnels=SECOND.tunnels[:1])
    whole = total(of_the_dead(FIRST), later)
    assert [vnet.name for vnet in whole.vnets] == ["acme", "umbrella"]
    assert [tunnel.name for tunnel in whole.tunnels] == ["alice", "bob"]
    assert whole.tunnel("bob").handshakes == 2
    assert whole.sites == of_the_dead(FIRST).sites


def test_without_a_dead_process_nothing_changes() -> None:
    assert total(Snapshot(), SECOND) is SECOND


def test_nothing_that_is_counted_is_left_out() -> None:
    """A new field must be put with the counters or with what is true now."""
    ones = {
        kind: {f.name: 1 for f in fields(kind) if f.type == "int"} for kind in (VnetSnapshot, TunnelSnapshot)
    }
    vnet = VnetSnapshot(name="acme", **ones[VnetSnapshot])
    peer = TunnelSnapshot(name="a", vnet="acme", kind="client", **ones[TunnelSnapshot])
    one = Snapshot(vnets=(vnet,), tunnels=(peer,))
    whole = total(one, one)
    single = {
        f.name for f in fields(VnetSnapshot) if f.type == "int" and getattr(whole.vnets[0], f.name) == 1
    }
    assert single == {"packets_held", "flows", "flow_limit"}
    assert all(getattr(whole.tunnels[0], name) == 2 for name in ones[TunnelSnapshot])
