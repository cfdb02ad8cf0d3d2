"""What a request limits itself to (RFC 9484 4.6): hosts to reach, one IP protocol, both or neither."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final

from edge.proto.ip import ICMP, ICMPV6, Header, is_error
from edge.proto.ip.extensions import DESTINATION_OPTIONS, EXTENSIONS, FRAGMENT, HOP_BY_HOP, ROUTING
from edge.proto.masque.address import Prefix, is_prefix
from edge.proto.masque.refusal import BadRequest
from edge.proto.masque.route import ANY_PROTOCOL
from edge.proto.masque.template import WILDCARD, Variables

NO_HOSTS: Final[Mapping[str, Sequence[bytes]]] = MappingProxyType({})

_NUMBER = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
# Never what a packet is matched by, since these are walked over (RFC 9484 4.8, which lets us refuse them). 0 would
# besides come out as "all" in an advertisement.
_NO_UPPER_LAYER = frozenset({HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION_OPTIONS})


@dataclass(frozen=True, slots=True)
class Scope:
    """Which packets belong to a request, in both directions."""

    prefixes: tuple[Prefix, ...] | None = None  # None: any host
    protocol: int | None = None  # None: all

    @classmethod
    def parse(cls, variables: Variables, hosts: Mapping[str, Sequence[bytes]] = NO_HOSTS) -> Scope:
        """`hosts`: addresses of names, in lower case and without a final dot. BadRequest if that is no scope."""
        return cls(_target(variables.target, hosts), _ipproto(variables.ipproto))

    @property
    def everything(self) -> bool:
        return self.prefixes is None and self.protocol is None

    def allows(self, header: Header, *, to_client: bool) -> bool:
        """Whether a packet belongs here: the far end and the protocol, behind all extension headers (RFC 9484 4.8).

        ICMP always has the right protocol (4.6), and an ICMP error to the client may come from any router on the way
        (section 9).
        """
        if self.protocol is not None and header.protocol != self.protocol and not _is_exempt(header):
            return False
        if self.prefixes is None:
            return True
        far = header.source if to_client else header.destination
        if to_client and is_error(header):
            return any(len(address) == len(far) for address, _ in self.prefixes)
        return any(_holds(prefix, far) for prefix in self.prefixes)

    def narrow(self, prefixes: Iterable[Prefix]) -> list[Prefix]:
        """What of `prefixes` lies inside: the routes to advertise."""
        if self.prefixes is None:
            return list(prefixes)
        inside: list[Prefix] = []
        for prefix in prefixes:
            for mine in self.prefixes:
                if _holds(mine, prefix[0]) and mine[1] <= prefix[1]:
                    inside.append(prefix)
                elif _holds(prefix, mine[0]):
                    inside.append(mine)
        return inside

    @property
    def route_protocol(self) -> int:
        """The protocol of the routes to advertise."""
        return ANY_PROTOCOL if self.protocol is None else self.protocol


EVERYTHING: Final = Scope()


def _is_exempt(header: Header) -> bool:
    """ICMP; or a later fragment that does not tell its upper layer: it comes to nothing without the first one."""
    if header.version == 4:
        return header.protocol == ICMP
    return header.protocol == ICMPV6 or (header.fragment_offset > 0 and header.protocol in EXTENSIONS)


def _holds(prefix: Prefix, address: bytes) -> bool:
    network, length = prefix
    if len(network) != len(address):
        return False
    host_bits = len(network) * 8 - length
    return int.from_bytes(network) >> host_bits == int.from_bytes(address) >> host_bits


def _target(target: str, hosts: Mapping[str, Sequence[bytes]]) -> tuple[Prefix, ...] | None:
    if target == WILDCARD:
        return None
    text, slash, tail = target.partition("/")
    address = _address(text)
    if address is not None:
        bits = len(address) * 8
        if slash and not _NUMBER.fullmatch(tail):
            raise BadRequest(400, "the prefix length of the target is not a number")
        prefix = (address, int(tail) if slash else bits)
        if not is_prefix(prefix):
            raise BadRequest(400, "the target is a prefix that is too long, or has host bits set")
        return (prefix,)
    name = target.lower().removesuffix(".")
    if not _is_name(name):
        raise BadRequest(400, "the target is no address, prefix or host name")
    addresses = hosts.get(name)
    if not addresses:
        # RFC 9209 2.3.2 names the status and the error.
        raise BadRequest(
            502, "the target is a name without addresses here", (b"proxy-status", b"poplab; error=dns_error")
        )
    return tuple((address, len(address) * 8) for address in addresses)


def _is_name(name: str) -> bool:
    """A name ends in letters (RFC 3696 section 2): 10.0.0.300 is an address gone wrong."""
    labels = name.split(".")
    return len(name) <= 253 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()


def _address(text: str) -> bytes | None:
    """Without a zone: RFC 9484 4.6 excludes it."""
    try:
        return None if "%" in text else ip_address(text).packed
    except ValueError:
        return None


def _ipproto(ipproto: str) -> int | None:
    if ipproto == WILDCARD:
        return None
    if not _NUMBER.fullmatch(ipproto) or int(ipproto) > 255:
        raise BadRequest(400, "the protocol is not a number from 0 to 255")
    protocol = int(ipproto)
    if protocol in _NO_UPPER_LAYER:
        raise BadRequest(400, "the protocol is an extension header of IPv6")
    return protocol
