"""What a configuration must satisfy beyond its form: alike for files and for worlds built in code."""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple

from edge.config.credentials import check_credentials
from edge.config.finding import Finding
from edge.config.listeners import check_listeners
from edge.config.masque import check_masque
from edge.config.names import NAME_RULE, is_name, likely_meant
from edge.config.replicas import check_probe, check_replicas
from edge.config.types import EdgeConfig, Kind, TunnelConfig, VnetConfig
from edge.document import Path, Prefix, address_bytes, address_text, did_you_mean
from edge.proto.forwarding.policy import Action

MIN_MTU_V6 = 1280  # RFC 8200 section 5

UNROUTABLE = tuple(
    Prefix.parse(text)
    for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4",
                 "::/127", "::ffff:0:0/96", "fe80::/10", "ff00::/8")
)  # fmt: skip

EMBEDDING = tuple(  # prefixes whose addresses carry an IPv4 address: edge.proto.ip.addresses has each one's reason
    Prefix.parse(text)
    for text in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")
)  # fmt: skip


def check(config: EdgeConfig, *, command: str = "", unread: Container[str] = ()) -> list[Finding]:
    """Everything that is wrong with `config`, in no particular order.

    `command` is what enrols a peer, as a shell takes it, for those who can; `unread` are tunnels that exist but whose
    files have mistakes of their own: they are not missed.
    """
    findings = [
        *_name(("name",), config.name),
        *check_listeners(config),
        *check_credentials(config, command),
        *check_masque(config, command),
        *check_probe(config),
    ]
    by_vnet: dict[str, list[TunnelConfig]] = {}
    for tunnel in config.tunnels.values():
        by_vnet.setdefault(tunnel.vnet, []).append(tunnel)
    everywhere = _attributes(config.tunnels.values())
    for vnet in config.vnets.values():
        findings += _vnet(vnet)
        here = by_vnet.get(vnet.name, [])
        enrol = _Enrolment(command, f" --vnet {vnet.name}" if len(config.vnets) > 1 else "")
        findings += _policy(vnet, here, everywhere, enrol, unread)
    for tunnel in config.tunnels.values():
        findings += _tunnel(tunnel, config)
    for name, tunnels in by_vnet.items():
        if name in config.vnets:
            findings += _overlaps(config.vnets[name], tunnels)
            findings += check_replicas(config.vnets[name], tunnels)
    return findings


def _name(path: Path, name: str) -> Iterator[Finding]:
    if not is_name(name):
        yield Finding(path, f"{name!r} is not a name", f"use {NAME_RULE}")


def _vnet(vnet: VnetConfig) -> Iterator[Finding]:
    path: Path = ("vnets", vnet.name)
    yield from _name(path, vnet.name)
    for key, pool, version, longest in (("pool", vnet.pool, 4, 30), ("pool6", vnet.pool6, 6, 126)):
        if pool is None:
            continue
        if pool.version != version:
            yield Finding((*path, key), f"{pool} is not IPv{version}", f"`{key}` takes IPv{version}")
        elif pool.length > longest:
            yield Finding((*path, key), f"{pool} has no room for clients", f"/{longest} or shorter")
        elif (
            pool.length == 0
            or any(pool.overlaps(bad) for bad in UNROUTABLE)
            or any(bad.contains(pool) for bad in EMBEDDING)
        ):
            yield Finding(
                (*path, key), f"{pool} holds addresses that are never routed", "take a private prefix"
            )
    if vnet.default is Action.LOG:
        yield Finding((*path, "default"), "`log` decides nothing", "allow, block or reject")
    if not vnet.hook_budget > 0:
        yield Finding((*path, "hook_budget"), "no hook could keep to it", "5ms is a good start")
    if vnet.pool6 is not None and vnet.mtu < MIN_MTU_V6:
        yield Finding(
            (*path, "mtu"), f"{vnet.mtu} is too small for IPv6", f"{MIN_MTU_V6} or more, or no `pool6`"
        )


class _Enrolment(NamedTuple):
    """How whom a rule names comes into being; in words, if there is no command for it."""

    command: str
    vnet: str

    def of(self, word: str, name: str) -> str:
        if not self.command:
            return ""
        quoted = shlex.quote(name)
        verb = {
            "site": f"add-connector {quoted} --route PREFIX",
            "client": f"add-client {quoted}",
            "tunnel": f"add-client {quoted}",
        }.get(word, f"add-client NAME --{word} {quoted}")
        return f"`{self.command} {verb}{self.vnet}`"


