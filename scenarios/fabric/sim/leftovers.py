"""What a PoP still holds long after everybody has left: that would grow for ever."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from edge.proto.forwarding.flows import IDLE_TIMEOUT
from edge.proto.masque.tunnel import MasqueTunnel
from edge.proto.types import NEVER
from edge.proto.wireguard import Tunnel
from edge.proto.wireguard.timers import ERASE_AFTER_TIME
from edge.server.engine import Engine
from scenarios.fabric.sim.heap import EventHeap
from scenarios.fabric.sim.underlay import Underlay

NAP = 30.0
"""Virtual seconds that are skipped at a time. Nobody waits for another in them, so few looks are enough."""

SHORT = ERASE_AFTER_TIME + 2 * NAP
"""After this the keys are gone, and every flow but those of TCP."""

LONG = 2 * max(IDLE_TIMEOUT.values())
"""Idle connections keep their flows that long (RFC 5382); twice, as two looks tell that one is idle."""

LONG_NAP = 300.0
EVENTS_AT_MOST = 1_000_000


def after_everything(heap: EventHeap, underlay: Underlay) -> list[str]:
    """Let time pass and say what is left; every far end is down already."""
    begun = heap.now
    _sleep(heap, begun + SHORT, NAP)
    engine = underlay.pop.engine
    while engine is not None and _flows(engine) and heap.now < begun + LONG:
        _sleep(heap, heap.now + LONG_NAP, LONG_NAP)
    return [*_of_pop(engine, heap.now), *_of_heap(heap, underlay)]


def _sleep(heap: EventHeap, until: float, nap: float) -> None:
    while heap.now < until:
        heap.skip(min(until, heap.now + nap))
        while not heap.run(heap.now, at_most=EVENTS_AT_MOST):  # an application may have asked for a look
            pass


def _flows(engine: Engine) -> int:
    return sum(len(vnet.flows) for vnet in engine.pop.vnets.values())


def _of_pop(engine: Engine | None, now: float) -> Iterator[str]:
    if engine is None:
        return  # a process that is gone has left nothing
    for vnet in engine.snapshot(now).vnets:
        if vnet.flows:
            yield f"vnet {vnet.name}: {vnet.flows:,} flows"
        if vnet.packets_held:
            yield f"vnet {vnet.name}: {vnet.packets_held:,} packets held"
    for name, network in engine.pop.vnets.items():
        if network.fragments.datagrams:
            yield f"vnet {name}: fragments of {network.fragments.datagrams:,} datagrams"
    for attachment in engine.pop.attachments.values():
        if attachment.cache:
            yield f"tunnel {attachment.name}: {len(attachment.cache):,} remembered shapes of packets"
        # A replica of a site is asked again and again whether it is back: that is no leftover.
        for link in attachment.links:
            if isinstance(link, MasqueTunnel):
                if link.sessions:
                    yield f"tunnel {attachment.name}: {len(link.sessions)} MASQUE sessions"
            elif attachment.replica is None and link.timers.earliest() < NEVER:
                yield f"tunnel {attachment.name}: its timer {link.timers.deadline().why} runs"
    if engine.pop.masque is not None:
        for what, count in engine.pop.masque.held.items():
            if count:
                yield f"the MASQUE port: {count:,} {what}"
    device = engine.pop.device
    replicas = [each for each in engine.pop.attachments.values() if each.replica is not None]
    asked = sum(
        isinstance(link, Tunnel) and link.pending is not None for each in replicas for link in each.links
    )
    sessions, handshakes = device.indices
    for count, what in (
        (sessions, "sessions with keys"),
        (handshakes - asked, "handshakes in progress"),
        (device.staged, "packets that wait for a handshake"),
    ):
        if count:
            yield f"the PoP: {count:,} {what}"


def _of_heap(heap: EventHeap, underlay: Underlay) -> Iterator[str]:
    """Hosts live on without a network, and the PoP keeps house; nobody else has anything to do."""
    living = (underlay.pop, underlay)
    others = [
        happening
        for at, happening in heap.pending()
        if at < inf and getattr(happening, "__self__", None) not in living
    ]
    if others:
        names = sorted({getattr(happening, "__qualname__", repr(happening)) for happening in others})
        yield f"{len(others):,} events that wait: {', '.join(names)}"
