"""A NAT in front of a client, as RFC 4787 describes them: mapping, filtering, port allocation, timeout."""

from __future__ import annotations

from collections.abc import Mapping as ReadOnlyMapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

from edge.proto.types import Address
from scenarios.proto.rng import Rng

LOWEST_PORT, HIGHEST_PORT = 1024, 65535
MAX_REMOTES = 1024
"""Remotes that one mapping lets in; the one that was sent to longest ago is forgotten first."""


class Behaviour(StrEnum):
    """What a mapping or a filter depends on (RFC 4787, sections 4.1 and 5)."""

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


@dataclass(frozen=True, slots=True)
class NatProfile:
    """What a NAT is like. ValueError for what cannot be.

    `timeout` in seconds without an outbound packet. REQ-5 asks for two minutes at least; many boxes at home, and most
    that an operator shares among customers, take 30 s, so a tunnel without a keepalive goes deaf.
    """

    mapping: Behaviour = Behaviour.ENDPOINT_INDEPENDENT
    filtering: Behaviour = Behaviour.ADDRESS_AND_PORT_DEPENDENT
    timeout: float = 120.0
    preserve_port: bool = True  # the inside port if it is free outside; else, or without, a random one
    max_mappings: int = 4096  # more are refused

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError(f"timeout must be seconds, more than 0, not {self.timeout}")
        if not 0 < self.max_mappings <= (HIGHEST_PORT - LOWEST_PORT) // 2:
            raise ValueError(f"max_mappings must be between 1 and 32255, not {self.max_mappings}")


@dataclass(slots=True)
class NatCounters:
    """Packets by fate, and what happened to mappings."""

    outbound: int = 0
    inbound: int = 0
    # Outbound packets that died:
    full: int = 0  # no room for another mapping
    hairpin: int = 0  # for the NAT's own address
    # Inbound packets that died:
    unknown: int = 0  # no mapping has the port, or not any more
    filtered: int = 0  # the mapping is not for this remote
    # Mappings:
    created: int = 0
    expired: int = 0
    rebinds: int = 0


_Key: TypeAlias = Address | tuple[Address, str] | tuple[Address, Address]
_Remote: TypeAlias = str | Address | None


@dataclass(slots=True)
class _Mapping:
    key: _Key
    inside: Address
    public: Address
    refreshed: float
    remotes: dict[_Remote, float] = field(default_factory=dict)  # last sent to, in that order


