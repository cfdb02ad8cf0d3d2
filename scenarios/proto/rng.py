"""Where chance comes from: one seeded stream per link or box, so that adding one never shifts another's draws."""

from __future__ import annotations

from typing import Protocol


class Rng(Protocol):
    """The part of random.Random that the network between the hosts needs."""

    def random(self) -> float:
        """A number in [0, 1)."""
