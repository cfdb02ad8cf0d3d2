"""How a traffic source sends: rate, sizes, bursts; and what a datagram of it holds.

Payload: ``PLT1``, stream (u32), sequence from 0 (u64), time of sending (f64, seconds), zeros up to the size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from struct import Struct
from typing import NamedTuple, Protocol

from edge.proto.types import NEVER

PAYLOAD = Struct("!4sIQd")
MAGIC = b"PLT1"
MAX_SIZE = 65507
"""Bytes of payload that fit into an IPv4 packet."""

MAX_RATE = 1e6
MIN_PERIOD = 1e-3


class Rng(Protocol):
    """What is needed of a random.Random."""

    def expovariate(self, lambd: float, /) -> float: ...

    def randint(self, a: int, b: int, /) -> int: ...

    def choice(self, seq: Sequence[int], /) -> int: ...

    def getrandbits(self, k: int, /) -> int: ...


class Arrivals(StrEnum):
    CONSTANT = "constant"
    POISSON = "poisson"


class OneOf(NamedTuple):
    """Sizes drawn from a list (one that is there twice is twice as likely); of one alone, always that."""

    sizes: tuple[int, ...]

    def draw(self, rng: Rng) -> int:
        return self.sizes[0] if len(self.sizes) == 1 else rng.choice(self.sizes)


USUAL = OneOf((200,))


class Uniform(NamedTuple):
    """Sizes from `low` to `high`, both included."""

    low: int
    high: int

    def draw(self, rng: Rng) -> int:
        return rng.randint(self.low, self.high)


class Bursts(NamedTuple):
    """Seconds of sending and of silence in turn; if `exponential`, these are the means."""

    on: float
    off: float
    exponential: bool = True

    def draw(self, sending: bool, rng: Rng) -> float:
        mean = self.on if sending else self.off
        return max(MIN_PERIOD, rng.expovariate(1 / mean)) if self.exponential else mean


@dataclass(frozen=True, slots=True)
class Profile:
    """How a stream sends. `rate` is in datagrams per second of sending, sizes are bytes of UDP payload.

    Raises ValueError for what cannot be sent.
    """

    rate: float
    arrivals: Arrivals = Arrivals.CONSTANT
    sizes: OneOf | Uniform = USUAL
    bursts: Bursts | None = None

    def __post_init__(self) -> None:
        if not 0 < self.rate <= MAX_RATE:
            raise ValueError(f"a rate is more than 0 and at most {MAX_RATE:,.0f} per second, not {self.rate}")
        sizes = self.sizes.sizes if isinstance(self.sizes, OneOf) else (self.sizes.low, self.sizes.high)
        if not sizes or min(sizes) < PAYLOAD.size or max(sizes) > MAX_SIZE:
            raise ValueError(f"sizes are from {PAYLOAD.size} to {MAX_SIZE} bytes, not {sizes}")
        if isinstance(self.sizes, Uniform) and self.sizes.low > self.sizes.high:
            raise ValueError(f"{self.sizes.low} to {self.sizes.high} is no range of sizes")
        if self.bursts and not all(MIN_PERIOD <= mean < NEVER for mean in self.bursts[:2]):
            raise ValueError(f"periods of sending and of silence take at least {MIN_PERIOD} s")
