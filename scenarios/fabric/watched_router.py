"""Who looks on at the router of a site that is ours, and at the port behind it."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.proto import SiteRouter, Watch
from scenarios.proto.premises import ZOMBIE, Port
from scenarios.world import End


def watch(router: SiteRouter, end: End) -> None:
    """Have `end.watch`, if there is one, told what passes the tunnel of `end`, whose router is `router`."""
    if end.watch is not None:
        router.watch = _Watched(end.premises.ports[end.name], end.watch)


class _Watched:
    """What a router lets pass goes no further where the port behind it is a zombie's."""

    def __init__(self, port: Port, watch: Watch) -> None:
        self._port = port
        self._watch = watch
        port.on_zombie = self._kept

    def came(self, packet: bytes, reason: str, now: float) -> None:
        self._watch.came(packet, reason or (ZOMBIE if self._port.zombie else ""), now)

    def went(self, packet: bytes, reason: str, now: float) -> None:
        self._watch.went(packet, reason, now)

    def missed(self, packets: int) -> None:
        self._watch.missed(packets)

    def _kept(self, packets: Sequence[bytearray], now: float) -> None:
        for packet in packets:
            self._watch.went(bytes(packet), ZOMBIE, now)
