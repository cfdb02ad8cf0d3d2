"""What a scenario must satisfy beyond its form: steps that do one thing, to things that are there."""

from __future__ import annotations

import keyword
from collections.abc import Iterator

from msgspec.structs import replace

from edge.document import Path, address_bytes, did_you_mean
from edge.proto.types import BadPacket
from scenarios.proto.link_profile import PRESETS
from scenarios.proto.sip_uri import uri_untrusted
from scenarios.schema import agent_semantics, programs_semantics, tolerance_semantics, topology_semantics
from scenarios.schema.cast import Cast
from scenarios.schema.language import Load, Scenario, Step
from scenarios.schema.places import Finding, is_a, known, not_ours, one_version, one_vnet
from scenarios.schema.programs import ExecRun, ExecStart, ExecStop
from scenarios.schema.verbs import (
    FAULT_WORDS,
    VERBS,
    BlackHole,
    Block,
    Degrade,
    DirectoryBind,
    DirectoryPush,
    DnsQuery,
    Heal,
    HttpRequest,
    Kill,
    Partition,
    Pause,
    PbxDial,
    Ping,
    ProbeMtu,
    Rebind,
    RekeyNow,
    Restart,
    Roam,
    RouteCheck,
    SipCall,
    SipRegister,
    TrafficRun,
    UdpSend,
    Verb,
    Wait,
    WebhookPost,
    Zombie,
)
from scenarios.schema.words import many

NOT_NAMES = frozenset(
    {*keyword.kwlist, *keyword.softkwlist, "true", "false", "none", "abs", "len", "max", "min"}
)
"""Words that conditions read otherwise."""

GLOBAL_NAMES = ("clients", "hosts", "sites", "vnets", "edge", "tunnels", "steps", "time")
"""What conditions can ask for besides the results of steps."""

EDGE = "edge"

LOADS = ("sip.call", "udp.send", "ping", "http.request", "dns.query")


def check(scenario: Scenario, cast: Cast) -> Iterator[Finding]:
    """Everything wrong with `scenario`, in which nothing is counted any more, that its types cannot tell."""
    yield from topology_semantics.check(scenario, cast)
    yield from agent_semantics.check(scenario, cast)
    yield from programs_semantics.check(scenario, cast, {*GLOBAL_NAMES, *NOT_NAMES})
    if scenario.crypto is None and scenario.fabrics != ("sim",):
        fix = "leave `crypto` out" if scenario.runs_programs or scenario.has_agents else "add `fabric: sim`"
        yield Finding(("crypto",), "only the sim fabric can do without encryption", fix)
    if not scenario.steps and not scenario.load and not cast.outside:
        yield Finding((), "nothing happens in this scenario", "add `steps:`, or `load:`")
    seen: dict[str, int] = {}
    for index, step in enumerate(scenario.steps):
        path: Path = ("steps", index)
        yield from _step(step, path, seen)
        for word, verb in step.verbs.items():
            if getattr(verb, "caller", None) == "" or getattr(verb, "sender", None) == "":
                yield Finding((*path, word), "missing key 'from'", "add `from: ...`")
            else:
                groups = list(_groups(verb, (*path, word), cast))
                yield from groups or _verb(verb, (*path, word), scenario, cast)
            if isinstance(verb, Wait) and verb.programs is not None and not _starts_programs(cast):
                text = "no host has a program that starts at once"
                yield Finding(
                    (*path, word, "programs"), text, "add `app: {exec: [...]}` to one, or leave it out"
                )
            if isinstance(verb, Wait):
                before = scenario.steps[:index]
                yield from _wait(verb, (*path, word), {**seen, **dict.fromkeys(scenario.load, index)}, before)
        if step.id is not None:
            seen.setdefault(step.id, index)
    for name, load in scenario.load.items():
        yield from _load(load, ("load", name), name in seen, scenario, cast)
    for index, invariant in enumerate(scenario.invariants):
        if (invariant.always is None) is (invariant.sometimes is None):
            text = "an invariant has one of `always` and `sometimes`"
            yield Finding(("invariants", index), text, "write one condition")
    yield from tolerance_semantics.check(scenario, cast)
    if scenario.outputs.captures is not None:
        there = {EDGE, *scenario.topology.sites, *cast.actors, *cast.tunnels}
        for name in cast.vantage_points(scenario.outputs.captures.at):
            if name not in there:
                near = did_you_mean(name, there)
                yield Finding(("outputs", "captures", "at"), f"there is no {name!r}", near)
    if scenario.faults is not None:
        least, _, most = scenario.faults.draw.count.partition("..")
        if int(least) > int(most):
            text = f"from {least} to {most} there is no number"
            yield Finding(("faults", "draw", "count"), text, f"write {most}..{least}")
        yield from _tunnels(cast, scenario.faults.spare, ("faults", "spare"))


