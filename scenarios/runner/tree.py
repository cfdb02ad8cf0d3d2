"""The topology as a person draws it."""

from __future__ import annotations

from ipaddress import ip_address

from edge.config import Kind
from edge.metrics import Snapshot
from scenarios.casting import Member
from scenarios.report import MemberRecord, VnetRecord, WayRecord
from scenarios.runner.stage import Stage
from scenarios.world import World


def tree(world: World) -> list[VnetRecord]:
    """Every virtual network with its tunnels and what is behind them."""
    inside: dict[str, list[Member]] = {}
    for member in world.members.values():
        for tunnel in member.premises.ports:
            inside.setdefault(tunnel, []).append(member)
    records = [VnetRecord(name=name) for name in world.scenario.vnets]
    by_name = {record.name: record for record in records}
    for end in (*world.ends, *world.outside):
        config = world.config.tunnels[end.name]
        hosts: list[tuple[str, str, str]] = []
        site = does = ""
        if end.kind is Kind.CONNECTOR:
            address = ", ".join(map(str, end.routes))
            hosts = [(m.actor.short_name, m.host.address, role(m)) for m in inside.get(end.name, [])]
            site = end.premises.inside.name
        else:
            address = str(ip_address(config.addresses[0]))
            does = ", ".join(role(m) for m in inside.get(end.name, []))
        by_name[end.vnet].members.append(
            MemberRecord(
                name=end.name,
                kind=end.kind.value,
                address=address,
                tunnel=end.tunnel,
                tags=[*config.tags, *config.groups],
                hosts=hosts,
                site=site,
                role=does,
                outside=end.name in world.script.cast.outside,
            )
        )
    prefixes = [{member.address for member in record.members} for record in records]
    for index, record in enumerate(records):
        for earlier, other in enumerate(records[:index]):
            if prefixes[index] & prefixes[earlier]:
                record.note = f"the same addresses as {other.name}, another tenant"
                break
    return records


_ROLES = {
    "sip.pbx": "PBX",
    "sip.phone": "phone",
    "udp.echo": "echo",
    "http.server": "web",
    "ci.pipeline": "CI",
    "dns.server": "DNS",
    "traffic": "traffic",
    "traffic.sink": "sink",
    "directory.server": "directory",
    "directory.member": "member",
}


def role(member: Member) -> str:
    """What it is there for."""
    apps = member.actor.apps
    programs = [program.name for program in apps.programs or ()]
    return ", ".join([*(_ROLES[word] for word in apps.words if word in _ROLES), *programs])


def tunnels_up(stage: Stage, snapshot: Snapshot) -> dict[str, bool]:
    """Which tunnels have been up since their process started, as their far ends have it; and of devices from outside,
    which have a session, as the PoP has it."""
    guests = {end.name for end in stage.world.outside}
    theirs = dict.fromkeys(guests, False)
    if guests:
        theirs |= {tunnel.name: tunnel.up for tunnel in snapshot.tunnels if tunnel.name in guests}
    return stage.network.up() | theirs


def tunnel_ways(stage: Stage, snapshot: Snapshot) -> dict[str, str]:
    """How each of them reaches the PoP now; empty if it does not."""
    ways = stage.network.ways()
    if stage.world.outside:
        up = tunnels_up(stage, snapshot)
        ways |= {end.name: "wireguard" if up[end.name] else "" for end in stage.world.outside}
    return ways


def way_records(stage: Stage) -> list[WayRecord]:
    """How tunnels that have a choice went, from the beginning of the world on."""
    choosing = {end.name for end in stage.world.ends if end.has_choice}
    records, before = [], dict.fromkeys(choosing, "")
    for at, tunnel, way in stage.network.way_changes:
        if tunnel in choosing:
            records.append(WayRecord(at=at - stage.started, tunnel=tunnel, way=way, before=before[tunnel]))
            before[tunnel] = way
    return records
