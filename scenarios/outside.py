"""Devices of the user in a world: what makes them known to its PoP, and what the PoP sees of them.

So are hosts whose packets an agent makes anew on their way into the tunnel: nobody else gets what passes their cards.
"""

from __future__ import annotations

from base64 import b32encode
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import ip_address

from edge.proto.forwarding import Fate, Observer, Passage
from edge.proto.ip import Header
from edge.proto.types import DropReason
from scenarios.proto.real_host import RealHost

MOST_DROPS = 64
"""Kinds of drops that are remembered; strangers choose how many there are."""

MOST_WAITING = 20_000
"""Packets to devices from outside that wait to be judged; more are not judged."""

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
_PASSWORD = 12


@dataclass(frozen=True, slots=True)
class Identity:
    """What a device from outside proves itself with."""

    private_key: bytes = field(repr=False)
    preshared_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Identities:
    """Keys that may outlive a world: the PoP's private key, and its clients from outside by name."""

    pop: bytes = field(repr=False)
    outside: Mapping[str, Identity] = field(repr=False)


def sip_password(private_key: bytes, server: str) -> str:
    """At the PBX `server`, for whoever has that key; short, since a person types it into a telephone."""
    digest = sha256(b"poplab sip " + server.encode() + b"\0" + private_key).digest()
    return b32encode(digest).decode().lower()[:_PASSWORD]


@dataclass(slots=True)
class Dropped:
    """Packets of one kind that died in the PoP."""

    at: float
    """When the last one did, in the PoP's time."""
    vnet: str
    tunnel: str
    """Where they came from; empty if nobody knows any more."""
    flow: str
    reason: DropReason
    rule: str
    count: int = 0


class Lookout:
    """Sees what passes the PoP: books for devices whose cards nobody can look at, and a memory of what died.

    `hosts` are those devices by tunnel. What the PoP has opened is what they sent; what it sends into their tunnels is
    what they got, which `settle` judges: by then whatever the senders' own cards saw is in the books, too.
    """

    def __init__(self, hosts: Mapping[str, RealHost], also: Observer | None = None) -> None:
        self._hosts = hosts
        self._also = also
        self._waiting: list[tuple[RealHost, bytes, float]] = []
        self._drops: dict[tuple[str, str, str, DropReason, str], Dropped] = {}
        self.changes: deque[tuple[float, str, str, str]] = deque(maxlen=200)
        """Time, tunnel, what happened to it, details."""

    @property
    def drops(self) -> list[Dropped]:
        """The latest last."""
        return sorted(self._drops.values(), key=lambda each: each.at)

    def settle(self) -> None:
        """Judge what has been sent to devices since the last time."""
        waiting, self._waiting = self._waiting, []
        for host, packet, at in waiting:
            host.saw([(False, packet)], at)

    # -- an observer of the PoP

    def passed(self, passage: Passage) -> None:
        if self._also is not None:
            self._also.passed(passage)
        if passage.fate is Fate.PERISHED:
            sender = target = None  # it came, and was noted, before
        else:
            sender = self._hosts.get(passage.ingress) if passage.arrived else None
            target = self._hosts.get(passage.egress) if passage.left else None
        if sender is not None:
            sender.saw_sent([passage.arrived], passage.at)
            sender.saw([(True, passage.arrived)], passage.at)
        if target is not None and len(self._waiting) < MOST_WAITING:
            self._waiting.append((target, passage.left, passage.at))
        if passage.reason is not None:
            self._remember(passage, passage.reason)

    def tunnel_changed(self, at: float, vnet: str, tunnel: str, what: str, detail: str) -> None:
        if self._also is not None:
            self._also.tunnel_changed(at, vnet, tunnel, what, detail)
        self.changes.append((at, tunnel, what, detail))

    def refused(self, at: float, reason: DropReason, count: int) -> None:
        if self._also is not None:
            self._also.refused(at, reason, count)

    def _remember(self, passage: Passage, reason: DropReason) -> None:
        key = passage.vnet, passage.ingress, _flow(passage.header), reason, passage.rule
        found = self._drops.pop(key, None)
        if found is None:
            if len(self._drops) >= MOST_DROPS:
                del self._drops[next(iter(self._drops))]
            vnet, tunnel, flow, _, rule = key
            found = Dropped(passage.at, vnet, tunnel, flow, reason, rule)
        found.at = passage.at
        found.count += 1
        self._drops[key] = found  # the latest last: the one that is forgotten first is the oldest


def _flow(header: Header | None) -> str:
    """Without the port that is another one each time."""
    if header is None:
        return "no IP packet"
    source, destination = ip_address(header.source), ip_address(header.destination)
    protocol = _PROTOCOLS.get(header.protocol, f"protocol {header.protocol}")
    port = header.destination_port
    where = (
        f"[{destination}]:{port}"
        if port and header.version == 6
        else f"{destination}:{port}"
        if port
        else destination
    )
    return f"{source} -> {where} {protocol}"