def _policy(
    vnet: VnetConfig,
    tunnels: list[TunnelConfig],
    everywhere: dict[str, set[str]],
    enrol: _Enrolment,
    unread: Container[str],
) -> Iterator[Finding]:
    path: Path = ("vnets", vnet.name, "policy")
    known = {
        "tunnel": {tunnel.name for tunnel in tunnels},
        "client": {tunnel.name for tunnel in tunnels if tunnel.kind is Kind.CLIENT},
        "site": {tunnel.site for tunnel in tunnels if tunnel.site},
    }
    here = _attributes(tunnels)
    seen: set[str] = set()
    for index, rule in enumerate(vnet.policy):
        if rule.id in seen:
            yield Finding(
                (*path, index, "id"), f"two rules are called {rule.id!r}", "rename one: counters go by id"
            )
        seen.add(rule.id)
        yield from _name((*path, index, "id"), rule.id)
        for side, selector in (("from", rule.source), ("to", rule.destination)):
            for word, names in known.items():
                for name in _selected(selector, word):
                    if name not in names and name not in unread:
                        fixes = (did_you_mean(name, names), enrol.of(word, name))
                        yield Finding(
                            (*path, index, side, word),
                            f"vnet {vnet.name} has no {word} {name!r}",
                            "; or enrol it: ".join(filter(None, fixes))
                            or f"it has none; take the {word} out of the rule",
                        )
            # A rule may come before the first guest. A name of another network is no slip: rules are shared.
            for word, names in here.items():
                for name in _selected(selector, word):
                    if name not in everywhere[word] and (meant := likely_meant(name, names)):
                        # The slip may be the tunnel's: say whose word it is, and take no side.
                        who = next(t.name for t in tunnels if meant in _attributes([t])[word])
                        first = enrol.of(word, name)
                        yield Finding(
                            (*path, index, side, word),
                            f"nobody in vnet {vnet.name} has the {word} {name!r}",
                            f"did you mean {meant!r}? Tunnel {who!r} has that; if {name!r} is right, correct the "
                            f"tunnel, or enrol the first {name!r} before its rule" + (first and f": {first}"),
                            ("tunnels", who),
                        )


def _attributes(tunnels: Iterable[TunnelConfig]) -> dict[str, set[str]]:
    """What people call their peers, as rules select by it; unlike names, shared and made up freely."""
    found: dict[str, set[str]] = {"user": set(), "group": set(), "tag": set()}
    for tunnel in tunnels:
        found["user"].add(tunnel.user)
        found["group"].update(tunnel.groups)
        found["tag"].update(tunnel.tags)
    return found


def _selected(selector: object, word: str) -> Iterable[str]:
    return sorted(getattr(selector, word + "s", None) or ())


def _tunnel(tunnel: TunnelConfig, config: EdgeConfig) -> Iterator[Finding]:
    path: Path = ("tunnels", tunnel.name)
    yield from _name(path, tunnel.name)
    if tunnel.keepalive is not None and not 1 <= tunnel.keepalive <= 65535:
        yield Finding(
            (*path, "keepalive"), "between 1s and 65535s", "25s suits most NATs; leave it out for none"
        )
    if tunnel.endpoint is not None and address_bytes(tunnel.endpoint[0]) is None:
        yield Finding(
            (*path, "endpoint"), f"{tunnel.endpoint[0]!r} is not an IP address", "names are not resolved"
        )
    elif tunnel.endpoint is not None and not tunnel.endpoint[1]:
        yield Finding(
            (*path, "endpoint"), "nothing can be sent to port 0", "the port that the peer listens on"
        )
    if tunnel.kind is Kind.CLIENT and tunnel.routes:
        yield Finding(
            (*path, "routes"), "a client has addresses, not routes", "write `kind: connector` for a site"
        )
    if tunnel.kind is Kind.CLIENT and tunnel.preference:
        yield Finding((*path, "preference"), "a client has no replicas", "leave it out")
    if not tunnel.addresses and not tunnel.routes:
        what = "addresses" if tunnel.kind is Kind.CLIENT else "routes"
        yield Finding(path, f"without {what} no packet can ever pass", f"add `{what}: [...]`")
    if (vnet := config.vnets.get(tunnel.vnet)) is None:
        yield Finding(
            (*path, "vnet"), f"unknown vnet {tunnel.vnet!r}", did_you_mean(tunnel.vnet, config.vnets)
        )
        return
    for index, address in enumerate(tunnel.addresses):
        if problem := _address_problem(address, vnet):
            yield Finding((*path, "addresses", index), *problem)
    for index, route in enumerate(tunnel.routes):
        if problem := _route_problem(route, tunnel, vnet):
            yield Finding((*path, "routes", index), *problem)


