"""What a path does to datagrams: delay, jitter, loss, rate, and the rest; and profiles of the usual access networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Self

MTU = 1500  # bytes; what a default queue counts its packets in
QUEUE_SECONDS = 0.1  # a default queue holds this much of its rate ...
QUEUE_PACKETS = 16  # ... and at least as many packets, or a slow link could not take one burst


class Jitter(StrEnum):
    """How jitter is distributed around the delay; both are cut off where the delay would become negative."""

    NORMAL = "normal"  # `jitter` is the standard deviation; cut off at three of them
    UNIFORM = "uniform"  # `jitter` is the greatest deviation, both ways


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """Loss in bursts: a good and a bad state; the probabilities are per packet.

    `p` leads from good to bad, `r` back. With the default losses a burst is 1/r packets long on average and
    p / (p + r) of all packets are lost (Gilbert 1960, Elliott 1963).
    """

    p: float
    r: float
    loss_bad: float = 1.0
    loss_good: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            _check_ratio(field.name, getattr(self, field.name))
        if not self.r:
            raise ValueError("r must be greater than 0, or a burst never ends")


@dataclass(frozen=True, slots=True)
class LinkProfile:
    """One direction. Sizes are bytes of the outer IP datagram, headers included. ValueError for what cannot be.

    Datagrams keep their order, as on a path of queues; jitter never swaps them, so those closer together than it
    wait for the slowest before them. Only `reorder` does: that share is held back by `reorder_delay`, and what
    follows within that time overtakes it.
    """

    delay: float = 0.0  # seconds, one way
    jitter: float = 0.0  # seconds
    distribution: Jitter = Jitter.NORMAL
    loss: float | GilbertElliott = 0.0  # a ratio, or bursts; what is lost has used its share of the rate
    rate: float | None = None  # bit/s
    queue: int | None = None  # bytes, with what is being sent; see queue_bytes
    reorder: float = 0.0
    reorder_delay: float = 0.025  # seconds; the next packet of a voice stream (20 ms) overtakes
    duplicate: float = 0.0
    corrupt: float = 0.0  # one bit flipped
    mtu: int | None = None  # bytes; what is larger is dropped

    def __post_init__(self) -> None:
        for name in ("delay", "jitter", "reorder_delay"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be seconds, 0 or more, not {getattr(self, name)}")
        for name in ("reorder", "duplicate", "corrupt"):
            _check_ratio(name, getattr(self, name))
        if not isinstance(self.loss, GilbertElliott):
            _check_ratio("loss", self.loss)
        for name in ("rate", "queue", "mtu"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name} must be greater than 0, not {value}; leave it out for none")

    @property
    def queue_bytes(self) -> float:
        """The limit of the queue; infinite without a rate."""
        if self.rate is None:
            return float("inf")
        if self.queue is not None:
            return self.queue
        return max(self.rate / 8 * QUEUE_SECONDS, QUEUE_PACKETS * MTU)


@dataclass(frozen=True, slots=True)
class PathProfile:
    """Both directions, seen from the far end of a tunnel: `up` to the PoP, `down` from it."""

    up: LinkProfile
    down: LinkProfile

    @classmethod
    def both(cls, profile: LinkProfile) -> Self:
        return cls(profile, profile)


def _check_ratio(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be a ratio from 0 to 1, not {value}")


def _presets() -> dict[str, PathProfile]:
    """Plausible, not measured by us: each figure names what it follows from, or says that it was chosen."""
    both = PathProfile.both
    # Gigabit Ethernet: 12 us for 1500 bytes, a switch and two host stacks. Nothing is lost on a good cable.
    lan = LinkProfile(delay=0.0001, rate=1e9, mtu=1500)
    # Light in fibre needs 5 us per km: 4,000 km of route. 100 Mbit/s bought; a little queueing on the way (chosen).
    wan = LinkProfile(delay=0.02, jitter=0.0005, rate=100e6, mtu=1500)
    # VDSL2 as sold, 50/10 Mbit/s; the delay is interleaving against impulse noise and the way to the PoP (chosen).
    # PPPoE leaves 1492 bytes (RFC 2516).
    dsl = LinkProfile(delay=0.012, jitter=0.001, loss=0.0001, mtu=1492)
    # A shared radio: retransmissions and other stations show as jitter; what they cannot repair, in short bursts.
    # The delay includes a wired access behind it. All chosen.
    wifi = LinkProfile(
        delay=0.01, jitter=0.004, loss=GilbertElliott(p=0.002, r=0.5), rate=80e6, queue=1_000_000, mtu=1500
    )
    # The radio repairs its losses, which turns them into jitter, and queues are deep (Jiang et al., "Tackling
    # bufferbloat in 3G/4G networks", IMC 2012): a second. Delay and rates are chosen; GTP leaves less than 1500 bytes.
    lte = LinkProfile(delay=0.025, jitter=0.008, loss=0.0005, mtu=1430)
    # Geostationary: 239.6 to 279.0 ms from ground to ground by distance alone (RFC 2488, section 2); coding and
    # medium access come on top. 25/3 Mbit/s was the FCC's definition of broadband from 2015 to 2024.
    satellite = LinkProfile(delay=0.29, jitter=0.005, loss=GilbertElliott(p=0.0005, r=0.25), mtu=1500)
    # Worse than anybody would pay for, to see what survives: bursts of four, 3.8 % in all, and some of everything.
    lossy = LinkProfile(
        delay=0.05,
        jitter=0.01,
        loss=GilbertElliott(p=0.01, r=0.25),
        rate=5e6,
        reorder=0.005,
        duplicate=0.002,
        corrupt=0.001,
        mtu=1500,
    )
    return {
        "lan": both(lan),
        "wan": both(wan),
        "dsl": PathProfile(up=_at(dsl, 10e6), down=_at(dsl, 50e6)),
        "wifi": both(wifi),
        "lte": PathProfile(up=_at(lte, 10e6, seconds=1.0), down=_at(lte, 30e6, seconds=1.0)),
        "satellite": PathProfile(up=_at(satellite, 3e6, seconds=0.5), down=_at(satellite, 25e6, seconds=0.5)),
        "lossy": both(lossy),
    }


def _at(profile: LinkProfile, rate: float, *, seconds: float | None = None) -> LinkProfile:
    return replace(profile, rate=rate, queue=None if seconds is None else round(rate / 8 * seconds))


PRESETS: Mapping[str, PathProfile] = MappingProxyType(_presets())
"""Profiles by name."""