class Nat:
    """Translates between inside addresses and ports of `host`. `now` never goes back.

    Only outbound packets refresh (REQ-6): whoever is outside cannot keep a mapping open. A remote that was not sent to
    for `timeout` is a stranger again even if the mapping lives on. There is no hairpinning: REQ-9 wants it, many boxes
    do not have it. No port is ever shared by two mappings (REQ-3).
    """

    __slots__ = ("_burnt", "_by_key", "_by_port", "_rng", "counters", "host", "profile")

    def __init__(self, host: str, profile: NatProfile, rng: Rng) -> None:
        self.host = host
        self.profile = profile
        self.counters = NatCounters()
        self._rng = rng
        self._by_key: dict[_Key, _Mapping] = {}  # the one refreshed longest ago first
        self._by_port: dict[int, _Mapping] = {}
        self._burnt: frozenset[int] = frozenset()  # ports of before the last rebind

    def __len__(self) -> int:
        """Mappings, some of which may have expired."""
        return len(self._by_key)

    def outbound(self, inside: Address, remote: Address, now: float) -> Address | None:
        """The public source of a packet from `inside` to `remote`, or None if it is dropped."""
        if remote[0] == self.host:
            self.counters.hairpin += 1
            return None
        key = self._key(inside, remote)
        mapping = self._by_key.pop(key, None)  # to be put at the end
        if mapping is not None and self._expired(mapping.refreshed, now):
            self._forget(mapping)
            mapping = None
        if mapping is None:
            mapping = self._create(key, inside, now)
            if mapping is None:
                self.counters.full += 1
                return None
        self._by_key[key] = mapping
        mapping.refreshed = now
        self._permit(mapping, remote, now)
        self.counters.outbound += 1
        return mapping.public

    def mapped(self, inside: Address, remote: Address, now: float) -> Address | None:
        """The public source that such a packet would have by a mapping that is there; none is made or refreshed."""
        mapping = self._by_key.get(self._key(inside, remote))
        return None if mapping is None or self._expired(mapping.refreshed, now) else mapping.public

    def inbound(self, public_port: int, remote: Address, now: float) -> Address | None:
        """The inside destination of a packet from `remote` to that port of `host`, or None if it is dropped."""
        mapping = self._by_port.get(public_port)
        if mapping is None or self._expired(mapping.refreshed, now):
            self.counters.unknown += 1
            return None
        sent_to = mapping.remotes.get(self._filter(remote))
        if sent_to is None or self._expired(sent_to, now):
            self.counters.filtered += 1
            return None
        self.counters.inbound += 1
        return mapping.inside

    def rebind(self, host: str | None = None) -> None:
        """A reboot: every mapping is gone, and those that follow have other ports than those of now.

        With `host` the public address is a new one too.
        """
        self.host = host or self.host
        self._burnt = frozenset(self._by_port)
        self._by_key.clear()
        self._by_port.clear()
        self.counters.rebinds += 1

    def _key(self, inside: Address, remote: Address) -> _Key:
        match self.profile.mapping:
            case Behaviour.ENDPOINT_INDEPENDENT:
                return inside
            case Behaviour.ADDRESS_DEPENDENT:
                return (inside, remote[0])
            case Behaviour.ADDRESS_AND_PORT_DEPENDENT:
                return (inside, remote)

    def _filter(self, remote: Address) -> _Remote:
        """What of a remote has to have been sent to."""
        match self.profile.filtering:
            case Behaviour.ENDPOINT_INDEPENDENT:
                return None
            case Behaviour.ADDRESS_DEPENDENT:
                return remote[0]
            case Behaviour.ADDRESS_AND_PORT_DEPENDENT:
                return remote

    def _permit(self, mapping: _Mapping, remote: Address, now: float) -> None:
        who = self._filter(remote)
        mapping.remotes.pop(who, None)  # to be put at the end
        mapping.remotes[who] = now
        if len(mapping.remotes) > MAX_REMOTES:
            del mapping.remotes[next(iter(mapping.remotes))]

    def _expired(self, last: float, now: float) -> bool:
        return now - last >= self.profile.timeout

    def _create(self, key: _Key, inside: Address, now: float) -> _Mapping | None:
        while self._by_key:
            oldest = next(iter(self._by_key.values()))
            if not self._expired(oldest.refreshed, now):
                break
            del self._by_key[oldest.key]
            self._forget(oldest)
        if len(self._by_key) >= self.profile.max_mappings:
            return None
        port = self._free_port(inside[1])
        mapping = self._by_port[port] = _Mapping(key, inside, (self.host, port), now)
        self.counters.created += 1
        return mapping

    def _forget(self, mapping: _Mapping) -> None:
        del self._by_port[mapping.public[1]]
        self.counters.expired += 1

    def _free_port(self, wanted: int) -> int:
        """One draw at most; there is one, as mappings and those burnt are fewer than half of all ports each."""
        if self.profile.preserve_port and self._is_free(wanted):
            return wanted
        count = HIGHEST_PORT - LOWEST_PORT + 1
        first = int(self._rng.random() * count)
        return next(port for n in range(count) if self._is_free(port := LOWEST_PORT + (first + n) % count))

    def _is_free(self, port: int) -> bool:
        return port not in self._by_port and port not in self._burnt


_PORT_RESTRICTED = NatProfile()

NATS: ReadOnlyMapping[str, NatProfile] = MappingProxyType(
    {
        # The first four by their names of RFC 3489, section 5.
        "full-cone": NatProfile(filtering=Behaviour.ENDPOINT_INDEPENDENT),
        "restricted-cone": NatProfile(filtering=Behaviour.ADDRESS_DEPENDENT),
        "port-restricted": _PORT_RESTRICTED,
        "symmetric": NatProfile(mapping=Behaviour.ADDRESS_AND_PORT_DEPENDENT, preserve_port=False),
        # Shared among customers, so no port is anybody's own, and few of them each (RFC 6888, REQ-4).
        "cgnat": NatProfile(timeout=30.0, preserve_port=False, max_mappings=1024),
    }
)
"""NATs by name; port-restricted is the usual one at home."""
