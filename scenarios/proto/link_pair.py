"""The path between one tunnel end and the PoP: a link each way, and what a scenario does to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple, Self

from scenarios.proto.link import Link
from scenarios.proto.link_profile import LinkProfile, PathProfile
from scenarios.proto.rng import Rng


class Direction(StrEnum):
    """Seen from the far end."""

    UP = "up"  # to the PoP
    DOWN = "down"  # from the PoP
    BOTH = "both"


class Traffic(NamedTuple):
    """What a firewall stops: a transport, udp or tcp, to and from one port of the PoP; 0: to and from all."""

    protocol: str
    port: int = 0

    def __str__(self) -> str:
        return f"{self.protocol}/{self.port}" if self.port else self.protocol


class LinkPair:
    """Two links that know what they were like at the start. A partition and a degradation do not undo each other."""

    __slots__ = (
        "_original",
        "blocked",
        "down",
        "filtered",
        "on_filtered",
        "on_swallowed",
        "swallow",
        "swallowed",
        "up",
    )

    def __init__(self, up: Link, down: Link) -> None:
        self.up = up
        self.down = down
        self.swallow: Callable[[bytes | None, int], bool] | None = None
        """A black hole: what it is true of vanishes, either way, and nobody is told.

        It is given a datagram, or None for a segment of TCP, and the size of the IP packet."""
        self.swallowed = 0
        self.on_swallowed: Callable[[int], None] | None = None
        """Told the size of what vanishes, while somebody watches."""
        self.blocked: frozenset[Traffic] = frozenset()
        """What a firewall on the way stops, both ways and in silence, as those of guest networks do."""
        self.filtered = 0
        self.on_filtered: Callable[[int], None] | None = None
        """Told the size of what a firewall stops, while somebody watches."""
        self._original = PathProfile(up.profile, down.profile)

    @classmethod
    def of(cls, profile: PathProfile, up: Rng, down: Rng) -> Self:
        """`up` and `down` are one stream each, or traffic one way would change the fate of the other."""
        return cls(Link(profile.up, up), Link(profile.down, down))

    def __repr__(self) -> str:
        return f"LinkPair(up={self.up}, down={self.down})"

    @property
    def mtu(self) -> int | None:
        """The largest IP packet that passes both ways; None if there is no limit."""
        return min(filter(None, (self.up.profile.mtu, self.down.profile.mtu)), default=None)

    def links(self, direction: Direction = Direction.BOTH) -> list[Link]:
        if direction is Direction.BOTH:
            return [self.up, self.down]
        return [self.up if direction is Direction.UP else self.down]

    def admits(self, protocol: str, port: int, packets: Sequence[bytes | bytearray]) -> bool:
        """Whether a firewall lets `packets` to or from that port of the PoP pass; if not, they are counted here."""
        blocked = self.blocked
        if not blocked or ((protocol, port) not in blocked and (protocol, 0) not in blocked):
            return True
        self.filtered += len(packets)
        if self.on_filtered is not None:
            for packet in packets:
                self.on_filtered(len(packet))
        return False

    def passing(self, datagrams: Sequence[bytes], headers: int) -> Sequence[bytes]:
        """What no black hole takes; `headers` is what an IP packet has besides, in bytes."""
        swallow = self.swallow
        if swallow is None:
            return datagrams
        left = []
        for datagram in datagrams:
            if not swallow(datagram, len(datagram) + headers):
                left.append(datagram)
                continue
            self._swallow(len(datagram))
        return left

    def passes(self, segment: bytes | bytearray) -> bool:
        """Whether no black hole takes a segment of TCP, given as an IP packet."""
        if self.swallow is None or not self.swallow(None, len(segment)):
            return True
        self._swallow(len(segment))
        return False

    def _swallow(self, size: int) -> None:
        self.swallowed += 1
        if self.on_swallowed is not None:
            self.on_swallowed(size)

    def partition(self, direction: Direction = Direction.BOTH) -> None:
        """Nothing passes that way any more."""
        for link in self.links(direction):
            link.blocked = True

    def block(self, traffic: Sequence[Traffic]) -> None:
        """A firewall stops this, too."""
        self.blocked |= frozenset(traffic)

    def unblock(self) -> None:
        """There is no firewall any more."""
        self.blocked = frozenset()

    def heal(self, direction: Direction = Direction.BOTH) -> None:
        """The end of a partition."""
        for link in self.links(direction):
            link.blocked = False

    def degrade(self, profile: LinkProfile, direction: Direction = Direction.BOTH) -> None:
        """From now on the path is like `profile`. For a single figure: ``replace(pair.up.profile, loss=0.1)``."""
        for link in self.links(direction):
            link.profile = profile

    def restore(self, direction: Direction = Direction.BOTH) -> None:
        """The end of every degradation."""
        for link in self.links(direction):
            link.profile = self._original.up if link is self.up else self._original.down
