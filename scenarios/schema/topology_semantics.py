"""What a topology must satisfy beyond its form: names that mean something, addresses that fit."""

from __future__ import annotations

from collections.abc import Iterator

from edge.document import Path, address_bytes, did_you_mean
from scenarios.proto.link_profile import PRESETS
from scenarios.schema import lan_semantics
from scenarios.schema.cast import Actor, Cast
from scenarios.schema.language import Scenario
from scenarios.schema.places import Finding, is_a, known, one_vnet
from scenarios.schema.topology import Client


def check(scenario: Scenario, cast: Cast) -> Iterator[Finding]:
    """Everything wrong with the topology and what runs in it."""
    yield from _links(scenario)
    yield from _sites(scenario)
    yield from _clients(scenario)
    for actor in cast.actors.values():
        if actor.vnet in scenario.vnets:
            yield from _phone(actor, cast)
            yield from _apps(actor, cast)


def _links(scenario: Scenario) -> Iterator[Finding]:
    links = scenario.topology.links
    told: set[str] = set()  # who is in a circle that was named
    for name, link in links.items():
        path: Path = ("topology", "links", name)
        seen = [name]
        like = link.like
        while like is not None and like in links and like not in seen:
            seen.append(like)
            like = links[like].like
        if like in seen and like is not None and not (like == name and like in PRESETS):
            if told.isdisjoint(seen):
                yield Finding((*path, "like"), f"{' is like '.join([*seen, like])}: a circle", "break it")
            told.update(seen)
        elif like is not None and like not in links and like not in PRESETS:
            yield Finding((*path, "like"), f"unknown link {like!r}", did_you_mean(like, [*links, *PRESETS]))


def _link(scenario: Scenario, name: str | None, path: Path) -> Iterator[Finding]:
    links = scenario.topology.links
    if name is not None and name not in links and name not in PRESETS:
        yield Finding((*path, "link"), f"unknown link {name!r}", did_you_mean(name, [*links, *PRESETS]))


def _vnet(scenario: Scenario, name: str, path: Path) -> Iterator[Finding]:
    if name not in scenario.vnets:
        yield Finding((*path, "vnet"), f"unknown vnet {name!r}", did_you_mean(name, scenario.vnets))


def _sites(scenario: Scenario) -> Iterator[Finding]:
    topology = scenario.topology
    connectors: dict[str, str] = {}
    for name, site in topology.sites.items():
        path: Path = ("topology", "sites", name)
        if name in topology.clients:
            yield Finding(path, f"a site and a client are both called {name!r}", "rename one of them")
        yield from _vnet(scenario, site.vnet, path)
        yield from _link(scenario, site.link, path)
        for index, route in enumerate(site.routes):
            if not route.length:
                text = f"{route} takes everything that no other route takes, and is no LAN"
                yield Finding((*path, "routes", index), text, "write the prefixes that lie behind it")
        seen: dict[bytes, str] = {}
        for short, host in site.hosts.items():
            where = (*path, "hosts", short, "ip")
            if not any(route.covers(host.ip) for route in site.routes):
                routes = ", ".join(map(str, site.routes))
                text = f"{host.ip} is in none of the routes of {name}: {routes}"
                yield Finding(where, text, "move one of them")
            if (other := seen.setdefault(host.ip, short)) != short:
                text = f"{other!r} and {short!r} both have {host.ip}"
                yield Finding(where, text, "give one another address")
        yield from lan_semantics.check(name, site)
        for connector, given in site.connectors.items():
            there = (*path, "connectors", connector)
            yield from _link(scenario, given.link, there)
            taken = connector != name and (connector in topology.sites or connector in topology.clients)
            if taken or connectors.setdefault(connector, name) != name:
                yield Finding(there, f"{connector!r} is the name of something else", "rename it")


def _clients(scenario: Scenario) -> Iterator[Finding]:
    for name, client in scenario.topology.clients.items():
        path: Path = ("topology", "clients", name)
        yield from _vnet(scenario, client.vnet, path)
        yield from _link(scenario, client.link, path)
        if client.outside:
            yield from _outside(name, client, path)


