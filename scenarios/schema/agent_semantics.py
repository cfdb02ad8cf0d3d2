"""What an agent must satisfy beyond its form: a tunnel that it speaks, a place where it works, faults that it takes."""

from __future__ import annotations

from collections.abc import Iterator

from edge.document import Path
from scenarios.schema.cast import Cast
from scenarios.schema.language import WITH_PROGRAMS, Scenario
from scenarios.schema.places import Finding
from scenarios.schema.topology import SPEAKS, Client, Connector, own_tunnel
from scenarios.schema.verbs import (
    DnsQuery,
    HttpRequest,
    Ping,
    ProbeMtu,
    RekeyNow,
    UdpSend,
    Verb,
    WebhookPost,
    Zombie,
)


def check(scenario: Scenario, cast: Cast) -> Iterator[Finding]:
    """Everything wrong with agents."""
    topology = scenario.topology
    for name, client in topology.clients.items():
        yield from _speaks(name, client, ("topology", "clients", name))
    for site_name, site in topology.sites.items():
        for name, connector in site.connectors.items():
            path: Path = ("topology", "sites", site_name, "connectors", name)
            if connector.agent == "xray":
                text = f"Xray passes on connections, not packets, so {name} cannot be a router"
                yield Finding((*path, "agent"), text, "write `agent: daemon` or `agent: wireguard-go`")
                continue
            yield from _speaks(name, connector, path)
            if connector.agent != "poplab" and len(site.connectors) > 1:
                text = (
                    f"{site_name} has several connectors, and nobody tells them when a process should step in"
                )
                yield Finding((*path, "agent"), text, "leave `agent` out, or the other connectors")
    if scenario.fabric is None or not cast.agents:
        return
    for index, fabric in enumerate(scenario.fabrics):
        if fabric not in WITH_PROGRAMS:
            where: Path = ("fabric",) if isinstance(scenario.fabric, str) else ("fabric", index)
            name, agent = next(iter(cast.agents.items()))
            text = f"the tunnel of {name} is made by {_CALLED[agent]}, and {fabric} has no machine for it"
            yield Finding(where, text, "write `fabric: netns`, or leave `fabric` out")


def cannot(cast: Cast, name: str, verb: Verb) -> str:
    """Why a fault cannot be done to a tunnel; empty if it can."""
    agent = cast.agents.get(name)
    if agent is None:
        return ""
    if isinstance(verb, Zombie):
        return f"the tunnel of {name} is made by {_CALLED[agent]}, which nobody can tell to forward nothing"
    if isinstance(verb, RekeyNow):
        return (
            f"the tunnel of {name} is made by {_CALLED[agent]}, which nobody can tell when to make new keys"
        )
    return ""


def check_verb(verb: Verb, path: Path, cast: Cast) -> Iterator[Finding]:
    """What a step wants of an agent, and cannot have."""
    if isinstance(verb, Zombie | RekeyNow):
        key = "machine" if isinstance(verb, Zombie) else "tunnels"
        reasons = [
            reason for name in cast.tunnels_of(getattr(verb, key)) if (reason := cannot(cast, name, verb))
        ]
        if reasons:
            others = f"; {len(reasons) - 1} others are like that" if len(reasons) > 1 else ""
            fix = (
                "name another, or use fault.partition"
                if key == "machine"
                else "name those that are tasks of ours"
            )
            yield Finding((*path, key), reasons[0] + others, fix)
    for key, name in _targets(verb, cast):
        if name in cast.proxied:
            text = f"{name} is a client of Xray, to which nobody can send what it has not asked for"
            yield Finding((*path, key), text, "have it begin, with exec.run; or give it another `agent`")


def _targets(verb: Verb, cast: Cast) -> Iterator[tuple[str, str]]:
    """Those to whom something is sent, with the key that names them."""
    match verb:
        case UdpSend() | Ping() | HttpRequest() | ProbeMtu() | WebhookPost():
            yield from (("to", name) for name in cast.names(verb.to))
        case DnsQuery():
            yield "server", verb.server


def _speaks(name: str, given: Client | Connector, path: Path) -> Iterator[Finding]:
    spoken = SPEAKS.get(given.agent)
    if spoken is not None and own_tunnel(given) != spoken:
        text = f"{given.agent} speaks {_KINDS[spoken]}, and the tunnel of {name} is {given.tunnel}"
        yield Finding((*path, "agent"), text, f"leave out `tunnel: {given.tunnel}`, or write `agent: daemon`")


_KINDS = {"wireguard": "WireGuard", "masque": "MASQUE"}
_CALLED = {"daemon": "a daemon", "wireguard-go": "wireguard-go", "xray": "Xray"}
