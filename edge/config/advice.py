"""What a new tunnel changes for others, or does not do although one may think so: each a sentence for people."""

from __future__ import annotations

from collections.abc import Iterator

from edge.config.names import counted
from edge.config.types import EdgeConfig, Kind, TunnelConfig, TunnelKind
from edge.document import Prefix

NAMED = 8  # tunnels by name in one sentence


def advice(before: EdgeConfig, tunnel: TunnelConfig) -> Iterator[str]:
    """What whoever adds `tunnel` to `before` should know."""
    others = [other for other in before.tunnels.values() if other.vnet == tunnel.vnet]
    routes = {route: other.name for other in others for route in other.routes}
    new = [route for route in tunnel.routes if route not in routes]  # a replica of a site brings none
    yield from _routes_of_others(new, others)
    yield from _default_route(tunnel, new, routes)
    yield from _unknown_words(before, tunnel)


def _routes_of_others(new: list[Prefix], others: list[TunnelConfig]) -> Iterator[str]:
    """The far ends of WireGuard hold a copy of the routes as they were when they were enrolled.

    Which of two files it is in, the PoP has not kept.
    """
    names = sorted(other.name for other in others if other.tunnel is TunnelKind.WIREGUARD)
    if new and names:
        named = ", ".join(names[:NAMED])
        if len(names) > NAMED:
            named += f" and {counted(len(names) - NAMED, 'other')}"
        yield (
            f"{named} {'was' if len(names) == 1 else 'were'} enrolled before: add "
            f"{', '.join(map(str, new))} to AllowedIPs of {'its' if len(names) == 1 else 'their'} [Peer], "
            "or to `reaches:` in a file for poplab"
        )


def _default_route(tunnel: TunnelConfig, new: list[Prefix], routes: dict[Prefix, str]) -> Iterator[str]:
    for route in new:
        if route.length == 0:
            yield (
                f"{route} makes {tunnel.name} the default route of vnet {tunnel.vnet}: whatever no other tunnel has "
                f"goes there, and every WireGuard peer enrolled from now on gets AllowedIPs = {route}, a full tunnel"
            )
    for route, name in routes.items():
        if route.length == 0 and route not in tunnel.routes and tunnel.tunnel is TunnelKind.WIREGUARD:
            yield (
                f"{route} of {name} is in AllowedIPs: this is a full tunnel, all that {tunnel.name} sends "
                "goes into it; for less, write narrower prefixes there"
            )


def _unknown_words(before: EdgeConfig, tunnel: TunnelConfig) -> Iterator[str]:
    """Tags and groups are for rules: one that no rule names may be a slip."""
    if tunnel.kind is not Kind.CLIENT:
        return
    rules = before.vnets[tunnel.vnet].policy
    for word, given in (("tag", tunnel.tags), ("group", tunnel.groups)):
        known = {
            name
            for rule in rules
            for selector in (rule.source, rule.destination)
            for name in (selector.tags if word == "tag" else selector.groups)
        }
        for name in given:
            if name not in known:
                those = f"; they name {', '.join(sorted(known))}" if known else ""
                yield f"no rule of vnet {tunnel.vnet} names the {word} {name!r}{those}"
