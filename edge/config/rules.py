"""Rules as people write them, in edge.yaml and in scenarios, and what they mean to the forwarder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import msgspec
from msgspec import UNSET, UnsetType

from edge.document import Prefixes, Words, did_you_mean
from edge.proto.forwarding.policy import Action, Rule, Selector
from edge.proto.ip.icmp.messages import ERRORS

PROTOCOLS: Mapping[str, int] = {
    "icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "udp": 17, "ipv6": 41, "gre": 47, "esp": 50, "ah": 51,
    "icmpv6": 58, "ipv6-icmp": 58, "ospf": 89, "sctp": 132,
}  # fmt: skip
WITH_PORTS = ("tcp", "udp", "sctp")
HAVE_PORTS = frozenset({6, 17, 33, 132, 136})  # 33 and 136: DCCP and UDP-Lite, which have no word here
ICMP_TYPES: Mapping[str, tuple[tuple[int, int], ...]] = {  # (protocol, type) in each family that has it
    "echo-reply": ((1, 0), (58, 129)),
    "unreachable": ((1, 3), (58, 1)),
    "packet-too-big": ((58, 2),),
    "echo-request": ((1, 8), (58, 128)),
    "time-exceeded": ((1, 11), (58, 3)),
    "parameter-problem": ((1, 12), (58, 4)),
    "timestamp-request": ((1, 13),),
    "timestamp-reply": ((1, 14),),
}


def _is_error(protocol: int, kind: int) -> bool:
    return kind in ERRORS if protocol == PROTOCOLS["icmp"] else kind < 128  # RFC 4443 section 2.1


DECIDED = [word for word, entries in ICMP_TYPES.items() if not all(_is_error(*entry) for entry in entries)]


def _items(value: object) -> list[object]:
    if value == []:
        raise ValueError("an empty list; leave the key out, or name something")
    return value if isinstance(value, list) else [value]


def _one_or_many(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"anyOf": [schema, {"type": "array", "items": schema, "minItems": 1}]}


class Protocols(tuple[int, ...]):
    """``tcp``, a number, or a list of such."""

    __slots__ = ()
    SCHEMA: ClassVar[Mapping[str, Any]] = _one_or_many(
        {"anyOf": [{"enum": list(PROTOCOLS)}, {"type": "integer", "minimum": 0, "maximum": 255}]}
    )

    @classmethod
    def parse(cls, value: object) -> Self:
        return cls(map(cls._number, _items(value)))

    @staticmethod
    def _number(item: object) -> int:
        if isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= 255:
            return item
        if isinstance(item, str) and item in PROTOCOLS:
            return PROTOCOLS[item]
        raise ValueError(f"unknown protocol {item!r}; {did_you_mean(str(item), PROTOCOLS)}")


class Ports(tuple[tuple[int, int, int], ...]):
    """``udp/5060``, ``tcp/8000-8999``, ``443`` for TCP and UDP, or a list, as (protocol, first, last)."""

    __slots__ = ()
    SCHEMA: ClassVar[Mapping[str, Any]] = _one_or_many(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^(({'|'.join(WITH_PORTS)})/)?[0-9]{{1,5}}(-[0-9]{{1,5}})?$"},
                {"type": "integer", "minimum": 0, "maximum": 65535},
            ]
        }
    )

    @classmethod
    def parse(cls, value: object) -> Self:
        return cls(entry for item in _items(value) for entry in cls._entries(item))

    @staticmethod
    def _entries(item: object) -> list[tuple[int, int, int]]:
        text = str(item) if isinstance(item, (int, str)) and not isinstance(item, bool) else ""
        match = re.fullmatch(r"(?:([a-z]+)/)?([0-9]{1,5})(?:-([0-9]{1,5}))?", text, re.ASCII)
        if not match or (match[1] or "tcp") not in WITH_PORTS:
            raise ValueError(f"{item!r} is not a port; write udp/5060, tcp/8000-8999, or 443 for TCP and UDP")
        first, last = int(match[2]), int(match[3] or match[2])
        if not first <= last <= 65535:
            raise ValueError(
                f"{item!r} is not a range of ports: the first must not exceed the last, nor that 65535"
            )
        names = (match[1],) if match[1] else ("tcp", "udp")
        return [(PROTOCOLS[name], first, last) for name in names]


class PortRanges(tuple[tuple[int, int], ...]):
    """``53``, ``1024-65535``, or a list of such; the protocol is the rule's."""

    __slots__ = ()
    SCHEMA: ClassVar[Mapping[str, Any]] = _one_or_many(
        {
            "anyOf": [
                {"type": "string", "pattern": "^[0-9]{1,5}(-[0-9]{1,5})?$"},
                {"type": "integer", "minimum": 1, "maximum": 65535},
            ]
        }
    )

    @classmethod
    def parse(cls, value: object) -> Self:
        return cls(map(cls._range, _items(value)))

    @staticmethod
    def _range(item: object) -> tuple[int, int]:
        match = re.fullmatch(
            r"([0-9]{1,5})(?:-([0-9]{1,5}))?", "" if isinstance(item, bool) else str(item), re.ASCII
        )
        if not match:
            raise ValueError(
                f"{item!r} is not a port here; write 53 or 1024-65535, and `protocol:` beside `from`"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= 65535:
            raise ValueError(f"{item!r} is not a range of ports between 1 and 65535")
        return first, last


class IcmpTypes(tuple[tuple[int, int], ...]):
    """``echo-request``, a type number, or a list of such, as (protocol, type) of both families.

    Error messages never reach the policy: they follow the flow whose packet they quote.
    """

    __slots__ = ()
    SCHEMA: ClassVar[Mapping[str, Any]] = _one_or_many(
        {"anyOf": [{"enum": DECIDED}, {"type": "integer", "minimum": 0, "maximum": 255}]}
    )

    @classmethod
    def parse(cls, value: object) -> Self:
        return cls(entry for item in _items(value) for entry in cls._entries(item))

    @staticmethod
    def _entries(item: object) -> tuple[tuple[int, int], ...]:
        entries: tuple[tuple[int, int], ...]
        if isinstance(item, int) and not isinstance(item, bool) and 0 <= item <= 255:
            entries = ((PROTOCOLS["icmp"], item), (PROTOCOLS["icmpv6"], item))
        elif isinstance(item, str) and item in ICMP_TYPES:
            entries = ICMP_TYPES[item]
        else:
            raise ValueError(f"unknown ICMP type {item!r}; {did_you_mean(str(item), DECIDED)}")
        decided = tuple(entry for entry in entries if not _is_error(*entry))
        if not decided:
            raise ValueError(
                f"{item!r} is an ICMP error, on which no rule decides: errors pass where the flow passes "
                "whose packet they quote; delete it"
            )
        return decided


class SelectorFile(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """One side of a rule: all keys given must match, each by any one of its values.

    A key without a value, as in ``tag:``, is refused, and so is an empty mapping: a slip must not widen a rule.
    """

    any: Literal[True] | UnsetType = UNSET  # says in words that nothing restricts
    vnet: Words | UnsetType = UNSET
    address: Prefixes | UnsetType = UNSET
    cidr: Prefixes | UnsetType = UNSET  # the same, for those who say it so
    tunnel: Words | UnsetType = UNSET
    site: Words | UnsetType = UNSET
    client: Words | UnsetType = UNSET
    user: Words | UnsetType = UNSET
    group: Words | UnsetType = UNSET
    tag: Words | UnsetType = UNSET
    kind: Words | UnsetType = UNSET
    port: PortRanges | UnsetType = UNSET

    def __post_init__(self) -> None:
        given = {
            name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not UNSET
        }
        if not given:
            raise ValueError("it selects nothing; leave it out, or write `any: true` to mean everybody")
        if self.any and len(given) > 1:
            raise ValueError("`any: true` beside other keys; they would restrict it")
        if self.address and self.cidr:
            raise ValueError("`address` and `cidr` are the same; write one list")
        for name, value in given.items():
            if name != "any" and "" in value:
                raise ValueError(f"an empty word in `{name}`; nobody is called so")
        for kind in self.kind or ():
            if kind not in ("connector", "client"):
                raise ValueError(f"unknown kind {kind!r}; {did_you_mean(kind, ('connector', 'client'))}")


EVERYBODY = SelectorFile(any=True)


class RuleFile(
    msgspec.Struct,
    kw_only=True,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"source": "from", "destination": "to"},
):
    """``{id: voice, to: {site: hq}, ports: [udp/5060], action: allow}``; what is left out is open.

    What can never match is refused: as an allowing rule it would be useless, as a blocking one it would be a hole.
    """

    id: str
    action: Action
    source: SelectorFile = EVERYBODY
    destination: SelectorFile = EVERYBODY
    protocol: Protocols | UnsetType = UNSET
    ports: Ports | UnsetType = UNSET  # destination; source ports are `from: {port: ...}`
    icmp: IcmpTypes | UnsetType = UNSET

    def __post_init__(self) -> None:
        has_ports = bool(self.ports or self.source.port or self.destination.port)
        if self.icmp and has_ports:
            raise ValueError("`icmp` beside ports; no packet has both, write two rules")
        if not self.protocol:
            return
        for protocol in self.protocol:
            if has_ports and protocol not in HAVE_PORTS:
                raise ValueError(f"protocol {_name(protocol)} has no ports; write a rule of its own for it")
            if self.ports and all(which != protocol for which, _, _ in self.ports):
                raise ValueError(
                    f"none of `ports` is of protocol {_name(protocol)}; write {_name(protocol)}/..."
                )
            if self.icmp and all(which != protocol for which, _ in self.icmp):
                raise ValueError(
                    f"none of the types in `icmp` exists in protocol {_name(protocol)}, errors aside"
                )
        for _, first, last in self.ports or ():
            if not any((which, first, last) in (self.ports or ()) for which in self.protocol):
                raise ValueError(f"port {first} is of a protocol that `protocol` leaves out")

    @property
    def vnets(self) -> frozenset[str]:
        """The virtual networks that the rule is for, if it names any."""
        return frozenset((*(self.source.vnet or ()), *(self.destination.vnet or ())))


def _name(protocol: int) -> str:
    return next((name for name, number in PROTOCOLS.items() if number == protocol), str(protocol))


def rule(text: RuleFile) -> Rule:
    """What the forwarder is asked to do."""
    return Rule(
        id=text.id,
        action=text.action,
        source=_selector(text.source),
        destination=_selector(text.destination),
        protocols=tuple(text.protocol or ()),
        services=tuple(text.ports or ()),
        icmp=tuple(text.icmp or ()),
    )


def _selector(text: SelectorFile) -> Selector:
    return Selector(
        prefixes=(*(text.address or ()), *(text.cidr or ())),
        tunnels=tuple(text.tunnel or ()),
        sites=tuple(text.site or ()),
        clients=tuple(text.client or ()),
        users=tuple(text.user or ()),
        groups=tuple(text.group or ()),
        tags=tuple(text.tag or ()),
        kinds=tuple(text.kind or ()),
        ports=tuple(text.port or ()),
    )
