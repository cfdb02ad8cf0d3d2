"""What conditions can ask for besides the results of steps: hosts, networks and the PoP, as plain data.

Everything is worked out when it is asked for: a condition about one tunnel of ten thousand costs one tunnel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from edge.metrics import HTTP_VERSIONS, MasqueSnapshot, Snapshot, TunnelSnapshot, VnetSnapshot
from edge.proto.types import DropReason
from scenarios.casting import Member
from scenarios.checks import Plain, Seconds
from scenarios.proto.routed_lan import LOST
from scenarios.runner import app_names
from scenarios.runner.lazy import Lazy
from scenarios.runner.stage import Stage
from scenarios.runner.tree import tunnel_ways, tunnels_up
from scenarios.world import World


def names(stage: Stage) -> Mapping[str, Plain]:
    """The state of the world now; the PoP is asked at most once."""
    world = stage.world
    parts: dict[str, Callable[[], Plain]] = {
        "clients": lambda: _clients(stage, snapshot()),
        "hosts": lambda: _hosts(stage, world.members),
        "sites": lambda: _sites(stage, snapshot()),
        "vnets": lambda: _vnets(world, snapshot()),
        "edge": lambda: _edge(stage, snapshot()),
        "tunnels": lambda: _tunnels(stage, snapshot()),
        "time": lambda: Seconds(stage.elapsed()),
    }
    kept: list[Snapshot] = []

    def snapshot() -> Snapshot:
        if not kept:
            kept.append(stage.network.snapshot())
        return kept[0]

    return Lazy(parts, lambda key: parts[key]())


def _hosts(stage: Stage, keys: Iterable[str]) -> Plain:
    addresses = stage.world.addresses
    return Lazy(keys, lambda name: _host(stage, stage.world.members[name], addresses))


SPOOFED = DropReason.SPOOFED_SOURCE.value
"""Sent with a source that is not one's own, into one's own tunnel."""


def _clients(stage: Stage, snapshot: Snapshot) -> Plain:
    world = stage.world
    addresses, ways = world.addresses, tunnel_ways(stage, snapshot)
    keys = [name for name, member in world.members.items() if member.actor.site is None]

    def client(name: str) -> Plain:
        lost = {SPOOFED: world.members[name].premises.counters[SPOOFED]}
        return {**_host(stage, world.members[name], addresses), "way": ways[name], "lost": lost}

    return Lazy(keys, client)


def _host(stage: Stage, member: Member, addresses: Iterable[str]) -> dict[str, Plain]:
    host = member.host

    def seen(source: str) -> Plain:
        count = host.seen.get(source)  # who never came was seen with 0 bytes
        return (
            {"packets": 0, "bytes": 0} if count is None else {"packets": count.packets, "bytes": count.bytes}
        )

    return {
        "ip": host.address,
        "vnet": host.vnet,
        "sent": host.counters["sent"],
        "received": host.counters["received"],
        "seen": Lazy([*addresses, *host.seen], seen),
        "sources": sorted(host.seen),
        "icmp_errors": host.counters["icmp_errors"],
        "fragments": host.counters["fragments"],
        "bad_checksum": host.counters["bad_checksum"],
        "port_unreachable": host.counters["port_unreachable"],
        **app_names.of(member),
        **stage.programs.names(member.actor.name),
    }


def _sites(stage: Stage, snapshot: Snapshot) -> Plain:
    sites = stage.world.scenario.topology.sites
    failovers = {site.name: site.failovers for site in snapshot.sites}
    return Lazy(sites, lambda name: _site(stage, name, failovers))


def _site(stage: Stage, name: str, failovers: Mapping[str, int]) -> Plain:
    site = stage.world.scenario.topology.sites[name]
    premises = stage.world.premises(name)
    return {
        "vnet": site.vnet,
        "routes": [str(route) for route in site.routes],
        "gateway": premises.gateway.name if premises.gateway is not None else None,
        "active": stage.network.active(name),
        "failovers": failovers.get(name, 0),
        "lost": {reason: premises.counters[reason] for reason in (*LOST, SPOOFED)},
    }


def _vnets(world: World, snapshot: Snapshot) -> Plain:
    return Lazy([vnet.name for vnet in snapshot.vnets], lambda name: _vnet(snapshot.vnet(name), world))


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


def _edge(stage: Stage, snapshot: Snapshot) -> Plain:
    return {
        **_account(snapshot.vnets),
        "datagrams_in": snapshot.datagrams_in,
        "datagrams_out": snapshot.datagrams_out,
        "datagrams_dropped": sum(snapshot.datagram_drops.values()),
        "flows": sum(vnet.flows for vnet in snapshot.vnets),
        "tunnels_up": sum(tunnel.up for tunnel in snapshot.tunnels),
        "failovers": sum(site.failovers for site in snapshot.sites),
        "masque": _masque(snapshot.masque or MasqueSnapshot()),
    }


def _masque(masque: MasqueSnapshot) -> Plain:
    return {
        "fallbacks": masque.fallbacks,
        "returns": masque.returns,
        "sessions": {http: masque.sessions.get(http, 0) for http in HTTP_VERSIONS},
        "refused": sum(masque.refused.values()),
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


def _tunnels(stage: Stage, snapshot: Snapshot) -> Plain:
    up = tunnels_up(stage, snapshot)
    by_name = {tunnel.name: tunnel for tunnel in snapshot.tunnels}
    states = {name: str(state) for site in snapshot.sites for name, state in site.replicas.items()}
    kinds = {end.name: end.tunnel for end in (*stage.world.ends, *stage.world.outside)}
    ways = tunnel_ways(stage, snapshot)
    return Lazy(
        up,
        lambda name: {
            **_tunnel(name, by_name.get(name), up[name], states.get(name)),
            "tunnel": kinds[name],
            "way": ways[name],
            "ways": [change.way for change in stage.network.way_changes if change.tunnel == name],
        },
    )


def _tunnel(name: str, tunnel: TunnelSnapshot | None, up: bool, state: str | None) -> dict[str, Plain]:
    if tunnel is None:  # the PoP is not there
        tunnel = TunnelSnapshot(name=name, vnet="", kind="", up=False)
    return {
        "up": up,
        "state": state,
        "vnet": tunnel.vnet,
        "endpoint": tunnel.endpoint,
        "handshakes": tunnel.handshakes,
        "packets_in": tunnel.packets_rx,
        "packets_out": tunnel.packets_tx,
        "bytes_in": tunnel.bytes_rx,
        "bytes_out": tunnel.bytes_tx,
    }