def _step(step: Step, path: Path, seen: dict[str, int]) -> Iterator[Finding]:
    verbs = list(step.verbs)
    if not verbs and step.until is None:
        yield Finding(path, "the step does nothing", f"add `await`, or one of: {', '.join(VERBS.values())}")
    elif len(verbs) > 1:
        text = f"the step does {len(verbs)} things: {', '.join(verbs)}"
        yield Finding(path, text, "make them steps of their own")
    if step.id is None:
        return
    if step.id in GLOBAL_NAMES or step.id in NOT_NAMES:
        yield Finding((*path, "id"), f"conditions use {step.id!r} for something else", "choose another id")
    elif step.id in seen:
        text = f"step {seen[step.id] + 1} is called {step.id!r} too"
        yield Finding((*path, "id"), text, "choose another id")


ONE = {"sender": "from", "caller": "from", "to": "to", "server": "server", "pbx": "pbx", "on": "on"}
"""Parts of a verb that are one actor, and how the file calls them."""


def _groups(verb: Verb, path: Path, cast: Cast) -> Iterator[Finding]:
    """A step does something once, so nobody in it may be a counted group; a load does it once for each."""
    for part, key in ONE.items():
        name = getattr(verb, part, None)
        if (
            isinstance(name, str)
            and name in cast.groups
            and not (isinstance(verb, WebhookPost) and part == "to")
        ):
            first, count = cast.groups[name][0], len(cast.groups[name])
            text = f"{name!r} is a group of {count}, and a step does this once"
            yield Finding((*path, key), text, f"name one of them, such as {first}, or make it a load")


