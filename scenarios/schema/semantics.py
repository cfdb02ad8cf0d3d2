"""What a scenario must satisfy beyond its form: names that mean something, addresses that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from edge.document import Path, address_bytes, did_you_mean
from scenarios.schema.cast import Actor, Cast
from scenarios.schema.language import (
    VERBS,
    PbxDial,
    Ping,
    Scenario,
    SipCall,
    SipRegister,
    Step,
    UdpSend,
    Wait,
)

GLOBAL_NAMES = ("clients", "hosts", "sites", "vnets", "edge", "tunnels")
"""What conditions can ask for besides the results of steps."""


class Finding(NamedTuple):
    """One mistake; `path` is where in the file."""

    path: Path
    message: str
    fix: str = ""


def check(scenario: Scenario) -> Iterator[Finding]:
    """Everything wrong with `scenario` that its types cannot tell."""
    cast = Cast(scenario)
    yield from _topology(scenario)
    for actor in cast.actors.values():
        if actor.vnet in scenario.vnets:
            yield from _phone(actor, cast)
    seen: dict[str, int] = {}
    for index, step in enumerate(scenario.steps):
        path: Path = ("steps", index)
        yield from _step(step, path, seen)
        for word, verb in step.verbs.items():
            where = (*path, word)
            match verb:
                case Wait():
                    yield from _wait(verb, where, seen, scenario.steps[:index])
                case SipRegister():
                    for number, name in enumerate(verb.phones):
                        yield from _is_a(cast, name, (*where, "phones", number), "phone")
                case SipCall():
                    yield from _call(verb, where, cast)
                case PbxDial():
                    yield from _is_a(cast, verb.pbx, (*where, "pbx"), "PBX")
                    yield from _is_a(cast, verb.to, (*where, "to"), "phone")
                case UdpSend() | Ping():
                    yield from _known(cast, verb.sender, (*where, "from"))
                    if address_bytes(verb.to) is None:
                        yield from _known(cast, verb.to, (*where, "to"))
        if step.id is not None:
            seen.setdefault(step.id, index)


def _topology(scenario: Scenario) -> Iterator[Finding]:
    topology, vnets = scenario.topology, scenario.vnets
    for name, site in topology.sites.items():
        path: Path = ("topology", "sites", name)
        if name in topology.clients:
            yield Finding(path, f"a site and a client are both called {name!r}", "rename one of them")
        if site.vnet not in vnets:
            yield Finding((*path, "vnet"), f"unknown vnet {site.vnet!r}", did_you_mean(site.vnet, vnets))
        seen: dict[bytes, str] = {}
        for short, host in site.hosts.items():
            where = (*path, "hosts", short, "ip")
            if not any(route.covers(host.ip) for route in site.routes):
                routes = ", ".join(map(str, site.routes))
                yield Finding(
                    where, f"{host.ip} is in none of the routes of {name}: {routes}", "move one of them"
                )
            if (other := seen.setdefault(host.ip, short)) != short:
                yield Finding(
                    where, f"{other!r} and {short!r} both have {host.ip}", "give one another address"
                )
        for other in site.connectors:
            taken = other != name and (other in topology.sites or other in topology.clients)
            if taken:
                yield Finding(
                    (*path, "connectors", other), f"{other!r} is the name of something else", "rename it"
                )
    for name, client in topology.clients.items():
        if client.vnet not in vnets:
            where = ("topology", "clients", name, "vnet")
            yield Finding(where, f"unknown vnet {client.vnet!r}", did_you_mean(client.vnet, vnets))


def _phone(actor: Actor, cast: Cast) -> Iterator[Finding]:
    if actor.phone is None:
        return
    path = (*actor.path, "app", "sip.phone")
    registrar = cast.registrar(actor)
    if registrar is not None:
        if actor.user not in cast.users(registrar):
            users = cast.users(registrar)
            yield Finding(
                path, f"{registrar.name} has no user {actor.user!r}", did_you_mean(actor.user, users)
            )
    elif actor.phone.registrar is not None:
        yield from _is_a(cast, actor.phone.registrar, (*path, "registrar"), "PBX")
    else:
        names = [
            other.name for other in cast.actors.values() if other.pbx is not None and other.vnet == actor.vnet
        ]
        if names:
            text = f"vnet {actor.vnet} has several PBXs: {', '.join(names)}"
        else:
            text = f"vnet {actor.vnet} has no PBX where {actor.name} could register"
        yield Finding(path, text, "add `registrar: site/host`, with a host that has `app: {sip.pbx: {}}`")


def _step(step: Step, path: Path, seen: dict[str, int]) -> Iterator[Finding]:
    verbs = list(step.verbs)
    if not verbs:
        yield Finding(path, "the step does nothing", f"add one of: {', '.join(VERBS.values())}")
    elif len(verbs) > 1:
        yield Finding(
            path, f"the step does {len(verbs)} things: {', '.join(verbs)}", "make them steps of their own"
        )
    if step.id is None:
        return
    if step.id in GLOBAL_NAMES:
        yield Finding((*path, "id"), f"conditions use {step.id!r} for something else", "choose another id")
    elif step.id in seen:
        yield Finding(
            (*path, "id"), f"step {seen[step.id] + 1} is called {step.id!r} too", "choose another id"
        )


def _wait(wait: Wait, path: Path, seen: dict[str, int], before: tuple[Step, ...]) -> Iterator[Finding]:
    if wait == Wait():
        yield Finding(path, "nothing to wait for", "add `tunnels: up`, `step: ID` or `for: 2s`")
    for name in [wait.step] if isinstance(wait.step, str) else wait.step or ():
        background = [step.id for step in before if step.id is not None and step.background]
        if name not in seen:
            fix = did_you_mean(name, background) or "give a step before it `id` and `background: true`"
            yield Finding((*path, "step"), f"no step before this one is called {name!r}", fix)


def _call(call: SipCall, path: Path, cast: Cast) -> Iterator[Finding]:
    unknown = list(_is_a(cast, call.caller, (*path, "from"), "phone"))
    if unknown:
        yield from unknown
        return
    caller = cast.actors[call.caller]
    registrar = cast.registrar(caller)
    if registrar is not None and cast.sip_uri(caller, call.to) is None:
        phones = [actor.name for actor in cast.phones(registrar)]
        near = did_you_mean(call.to, dict.fromkeys([*phones, *cast.extensions(registrar)]))
        yield Finding((*path, "to"), f"nobody answers to {call.to!r} at {registrar.name}", near)


_KINDS: dict[str, Callable[[Actor], object]] = {
    "phone": lambda actor: actor.phone,
    "PBX": lambda actor: actor.pbx,
}


def _is_a(cast: Cast, name: str, path: Path, kind: str) -> Iterator[Finding]:
    """`name` is an actor with a `kind`."""
    fitting = [actor.name for actor in cast.actors.values() if _KINDS[kind](actor) is not None]
    if name not in fitting:
        text = f"{name!r} has no {kind}" if name in cast.actors else f"there is no {name!r}"
        yield Finding(path, text, did_you_mean(name, fitting))


def _known(cast: Cast, name: str, path: Path) -> Iterator[Finding]:
    if name not in cast.actors:
        yield Finding(path, f"there is no {name!r}", did_you_mean(name, cast.actors))
