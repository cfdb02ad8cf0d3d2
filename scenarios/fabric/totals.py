"""What the PoP counted in a whole run: each of its processes begins at 0, a run has as many as it has restarts.

Counters are added. What is true at a moment (flows, tunnels that are up, replicas, what is held) is of the process
that runs now, and nothing of it is left of one that died.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from edge.metrics import (
    HistogramSnapshot,
    MasqueSnapshot,
    SiteSnapshot,
    Snapshot,
    TunnelSnapshot,
    VnetSnapshot,
)
from edge.proto.types import DropReason

Part = TypeVar("Part", VnetSnapshot, TunnelSnapshot, SiteSnapshot)

_OF_VNET = ("packets_in", "bytes_in", "packets_generated", "packets_out", "bytes_out")
_OF_TUNNEL = ("handshakes", "handshakes_initiated", "packets_rx", "bytes_rx", "packets_tx", "bytes_tx")
_OF_MASQUE = ("fallbacks", "returns", "retries", "version_negotiations", "migrations")
_OF_MASQUE_BY_WORD = ("accepted", "failed", "sessions", "refused")
_OF_POP = ("datagrams_in", "datagrams_out", "reloads_ok", "reloads_failed")


def of_the_dead(snapshot: Snapshot) -> Snapshot:
    """What a process had counted when it died: no tunnel is up, no flow lives, and what it held is dropped."""
    return replace(
        snapshot,
        vnets=tuple(_dead(vnet) for vnet in snapshot.vnets),
        tunnels=tuple(replace(tunnel, up=False, http="") for tunnel in snapshot.tunnels),
        masque=None if snapshot.masque is None else replace(snapshot.masque, connections={}),
    )


def _dead(vnet: VnetSnapshot) -> VnetSnapshot:
    drops = vnet.drops
    if vnet.packets_held:  # no reason of the PoP's own: it was not there to give one
        drops = {**drops, DropReason.OTHER: drops.get(DropReason.OTHER, 0) + vnet.packets_held}
    return replace(vnet, flows=0, packets_held=0, drops=drops)


def total(dead: Snapshot, now: Snapshot) -> Snapshot:
    """`now`, with what `dead` (``of_the_dead``, or a total of such) counted before."""
    if not dead.vnets:
        return now
    return replace(
        now,
        vnets=_joined(dead.vnets, now.vnets, lambda vnet: vnet.name, _vnet),
        tunnels=_joined(dead.tunnels, now.tunnels, lambda tunnel: tunnel.name, _tunnel),
        sites=_joined(dead.sites, now.sites, lambda site: (site.vnet, site.name), _site),
        datagram_drops=_sum(dead.datagram_drops, now.datagram_drops),
        handshake_seconds=_histogram(dead.handshake_seconds, now.handshake_seconds),
        forward_seconds=_histogram(dead.forward_seconds, now.forward_seconds),
        masque=_masque(dead.masque, now.masque),
        **_sums(dead, now, _OF_POP),
    )


def _joined(
    dead: Iterable[Part],
    now: Iterable[Part],
    key: Callable[[Part], object],
    add: Callable[[Part, Part], Part],
) -> tuple[Part, ...]:
    """By name; who is in one of them only is as there."""
    parts = {key(part): part for part in dead}
    for part in now:
        before = parts.get(key(part))
        parts[key(part)] = part if before is None else add(before, part)
    return tuple(parts.values())


def _vnet(dead: VnetSnapshot, now: VnetSnapshot) -> VnetSnapshot:
    return replace(
        now,
        drops=_sum(dead.drops, now.drops),
        rule_hits=_sum(dead.rule_hits, now.rule_hits),
        **_sums(dead, now, _OF_VNET),
    )


def _tunnel(dead: TunnelSnapshot, now: TunnelSnapshot) -> TunnelSnapshot:
    return replace(now, **_sums(dead, now, _OF_TUNNEL))


def _site(dead: SiteSnapshot, now: SiteSnapshot) -> SiteSnapshot:
    return replace(now, failovers=dead.failovers + now.failovers)


def _masque(dead: MasqueSnapshot | None, now: MasqueSnapshot | None) -> MasqueSnapshot | None:
    if dead is None or now is None:
        return now or dead
    by_word: dict[str, Any] = {
        name: _sum(getattr(dead, name), getattr(now, name)) for name in _OF_MASQUE_BY_WORD
    }
    return replace(now, **by_word, **_sums(dead, now, _OF_MASQUE))


def _histogram(dead: HistogramSnapshot, now: HistogramSnapshot) -> HistogramSnapshot:
    counts = tuple(before + after for before, after in zip(dead.counts, now.counts, strict=True))
    return replace(now, counts=counts, total=dead.total + now.total)


Key = TypeVar("Key")


def _sum(dead: Mapping[Key, int], now: Mapping[Key, int]) -> dict[Key, int]:
    """Zeros stay: a rule without hits is an answer, too."""
    counts = Counter(dead)
    counts.update(now)
    return dict(counts)


def _sums(dead: object, now: object, names: Iterable[str]) -> dict[str, Any]:
    return {name: getattr(dead, name) + getattr(now, name) for name in names}
