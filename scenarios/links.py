"""From what a scenario writes about paths and NATs to what the simulated network does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

from scenarios.proto.link_profile import PRESETS, GilbertElliott, LinkProfile, PathProfile
from scenarios.proto.nat import NATS, Nat
from scenarios.schema.topology import Impairment, Link, NatBox

PERFECT = PathProfile.both(LinkProfile())


def path_profile(links: Mapping[str, Link], name: str | None) -> PathProfile:
    """The path that is called `name` in a checked file; None is a perfect one."""
    if name is None:
        return PERFECT
    link = links.get(name)
    if link is None or link.like == name:
        base = PRESETS[name]
        return base if link is None else _changed(base, link)
    return link_profile(links, link)


def link_profile(links: Mapping[str, Link], link: Link, base: PathProfile | None = None) -> PathProfile:
    """What `link` describes: its figures where it gives any, else those of what it is like, else `base`."""
    if link.like is not None:
        base = path_profile(links, link.like)
    return _changed(base or PERFECT, link)


def _changed(base: PathProfile, link: Link) -> PathProfile:
    up, down = _impaired(base.up, link), _impaired(base.down, link)
    return PathProfile(
        up if link.up is None else _impaired(up, link.up),
        down if link.down is None else _impaired(down, link.down),
    )


def _impaired(profile: LinkProfile, by: Impairment) -> LinkProfile:
    changes: dict[str, Any] = {
        name: value
        for name in ("delay", "jitter", "rate", "queue", "reorder", "duplicate", "corrupt", "mtu")
        if (value := getattr(by, name)) is not None
    }
    if by.loss is not None:
        changes["loss"] = GilbertElliott(*by.loss) if by.loss.in_bursts else float(by.loss[0])
    if by.rate is not None and by.queue is None:
        changes["queue"] = None  # that of another rate would not fit
    return replace(profile, **changes)


def nat(given: str | NatBox | None, public: str, rng: Random) -> Nat | None:
    """The NAT of a client, with the address `public`."""
    if given is None:
        return None
    box = NatBox(kind=given) if isinstance(given, str) else given  # type: ignore[arg-type]
    profile = NATS[box.kind]
    return Nat(public, profile if box.idle is None else replace(profile, timeout=box.idle), rng)
