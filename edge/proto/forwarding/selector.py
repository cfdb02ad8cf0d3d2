"""What a rule says about one side of a flow, and the functions into which that is compiled."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

from edge.proto.forwarding.fib import Fib
from edge.proto.forwarding.verdict import Party

Prefix: TypeAlias = tuple[bytes, int]
PortRange: TypeAlias = tuple[int, int]
Matcher: TypeAlias = Callable[[bytes, Party], bool]
"""Does this address, behind this tunnel, match?"""

FEW_PORTS = 1024  # as many may be kept one by one


@dataclass(frozen=True, slots=True)
class Selector:
    """One side of a rule. An empty field does not restrict; all given must match, each by any value."""

    prefixes: tuple[Prefix, ...] = ()
    tunnels: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    ports: tuple[PortRange, ...] = ()


ANYBODY = Selector()


def match_side(selector: Selector) -> Matcher | None:
    """One function for all that is said about tunnel and address; None if nothing is. Names cost least."""
    tests = [*_names(selector)]
    if selector.prefixes:
        tests.append(_address(selector.prefixes))
    if len(tests) < 2:
        return tests[0] if tests else None
    first, *others = tests

    def match_all(address: bytes, party: Party) -> bool:
        return first(address, party) and all(test(address, party) for test in others)

    return match_all


def match_ports(ranges: Iterable[PortRange]) -> Container[int]:
    """What holds exactly these ports."""
    spans = [range(first, last + 1) for first, last in ranges]
    if len(spans) == 1:
        return spans[0]
    if sum(map(len, spans)) <= FEW_PORTS:
        return frozenset(chain.from_iterable(spans))
    return _Spans(spans)


class _Spans(Container[int]):
    """Several wide ranges."""

    __slots__ = ("_spans",)

    def __init__(self, spans: list[range]) -> None:
        self._spans = spans

    def __contains__(self, port: object) -> bool:
        return any(port in span for span in self._spans)


def _names(selector: Selector) -> Iterator[Matcher]:
    tunnels, clients, kinds = map(frozenset, (selector.tunnels, selector.clients, selector.kinds))
    groups, tags = frozenset(selector.groups), frozenset(selector.tags)
    # A tunnel without site or user has an empty one, which no rule means.
    sites, users = frozenset(selector.sites) - {""}, frozenset(selector.users) - {""}
    if tunnels:
        yield lambda _, party: party.name in tunnels
    if clients:
        yield lambda _, party: party.name in clients and party.kind == "client"
    if selector.sites:
        yield lambda _, party: party.site in sites
    if selector.users:
        yield lambda _, party: party.user in users
    if kinds:
        yield lambda _, party: party.kind in kinds
    if groups:
        yield lambda _, party: not groups.isdisjoint(party.groups)
    if tags:
        yield lambda _, party: not tags.isdisjoint(party.tags)


def _address(prefixes: tuple[Prefix, ...]) -> Matcher:
    """Families never meet: a rule for IPv4 does not match IPv6, in whatever form it carries the address."""
    if all(length == len(prefix) * 8 for prefix, length in prefixes):
        hosts = frozenset(prefix for prefix, _ in prefixes)
        return lambda address, _: address in hosts
    if len(prefixes) == 1:
        ((prefix, length),) = prefixes
        size, host_bits = len(prefix), len(prefix) * 8 - length
        network = int.from_bytes(prefix, "big") >> host_bits
        integer = int.from_bytes
        return lambda address, _: len(address) == size and integer(address, "big") >> host_bits == network
    table: Fib[bool] = Fib()
    for prefix, length in prefixes:
        table.insert(prefix, length, True)
    lookup = table.lookup
    return lambda address, _: lookup(address) is not None
