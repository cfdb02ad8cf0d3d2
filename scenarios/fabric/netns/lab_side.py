"""The device of a tunnel whose far end is ours, in a world of kernels: the premises hear that it is alive, and whoever
looks on at a connector hears what passes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial

import trio

from connectors.proto import Watch
from connectors.proto.border import Border
from connectors.tun import Tun
from connectors.tun_side import TunSide
from edge.proto.types import DropReason
from scenarios.fabric.netns.cards import is_chatter
from scenarios.fabric.netns.veth_wire import VethWire
from scenarios.proto.premises import ZOMBIE, Port


class LabSide(TunSide):
    """Of `port`, which is told of spoofed sources; `own` are addresses of its machine. `watch`, if any, is told of all.

    By `catch_up` the cards of hosts are read, so that what they have sent is told before it is told that it went on.
    """

    def __init__(
        self,
        open_device: Callable[[], AbstractContextManager[Tun | VethWire]],
        border: Border,
        port: Port,
        own: Iterable[bytes],
        watch: Watch | None,
        catch_up: Callable[[float], None],
    ) -> None:
        super().__init__(open_device, border, own=own)
        self._port = port
        self._watch = watch
        self._catch_up = catch_up
        self._came: dict[int, str] | None = None
        """Why some of the packets die that are just coming out of the tunnel; by identity."""
        self._kept: list[tuple[bytearray, str]] = []
        """What did not go into the tunnel, and why, until it is told."""
        border.on_drop = self._drop
        if watch is not None:
            self.on_zombie = partial(self._drop, ZOMBIE)

    def handle_packets(self, packets: list[bytearray], now: float) -> None:
        self._port.heard_at = now
        if self._watch is None:
            super().handle_packets(packets, now)
            return
        self._came = died = dict[int, str]()
        super().handle_packets(packets, now)
        self._came = None
        for packet in packets:
            self._watch.came(bytes(packet), died.get(id(packet), ""), now)

    def gather(self) -> bool:
        there = super().gather()
        if self._kept:
            self._tell([])
        return there

    def poll_packets(self) -> list[bytearray]:
        packets = super().poll_packets()
        if self._watch is not None and (packets or self._kept):
            self._tell(packets)
        return packets

    def _drop(self, reason: str, packet: bytearray) -> None:
        if self._came is not None:
            self._came[id(packet)] = reason
        elif packet and not is_chatter(packet, packet[0] >> 4):
            if reason == DropReason.SPOOFED_SOURCE:
                self._port.lose(reason, [packet])
            if self._watch is not None:
                self._kept.append((packet, reason))

    def _tell(self, packets: list[bytearray]) -> None:
        assert self._watch is not None
        now = trio.current_time()
        self._catch_up(now)
        kept, self._kept = self._kept, []
        for packet, reason in (*kept, *((packet, "") for packet in packets)):
            self._watch.went(bytes(packet), reason, now)
