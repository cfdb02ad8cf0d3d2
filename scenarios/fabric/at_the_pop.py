"""Watches hosts whose packets are made anew on their way into the tunnel: what the PoP sees of them is theirs."""

from __future__ import annotations

from collections.abc import Mapping

from edge.proto.forwarding import Fate, Observer, Passage
from edge.proto.types import DropReason
from scenarios.proto.real_host import RealHost
from scenarios.world import World


class AtThePop:
    """Keeps the books of `hosts`, by the tunnel of each, and passes on to `inner` whatever it is told."""

    def __init__(self, hosts: Mapping[str, RealHost], inner: Observer | None) -> None:
        self._hosts = hosts
        self._inner = inner

    def passed(self, passage: Passage) -> None:
        """What it writes down comes before whoever gets the packet looks."""
        sender = self._hosts.get(passage.ingress)
        if sender is not None and passage.arrived and passage.fate is not Fate.PERISHED:
            sender.saw_sent([passage.arrived], passage.at)
            sender.saw([(True, passage.arrived)], passage.at)
        receiver = self._hosts.get(passage.egress)
        if receiver is not None and passage.left and passage.fate is not Fate.PERISHED:
            receiver.saw([(False, passage.left)], passage.at)
        if self._inner is not None:
            self._inner.passed(passage)

    def tunnel_changed(self, at: float, vnet: str, tunnel: str, what: str, detail: str) -> None:
        if self._inner is not None:
            self._inner.tunnel_changed(at, vnet, tunnel, what, detail)

    def refused(self, at: float, reason: DropReason, count: int) -> None:
        if self._inner is not None:
            self._inner.refused(at, reason, count)


def observer(world: World) -> Observer | None:
    """Who watches the PoP of `world`."""
    hosts = {}
    for name in world.script.cast.proxied:
        host = world.members[name].host
        assert isinstance(host, RealHost)
        hosts[name] = host
    return AtThePop(hosts, world.observer) if hosts else world.observer
