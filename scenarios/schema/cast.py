"""Who plays in a scenario: clients and hosts under one naming, and which phone belongs to which PBX."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from edge.document import IPAddress, Path
from scenarios.schema.apps import Apps, SipPbx, SipPhone
from scenarios.schema.language import Scenario
from scenarios.schema.programs import ExecRun, ExecStart, ExecStop
from scenarios.schema.topology import AgentWord, Client, Connector
from scenarios.schema.words import many

_URI = re.compile(r"sips?:(?P<user>[^@]+)@(?P<host>[^;>]+)(?P<rest>.*)\Z")


class Actor(NamedTuple):
    """A client (``alice``) or a host of a site (``hq/pbx``)."""

    name: str
    vnet: str
    ip: IPAddress
    apps: Apps
    site: str | None
    path: Path
    """Where it stands in the file."""

    @property
    def short_name(self) -> str:
        return self.name.rpartition("/")[2]

    @property
    def phone(self) -> SipPhone | None:
        return self.apps.sip_phone

    @property
    def pbx(self) -> SipPbx | None:
        return self.apps.sip_pbx

    @property
    def user(self) -> str:
        """The SIP user of its phone."""
        return (self.phone.user if self.phone is not None else None) or self.short_name


class Cast:
    """The actors of a scenario by name, sites first, in the order of the file."""

    def __init__(
        self, scenario: Scenario, groups: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    ) -> None:
        self.actors = {actor.name: actor for actor in _actors(scenario)}
        self.groups = groups
        self.real = frozenset(_real(scenario, self.actors))
        """Actors that are real machines: their own kernel and programs, and no application of ours."""
        self.outside = frozenset(name for name, client in scenario.topology.clients.items() if client.outside)
        """Clients that are devices of the user: nothing of them is ours."""
        self.tunnels = dict(_tunnels(scenario))
        """Every connector and client, with its site; a client's is None."""
        self.agents = dict(_agents(scenario))
        """Who makes the tunnels that are not tasks of ours."""
        self.proxied = frozenset(name for name, agent in self.agents.items() if agent == "xray")
        """Clients whose agent passes on what is in their packets, in packets of its own. They are real machines."""
        self._pbxs: dict[str, list[Actor]] = {}
        self._phones: dict[str, list[Actor]] = {}
        for actor in self.actors.values():
            if actor.pbx is not None:
                self._pbxs.setdefault(actor.vnet, []).append(actor)
        for actor in self.actors.values():
            if actor.phone is not None and (pbx := self.registrar(actor)) is not None:
                self._phones.setdefault(pbx.name, []).append(actor)

    def names(self, words: tuple[str, ...] | str) -> tuple[str, ...]:
        """Everybody whom `words` mean: a counted group is all of its copies. Unknown words stay as they are."""
        return tuple(name for word in many(words) for name in self.groups.get(word, (word,)))

    def tunnels_of(self, words: tuple[str, ...] | str) -> tuple[str, ...]:
        """Every tunnel that `words` mean: a site is all of its connectors, "all" is all of which the far end is ours.

        Unknown words stay.
        """
        if words == "all":
            return tuple(name for name in self.tunnels if name not in self.outside)
        found: dict[str, None] = {}
        for name in self.names(words):
            own = [tunnel for tunnel, site in self.tunnels.items() if site == name]
            found.update(dict.fromkeys(own or [name]))
        return tuple(found)

    def vantage_points(self, words: tuple[str, ...] | str) -> tuple[str, ...]:
        """Everywhere that `words` mean, where packets are looked at: a site is its connectors. Unknown words stay."""
        return self.tunnels_of(many(words))

    def registrar(self, phone: Actor) -> Actor | None:
        """The PBX where `phone` registers; None if it names none and its network has not exactly one."""
        if phone.phone is not None and phone.phone.registrar is not None:
            named = self.actors.get(phone.phone.registrar)
            return named if named is not None and named.pbx is not None else None
        candidates = self._pbxs.get(phone.vnet, [])
        return candidates[0] if len(candidates) == 1 else None

    def phones(self, pbx: Actor) -> list[Actor]:
        """Every phone that registers at `pbx`."""
        return self._phones.get(pbx.name, [])

    def users(self, pbx: Actor) -> tuple[str, ...]:
        """Whom `pbx` lets in: as listed, or its phones and the devices from outside in its network."""
        assert pbx.pbx is not None
        listed = pbx.pbx.users
        if listed is not None:
            return listed
        guests = [name for name in sorted(self.outside) if name in self.actors]
        return (
            *(phone.user for phone in self.phones(pbx)),
            *(name for name in guests if self.actors[name].vnet == pbx.vnet),
        )

    def extensions(self, pbx: Actor) -> list[str]:
        """What can be dialled at `pbx`."""
        echo = pbx.pbx.echo_extension if pbx.pbx is not None else None
        return [*self.users(pbx), *([echo] if echo else [])]

    def sip_uri(self, caller: Actor, to: str) -> str | None:
        """The URI that `caller` dials for `to`; None if `to` means nothing."""
        registrar = self.registrar(caller)
        if uri := _URI.match(to):
            host, _, site = uri["host"].partition(".")
            named = self.actors.get(f"{site}/{host}") or self.actors.get(uri["host"])
            return f"sip:{uri['user']}@{in_uri(named.ip) if named is not None else uri['host']}{uri['rest']}"
        if registrar is None:
            return None
        callee = self.actors.get(to)
        if callee is not None and callee.phone is not None:
            return f"sip:{callee.user}@{in_uri(registrar.ip)}"
        return f"sip:{to}@{in_uri(registrar.ip)}" if to in self.extensions(registrar) else None


def in_uri(address: IPAddress) -> str:
    """As the host of a URI: RFC 3986 3.2.2."""
    return f"[{address}]" if len(address) == 16 else str(address)


def _actors(scenario: Scenario) -> Iterator[Actor]:
    for name, site in scenario.topology.sites.items():
        for short, host in site.hosts.items():
            path: Path = ("topology", "sites", name, "hosts", short)
            yield Actor(f"{name}/{short}", site.vnet, host.ip, host.app, name, path)
    for name, client in scenario.topology.clients.items():
        if client.ip is not None:  # as after the expansion
            yield Actor(name, client.vnet, client.ip, client.app, None, ("topology", "clients", name))


def _agents(scenario: Scenario) -> Iterator[tuple[str, AgentWord]]:
    topology = scenario.topology
    ends: list[tuple[str, Connector | Client]] = [*topology.clients.items()]
    for site in topology.sites.values():
        ends += site.connectors.items()
    yield from ((name, given.agent) for name, given in ends if given.agent != "poplab")


def _real(scenario: Scenario, actors: Mapping[str, Actor]) -> Iterator[str]:
    yield from (name for name, client in scenario.topology.clients.items() if client.agent == "xray")
    yield from (actor.name for actor in actors.values() if actor.apps.programs is not None)
    for step in scenario.steps:
        for verb in step.verbs.values():
            if isinstance(verb, ExecRun | ExecStart | ExecStop):
                yield verb.on


def _tunnels(scenario: Scenario) -> Iterator[tuple[str, str | None]]:
    for name, site in scenario.topology.sites.items():
        for connector in site.connectors or (name,):
            yield connector, name
    for name in scenario.topology.clients:
        yield name, None
