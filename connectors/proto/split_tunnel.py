"""Which prefixes go through a tunnel: what is included, less what is excluded."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network


def subtract(include: Iterable[Network], exclude: Iterable[Network]) -> tuple[Network, ...]:
    """The fewest prefixes that hold every address of `include` and none of `exclude`, IPv4 first, in order."""
    left = list(include)
    for hole in exclude:
        left = [piece for prefix in left for piece in _without(prefix, hole)]
    four = [prefix for prefix in left if isinstance(prefix, IPv4Network)]
    six = [prefix for prefix in left if isinstance(prefix, IPv6Network)]
    return (*collapse_addresses(four), *collapse_addresses(six))


def _without(prefix: Network, hole: Network) -> Iterable[Network]:
    if isinstance(prefix, IPv4Network) and isinstance(hole, IPv4Network):
        if hole.supernet_of(prefix):
            return ()
        return prefix.address_exclude(hole) if prefix.supernet_of(hole) else (prefix,)
    if isinstance(prefix, IPv6Network) and isinstance(hole, IPv6Network):
        if hole.supernet_of(prefix):
            return ()
        return prefix.address_exclude(hole) if prefix.supernet_of(hole) else (prefix,)
    return (prefix,)