def _address_problem(address: bytes, vnet: VnetConfig) -> tuple[str, str] | None:
    size = len(address)
    pool = vnet.pool if size == 4 else vnet.pool6
    if pool is None:
        return f"{address_text(address)}: vnet {vnet.name} has no IPv6 pool", "add `pool6` to the vnet"
    if len(pool.address) != size:
        return None  # the pool itself is wrong, which is said there
    offset = int.from_bytes(address) - int.from_bytes(pool.address)
    last = (1 << (size * 8 - pool.length)) - 1
    if 1 < offset < last or (size == 16 and offset == last):
        return None
    text = address_text(address)
    if not 0 <= offset <= last:
        return f"{text} is outside the pool {pool} of vnet {vnet.name}", "take a free address of the pool"
    if offset == 1:
        return (
            f"{text} is the PoP's own address in vnet {vnet.name}",
            "take another: the pool's first is the PoP's",
        )
    return f"{text} is the network or broadcast address of {pool}", "take one between the first and the last"


def _route_problem(route: Prefix, tunnel: TunnelConfig, vnet: VnetConfig) -> tuple[str, str] | None:
    if route.length == 0:
        if tunnel.default_route:
            return None
        return f"{route} takes everything that no other route takes", "if meant, add `default_route: true`"
    if any(route.overlaps(bad) for bad in UNROUTABLE):
        return f"{route} holds addresses that are never routed", "route unicast prefixes only"
    if any(bad.contains(route) for bad in EMBEDDING):
        return (
            f"{route} stands for IPv4 addresses, which never pass in that form",
            "route the IPv4 prefix itself",
        )
    if route.version == 6 and vnet.mtu < MIN_MTU_V6:
        return (
            f"{route}: the MTU of vnet {vnet.name}, {vnet.mtu}, is too small for IPv6",
            f"mtu: {MIN_MTU_V6}",
        )
    for pool in vnet.pools:
        if route.overlaps(pool) and not (vnet.nested_routes and route != pool and route.covers(pool.address)):
            return (
                f"{route} overlaps the pool {pool} of vnet {vnet.name}",
                "move the pool, or route another prefix",
            )
    return None


def _overlaps(vnet: VnetConfig, tunnels: list[TunnelConfig]) -> Iterator[Finding]:
    """One pass over all prefixes in order: whatever holds a prefix comes before it and is still open.

    A prefix that replicas share counts once: whether they may is judged with them.
    """
    entries = []
    shared: dict[tuple[str, Prefix], str] = {}
    for tunnel in tunnels:
        for key, prefixes in (("addresses", map(Prefix.of, tunnel.addresses)), ("routes", tunnel.routes)):
            for index, prefix in enumerate(prefixes):
                if key == "routes" and prefix.length and _route_problem(prefix, tunnel, vnet):
                    continue  # what is wrong on its own is said once
                if tunnel.kind is Kind.CONNECTOR and tunnel.site and key == "routes":
                    owner = shared.setdefault((tunnel.site, prefix), tunnel.name)
                    if owner != tunnel.name:
                        continue
                address, length = prefix
                spare = len(address) * 8 - length
                first = int.from_bytes(address)
                entries.append(
                    (len(address), first, length, first + (1 << spare), prefix, tunnel.name, key, index)
                )
    entries.sort(key=itemgetter(0, 1, 2))
    holders: list[tuple[int, int, Prefix, str, Path]] = []
    connectors = {tunnel.name for tunnel in tunnels if tunnel.kind is Kind.CONNECTOR}
    for size, first, _, end, prefix, name, key, index in entries:
        while holders and (holders[-1][0] != size or holders[-1][1] <= first):
            holders.pop()
        if holders:
            _, _, other, owner, there = holders[-1]
            if other == prefix:
                whose = (
                    f"tunnel {name!r} has it twice"
                    if owner == name
                    else f"tunnels {owner!r} and {name!r} both have it"
                )
                yield Finding(
                    ("tunnels", name, key, index),
                    f"{prefix} in vnet {vnet.name}: {whose}",
                    "one prefix, one tunnel; replicas of a site name the same `site`"
                    if key == "routes" and owner != name and {owner, name} <= connectors
                    else "one prefix, one tunnel",
                    there,
                )
            elif not vnet.nested_routes and other.length:
                yield Finding(
                    ("tunnels", name, key, index),
                    f"{prefix} of tunnel {name!r} lies inside {other} of tunnel {owner!r} "
                    f"in vnet {vnet.name}",
                    f"split {other}, or set `nested_routes: true` in vnet {vnet.name}: "
                    "then the longest prefix wins",
                    there,
                )
        holders.append((size, end, prefix, name, ("tunnels", name, key, index)))
