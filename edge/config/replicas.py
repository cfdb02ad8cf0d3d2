"""Replicas: connectors of one vnet that name the same site. Together they are one attachment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from edge.config.finding import Finding
from edge.config.types import EdgeConfig, Kind, TunnelConfig, VnetConfig
from edge.document import Path, address_text

SHORTEST_INTERVAL, LONGEST_INTERVAL = 0.02, 60.0
MOST_MISSES = 100


def sites(tunnels: Iterable[TunnelConfig]) -> dict[str, list[TunnelConfig]]:
    """The connectors of one vnet by site, in order of preference; what is equally preferred stays in its order."""
    found: dict[str, list[TunnelConfig]] = {}
    for tunnel in tunnels:
        if tunnel.kind is Kind.CONNECTOR and tunnel.site and tunnel.routes:
            found.setdefault(tunnel.site, []).append(tunnel)
    for members in found.values():
        members.sort(key=lambda tunnel: tunnel.preference)
    return found


def free_addresses(vnet: VnetConfig, tunnels: Iterable[TunnelConfig]) -> list[bytes | None]:
    """The first address of each pool that none of `tunnels` has; None where the pool is full."""
    used = {address for tunnel in tunnels if tunnel.vnet == vnet.name for address in tunnel.addresses}
    found: list[bytes | None] = []
    for pool in vnet.pools:
        size, base = len(pool.address), int.from_bytes(pool.address)
        last = int.from_bytes(pool.last) - (size == 4)  # the last of an IPv4 pool is its broadcast address
        candidate = base + 2  # the first is the PoP's
        while candidate <= last and candidate.to_bytes(size) in used:
            candidate += 1
        found.append(candidate.to_bytes(size) if candidate <= last else None)
    return found


def check_replicas(vnet: VnetConfig, tunnels: Sequence[TunnelConfig]) -> Iterator[Finding]:
    """What replicas of one site must have, and have in common."""
    for site, members in sites(tunnels).items():
        first, *others = members
        if not others:
            continue
        for member in members:
            if not member.addresses:
                free = free_addresses(vnet, tunnels)[0]
                which = address_text(free) if free is not None else "a free address of the pool"
                yield Finding(
                    ("tunnels", member.name),
                    f"tunnel {member.name!r} is one of {len(members)} replicas of site {site!r} "
                    "and has no address at which the PoP could probe it",
                    f"add `addresses: [{which}]`, and the same as Address at the connector",
                )
        for member in others:
            yield from _differences(site, first, member)
        yield from _rules(vnet, site, members)


def _differences(site: str, first: TunnelConfig, other: TunnelConfig) -> Iterator[Finding]:
    path: Path = ("tunnels", other.name)
    both = f"tunnels {first.name!r} and {other.name!r} are replicas of site {site!r}"
    if set(first.routes) != set(other.routes):
        only = [
            f"only {tunnel.name!r} has {', '.join(map(str, sorted(more)))}"
            for tunnel, more in (
                (first, set(first.routes) - set(other.routes)),
                (other, set(other.routes) - set(first.routes)),
            )
            if more
        ]
        yield Finding(
            (*path, "routes"),
            f"{both} but not for the same routes: {'; '.join(only)}",
            "give both the same `routes`, or another `site` to one of them",
            ("tunnels", first.name, "routes"),
        )
    for word, mine, theirs in (
        ("user", first.user, other.user),
        ("groups", set(first.groups), set(other.groups)),
        ("tags", set(first.tags), set(other.tags)),
    ):
        if mine != theirs:
            yield Finding(
                (*path, word),
                f"{both} but differ in `{word}`: a failover would change what the rules say",
                f"give both the same `{word}`",
                ("tunnels", first.name, word),
            )


def _rules(vnet: VnetConfig, site: str, members: Sequence[TunnelConfig]) -> Iterator[Finding]:
    names = {member.name for member in members}
    for index, rule in enumerate(vnet.policy):
        for side, selector in (("from", rule.source), ("to", rule.destination)):
            for name in selector.tunnels:
                if name in names:
                    yield Finding(
                        ("vnets", vnet.name, "policy", index, side, "tunnel"),
                        f"tunnel {name!r} is a replica of site {site!r}: its traffic may take another",
                        f"select by `site: {site}`",
                    )


def check_probe(config: EdgeConfig) -> Iterator[Finding]:
    probe = config.probe
    if not SHORTEST_INTERVAL <= probe.interval <= LONGEST_INTERVAL:
        yield Finding(
            ("probe", "interval"),
            f"between {SHORTEST_INTERVAL * 1000:g}ms and {LONGEST_INTERVAL:g}s",
            "250ms finds a dead connector in a second",
        )
    if not 1 <= probe.misses <= MOST_MISSES:
        yield Finding(
            ("probe", "misses"), f"between 1 and {MOST_MISSES}", "4: a lost packet or two is no failure"
        )
    if not 0 <= probe.hold < float("inf"):
        yield Finding(("probe", "hold"), "not a time", "3s keeps a path that comes and goes out")
