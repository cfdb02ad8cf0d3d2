"""The path between one tunnel end and the PoP: a link each way, and what a scenario does to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Self

from scenarios.proto.link import Link
from scenarios.proto.link_profile import LinkProfile, PathProfile
from scenarios.proto.rng import Rng


class Direction(StrEnum):
    """Seen from the far end."""

    UP = "up"  # to the PoP
    DOWN = "down"  # from the PoP
    BOTH = "both"


class LinkPair:
    """Two links that know what they were like at the start. A partition and a degradation do not undo each other."""

    __slots__ = ("_original", "down", "on_swallowed", "swallow", "swallowed", "up")

    def __init__(self, up: Link, down: Link) -> None:
        self.up = up
        self.down = down
        self.swallow: Callable[[bytes], bool] | None = None
        """A black hole: what it is true of vanishes, either way, and nobody is told."""
        self.swallowed = 0
        self.on_swallowed: Callable[[int], None] | None = None
        """Told the size of what vanishes, while somebody watches."""
        self._original = PathProfile(up.profile, down.profile)

    @classmethod
    def of(cls, profile: PathProfile, up: Rng, down: Rng) -> Self:
        """`up` and `down` are one stream each, or traffic one way would change the fate of the other."""
        return cls(Link(profile.up, up), Link(profile.down, down))

    def __repr__(self) -> str:
        return f"LinkPair(up={self.up}, down={self.down})"

    def links(self, direction: Direction = Direction.BOTH) -> list[Link]:
        if direction is Direction.BOTH:
            return [self.up, self.down]
        return [self.up if direction is Direction.UP else self.down]

    def passing(self, datagrams: Sequence[bytes]) -> Sequence[bytes]:
        """What no black hole takes."""
        swallow = self.swallow
        if swallow is None:
            return datagrams
        left = []
        for datagram in datagrams:
            if not swallow(datagram):
                left.append(datagram)
                continue
            self.swallowed += 1
            if self.on_swallowed is not None:
                self.on_swallowed(len(datagram))
        return left

    def partition(self, direction: Direction = Direction.BOTH) -> None:
        """Nothing passes that way any more."""
        for link in self.links(direction):
            link.blocked = True

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