def _outside(name: str, client: Client, path: Path) -> Iterator[Finding]:
    """A device of the user has a network, a path and programs of its own."""
    why = f"{name!r} is outside: a device of yours"
    if client.app.words:
        yield Finding(
            (*path, "app"), f"{why}, and poplab runs nothing on it", "leave `app` out, or `outside`"
        )
    for key, given in (("link", client.link), ("nat", client.nat)):
        if given is not None:
            text = f"{why}, whose way to the PoP is a real one"
            yield Finding((*path, key), text, f"leave `{key}` out, or `outside`")
    if client.agent != "poplab":
        text = f"{why}, whose tunnel is made by whatever is on it"
        yield Finding((*path, "agent"), text, "leave `agent` out, or `outside`")
    if client.tunnel not in (None, "wireguard"):
        text = f"{why}, which joins by WireGuard"
        yield Finding((*path, "tunnel"), text, "leave `tunnel` out; `poplab edge` takes MASQUE from anywhere")


def _phone(actor: Actor, cast: Cast) -> Iterator[Finding]:
    if actor.phone is None:
        return
    path = (*actor.path, "app", "sip.phone")
    registrar = cast.registrar(actor)
    if registrar is not None:
        if actor.user not in cast.users(registrar):
            users = cast.users(registrar)
            text = f"{registrar.name} has no user {actor.user!r}"
            yield Finding(path, text, did_you_mean(actor.user, users))
    elif actor.phone.registrar is not None:
        yield from is_a(cast, actor.phone.registrar, (*path, "registrar"), "PBX")
    else:
        names = [
            other.name for other in cast.actors.values() if other.pbx is not None and other.vnet == actor.vnet
        ]
        if names:
            text = f"vnet {actor.vnet} has several PBXs: {', '.join(names)}"
        else:
            text = f"vnet {actor.vnet} has no PBX where {actor.name} could register"
        yield Finding(path, text, "add `registrar: site/host`, with a host that has `app: {sip.pbx: {}}`")


def _apps(actor: Actor, cast: Cast) -> Iterator[Finding]:
    path = (*actor.path, "app")
    apps = actor.apps
    if apps.ci_pipeline is not None:
        for index, stage in enumerate(apps.ci_pipeline.stages):
            where = (*path, "ci.pipeline", "stages", index, "deploy")
            yield from _neighbours(actor, cast, stage.deploy, where, "web server")
        where = (*path, "ci.pipeline", "notify")
        yield from _neighbours(actor, cast, apps.ci_pipeline.notify, where, "web server")
    if apps.traffic is not None:
        where = (*path, "traffic")
        if address_bytes(apps.traffic.to) is None:
            yield from known(cast, apps.traffic.to, (*where, "to"))
        if (apps.traffic.on is None) is not (apps.traffic.off is None):
            yield Finding(where, "`on` and `off` go together", "write both, or neither")
    if apps.directory_member is not None:
        where = (*path, "directory.member", "server")
        yield from _neighbours(actor, cast, apps.directory_member.server, where, "directory server")
    media = apps.sip_phone.media if apps.sip_phone is not None else None
    if media is not None and (media.wav is None) is (media.tone is None):
        where = (*path, "sip.phone", "media")
        yield Finding(where, "media is one of `wav` and `tone`", "write for example: {wav: hello.wav}")
    ports = [
        (word, getattr(app, "port", None))
        for word, app in (
            ("http.server", apps.http_server),
            ("ci.pipeline", apps.ci_pipeline),
        )
        if app is not None
    ]
    if len({port for _, port in ports}) < len(ports):
        yield Finding(
            path, f"{' and '.join(word for word, _ in ports)} want the same port", "give one another `port`"
        )


def _neighbours(
    actor: Actor, cast: Cast, words: tuple[str, ...] | str, path: Path, kind: str
) -> Iterator[Finding]:
    """Everybody in `words` has a `kind`, and is in the network of `actor`."""
    wrong = list(is_a(cast, words, path, kind))
    yield from wrong
    for name in cast.names(words) if not wrong else ():
        yield from one_vnet(cast, actor.name, name, path)