def _verb(verb: Verb, path: Path, scenario: Scenario, cast: Cast) -> Iterator[Finding]:
    if isinstance(verb, UdpSend | Ping | HttpRequest | ProbeMtu | DnsQuery | WebhookPost):
        yield from programs_semantics.check_sender(cast, verb.sender, (*path, "from"))
    yield from agent_semantics.check_verb(verb, path, cast)
    match verb:
        case SipRegister():
            yield from is_a(cast, verb.phones, (*path, "phones"), "phone")
            yield from _registrars(cast, verb.phones, (*path, "phones"))
        case SipCall():
            yield from _call(verb, path, cast)
        case PbxDial():
            yield from _dial(verb, path, cast)
        case UdpSend() | Ping() | HttpRequest():
            yield from known(cast, verb.sender, (*path, "from"))
            yield from _target(cast, verb.sender, verb.to, (*path, "to"))
        case ProbeMtu() | WebhookPost():
            yield from known(cast, verb.sender, (*path, "from"))
            yield from known(cast, verb.to, (*path, "to"))
            for target in cast.names(verb.to):
                yield from one_version(cast, verb.sender, target, (*path, "to"))
        case RouteCheck():
            strangers = [
                *known(cast, verb.sender, (*path, "from")),
                *known(cast, verb.to, (*path, "to")),
            ]
            yield from strangers or _flow(cast, verb.sender, verb.to, (*path, "to"))
        case DnsQuery():
            yield from known(cast, verb.sender, (*path, "from"))
            yield from _target(cast, verb.sender, verb.server, (*path, "server"))
        case TrafficRun():
            yield from is_a(cast, verb.sources, (*path, "from"), "source of traffic")
        case DirectoryPush():
            yield from is_a(cast, verb.server, (*path, "server"), "directory server")
        case DirectoryBind():
            yield from is_a(cast, verb.members, (*path, "members"), "directory member")
        case ExecRun() | ExecStart() | ExecStop():
            yield from programs_semantics.check_step(verb, path, cast)
        case Kill() | Restart() | Pause():
            if verb.machine != EDGE:
                yield from _tunnels(cast, verb.machine, (*path, "machine"), also=(EDGE,))
        case Zombie():
            yield from _tunnels(cast, verb.machine, (*path, "machine"))
        case Roam():
            yield from _tunnels(cast, verb.tunnel, (*path, "tunnel"))
        case Rebind():
            yield from _rebind(verb, (*path, "client"), scenario, cast)
        case Partition() | Block() | Heal() | RekeyNow() | BlackHole():
            yield from _tunnels(cast, verb.tunnels, (*path, "tunnels"))
        case Degrade():
            yield from _tunnels(cast, verb.tunnels, (*path, "tunnels"))
            links = [*scenario.topology.links, *PRESETS]
            name = verb.to if isinstance(verb.to, str) else verb.to.like
            if name is not None and name not in links:
                yield Finding((*path, "to"), f"unknown link {name!r}", did_you_mean(name, links))


def _flow(cast: Cast, sender: str, to: str, path: Path) -> Iterator[Finding]:
    """Packets can go from one actor to the other."""
    yield from one_vnet(cast, sender, to, path)
    yield from one_version(cast, sender, to, path)
    if sender == to:
        yield Finding(path, f"from {sender!r} to itself nothing has to be routed", "name somebody else")


def _target(cast: Cast, sender: str, to: str, path: Path) -> Iterator[Finding]:
    if address_bytes(to) is None:
        yield from known(cast, to, path)
    yield from one_version(cast, sender, to, path)


def _registrars(cast: Cast, phones: tuple[str, ...] | str, path: Path) -> Iterator[Finding]:
    """Phones can reach the PBX where they register."""
    for name in cast.names(phones):
        phone = cast.actors.get(name)
        pbx = None if phone is None else cast.registrar(phone)
        if pbx is not None and (found := next(one_version(cast, name, pbx.name, path), None)):
            yield found
            return


def _tunnels(
    cast: Cast, words: tuple[str, ...] | str, path: Path, also: tuple[str, ...] = ()
) -> Iterator[Finding]:
    """Connectors, clients, or sites; what is worked out at run time is looked at then."""
    if any("${" in word for word in many(words)):
        return
    for name in cast.tunnels_of(words):
        if name not in cast.tunnels:
            sites = [site for site in cast.tunnels.values() if site is not None]
            near = did_you_mean(name, {*cast.tunnels, *sites, *also})
            yield Finding(path, f"there is no tunnel {name!r}", near)
        elif name in cast.outside:
            yield not_ours(name, path)


def _rebind(verb: Rebind, path: Path, scenario: Scenario, cast: Cast) -> Iterator[Finding]:
    if "${" in verb.client:
        return
    clients = scenario.topology.clients
    for name in cast.names(verb.client):
        if name not in clients:
            yield Finding(path, f"there is no client {name!r}", did_you_mean(name, clients))
        elif name in cast.outside:
            yield not_ours(name, path)
        elif clients[name].nat is None:
            yield Finding(path, f"{name!r} is not behind a NAT", "add `nat: port-restricted` to it")


