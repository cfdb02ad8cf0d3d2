"""What conditions can ask for besides the results of steps: hosts, networks and the PoP, as plain data."""

from __future__ import annotations

from collections.abc import Iterable

from edge.metrics import Snapshot, VnetSnapshot
from edge.proto.types import DropReason
from scenarios.checks import Plain
from scenarios.fabric import Network
from scenarios.world import Member, World


def names(world: World, network: Network) -> dict[str, Plain]:
    """The state of `world` now."""
    snapshot = network.snapshot()
    up = network.up()
    addresses = sorted({member.host.address for member in world.members.values()})
    hosts: dict[str, Plain] = {name: _host(member, addresses) for name, member in world.members.items()}
    return {
        "clients": {name: hosts[name] for name, member in world.members.items() if member.actor.site is None},
        "hosts": hosts,
        "sites": {
            name: {"vnet": site.vnet, "routes": [str(route) for route in site.routes]}
            for name, site in world.scenario.topology.sites.items()
        },
        "vnets": {vnet.name: _vnet(vnet, world) for vnet in snapshot.vnets},
        "edge": _edge(snapshot),
        "tunnels": {
            tunnel.name: {
                "up": up.get(tunnel.name, False),
                "vnet": tunnel.vnet,
                "handshakes": tunnel.handshakes,
                "packets_in": tunnel.packets_rx,
                "packets_out": tunnel.packets_tx,
                "bytes_in": tunnel.bytes_rx,
                "bytes_out": tunnel.bytes_tx,
            }
            for tunnel in snapshot.tunnels
        },
    }


def _host(member: Member, addresses: list[str]) -> Plain:
    host = member.host
    nothing: Plain = {"packets": 0, "bytes": 0}
    seen: dict[str, Plain] = dict.fromkeys(addresses, nothing)  # who never came was seen with 0 bytes
    for source, count in host.seen.items():
        seen[source] = {"packets": count.packets, "bytes": count.bytes}
    return {
        "ip": host.address,
        "vnet": host.vnet,
        "sent": host.counters["sent"],
        "received": host.counters["received"],
        "seen": seen,
        "sources": sorted(host.seen),
        "icmp_errors": host.counters["icmp_errors"],
        "bad_checksum": host.counters["bad_checksum"],
        "port_unreachable": host.counters["port_unreachable"],
    }


def _vnet(vnet: VnetSnapshot, world: World) -> Plain:
    rules: dict[str, int] = {rule.id: 0 for rule in world.config.vnets[vnet.name].policy}
    rules.setdefault("default", 0)
    for (rule, _), hits in vnet.rule_hits.items():
        rules[rule] = rules.get(rule, 0) + hits
    return {
        **_account([vnet]),
        "flows": vnet.flows,
        "rules": {rule: {"hits": hits} for rule, hits in rules.items()},
    }


def _edge(snapshot: Snapshot) -> Plain:
    return {
        **_account(snapshot.vnets),
        "datagrams_in": snapshot.datagrams_in,
        "datagrams_out": snapshot.datagrams_out,
        "datagrams_dropped": sum(snapshot.datagram_drops.values()),
    }


def _account(vnets: Iterable[VnetSnapshot]) -> dict[str, Plain]:
    vnets = list(vnets)
    drops = {reason.value: sum(vnet.drops.get(reason, 0) for vnet in vnets) for reason in DropReason}
    return {
        "packets_in": sum(vnet.packets_in for vnet in vnets),
        "packets_out": sum(vnet.packets_out for vnet in vnets),
        "generated": sum(vnet.packets_generated for vnet in vnets),
        "held": sum(vnet.packets_held for vnet in vnets),
        "dropped": sum(drops.values()),
        "drops": drops,
    }