def _wait(wait: Wait, path: Path, seen: dict[str, int], before: tuple[Step, ...]) -> Iterator[Finding]:
    if wait == Wait():
        yield Finding(
            path, "nothing to wait for", "add `tunnels: up`, `programs: ready`, `step: ID` or `for: 2s`"
        )
    for name in many(wait.step):
        background = [step.id for step in before if step.id is not None and step.background]
        if name not in seen:
            fix = did_you_mean(name, background) or "give a step before it `id` and `background: true`"
            yield Finding((*path, "step"), f"no step before this one is called {name!r}", fix)


def _starts_programs(cast: Cast) -> bool:
    return any(
        program.start == "at-once" for actor in cast.actors.values() for program in actor.apps.programs or ()
    )


def _call(call: SipCall, path: Path, cast: Cast) -> Iterator[Finding]:
    unknown = list(is_a(cast, call.caller, (*path, "from"), "phone"))
    if unknown:
        yield from unknown
        return
    if call.to in cast.groups:  # of a load: the n-th calls the n-th
        yield from is_a(cast, call.to, (*path, "to"), "phone")
        return
    for name in cast.names(call.caller):
        caller = cast.actors[name]
        registrar = cast.registrar(caller)
        uri = cast.sip_uri(caller, call.to)
        if registrar is not None and uri is None:
            phones = [actor.name for actor in cast.phones(registrar)]
            near = did_you_mean(call.to, dict.fromkeys([*phones, *cast.extensions(registrar)]))
            yield Finding((*path, "to"), f"nobody answers to {call.to!r} at {registrar.name}", near)
            return
        if uri is not None and "${" not in uri and not _is_uri(uri):
            fix = "write sip:USER@HOST, such as sip:bob@10.0.50.60 or sip:bob@[fd00:50::60]"
            yield Finding((*path, "to"), f"{call.to!r} is no SIP URI", fix)
            return
    yield from _registrars(cast, call.caller, (*path, "from"))


def _is_uri(text: str) -> bool:
    try:
        return uri_untrusted(text).is_sip
    except BadPacket:
        return False


def _dial(dial: PbxDial, path: Path, cast: Cast) -> Iterator[Finding]:
    unknown = list(is_a(cast, dial.pbx, (*path, "pbx"), "PBX"))
    yield from unknown
    if unknown or dial.to not in cast.users(cast.actors[dial.pbx]):
        yield from is_a(cast, dial.to, (*path, "to"), "phone")


def _load(load: Load, path: Path, taken: bool, scenario: Scenario, cast: Cast) -> Iterator[Finding]:
    verbs = load.do.verbs
    if taken:
        yield Finding(path, f"a step is called {path[-1]!r} too", "rename one of them")
    if path[-1] in GLOBAL_NAMES or path[-1] in NOT_NAMES:
        yield Finding(path, f"conditions use {path[-1]!r} for something else", "choose another name")
    if len(verbs) != 1:
        yield Finding((*path, "do"), "a load does one thing", f"write one of: {', '.join(LOADS)}")
        return
    word, verb = next(iter(verbs.items()))
    if word not in LOADS:
        yield Finding((*path, "do", word), f"{word} cannot be a load", f"known: {', '.join(LOADS)}")
        return
    strangers = list(known(cast, load.actors, (*path, "actor")))
    yield from strangers
    if not strangers:
        yield from _verb(performed_by(verb, load.actors), (*path, "do", word), scenario, cast)


def performed_by(verb: Verb, actor: tuple[str, ...] | str) -> Verb:
    """The verb of a load with whose turn it is."""
    if isinstance(verb, SipCall):
        return verb if verb.caller else replace(verb, caller=actor)
    if isinstance(verb, UdpSend | Ping | HttpRequest | DnsQuery):
        return verb if verb.sender else replace(verb, sender=actor)
    return verb


__all__ = ["EDGE", "FAULT_WORDS", "GLOBAL_NAMES", "Finding", "check", "performed_by"]
