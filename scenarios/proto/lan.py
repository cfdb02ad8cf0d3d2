"""The network of a site: hosts that reach each other directly and everybody else through a gateway."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from heapq import heappop, heappush
from ipaddress import ip_address

from edge.proto.types import NEVER
from scenarios.proto.host import Host

MAX_ROUNDS = 64
"""Deliveries inside the LAN in one turn; two hosts that answer each other for ever go on in the next turn."""


class Lan:
    """Whole packets in and out. Only hosts that something happened to are looked at."""

    def __init__(self, name: str, hosts: list[Host]) -> None:
        self.name = name
        self.hosts = hosts
        self.counters: Counter[str] = Counter()
        self._by_address = {host.packed: host for host in hosts}
        self._order = {host: index for index, host in enumerate(hosts)}
        self._told: dict[Host, None] = dict.fromkeys(
            hosts
        )  # given something to do, or due: must know the time
        self._touched: dict[Host, None] = {}  # may have something to send
        self._agenda: list[tuple[float, int]] = []  # deadlines and host numbers; late entries do no harm
        self._armed = [NEVER] * len(hosts)
        self._out: list[bytearray] = []
        self._now = 0.0

    def touch(self, host: Host) -> None:
        """Somebody gave `host` something to do."""
        self._told[host] = None

    def handle_packets(self, packets: list[bytearray], now: float) -> None:
        self._now = now
        self._deliver(packets, now)

    def handle_timeout(self, now: float) -> None:
        self._now = now
        agenda, armed, hosts = self._agenda, self._armed, self.hosts
        while agenda and agenda[0][0] <= now:
            at, number = heappop(agenda)
            if at == armed[number]:
                armed[number] = NEVER
                self._told[hosts[number]] = None
        if self._told:
            told, self._told = self._told, {}
            for host in told:
                host.handle_timeout(now)
            self._touched |= told

    def poll_packets(self) -> list[bytearray]:
        """What leaves the LAN; what stays in it is delivered on the way."""
        if self._told:
            self.handle_timeout(self._now)
        for _ in range(MAX_ROUNDS):
            if not self._touched:
                break
            staying: list[bytearray] = []
            touched, self._touched = self._touched, {}
            for host in touched:
                self._sent(host, host.poll_packets(), staying)
                self._arm(host)
            if not staying:
                break
            self.counters["local"] += len(staying)
            self._deliver(staying, self._now)
        out = self._out
        if not out:
            return []
        self._out = []
        return out

    def _sent(self, host: Host, packets: list[bytearray], staying: list[bytearray]) -> None:
        """What `host` puts on the wire, and what of it another host gets: all else is the gateway's."""
        for packet in packets:
            (staying if destination_of(packet) in self._by_address else self._out).append(packet)

    def _for_nobody(self, packet: bytearray) -> None:
        """Something has come from outside for an address that no host has."""
        self.counters["no_host"] += 1

    def poll_timeout(self) -> float:
        if self._told or self._touched:
            return self._now
        return self._agenda[0][0] if self._agenda else NEVER

    def _arm(self, host: Host) -> None:
        at, number = host.poll_timeout(), self._order[host]
        if at < self._armed[number]:
            self._armed[number] = at
            heappush(self._agenda, (at, number))

    def _deliver(self, packets: Iterable[bytearray], now: float) -> None:
        batches: dict[Host, list[bytearray]] = {}
        hosts = self._by_address
        for packet in packets:
            host = hosts.get(destination_of(packet))
            if host is None:
                self._for_nobody(packet)
            else:
                batches.setdefault(host, []).append(packet)
        for host, batch in batches.items():
            host.handle_packets(batch, now)
            if not host.settled:
                self._touched[host] = None

    def __repr__(self) -> str:
        members = ", ".join(f"{host.name} {ip_address(host.packed)}" for host in self.hosts)
        return f"{type(self).__name__}({self.name!r}: {members})"


def destination_of(packet: bytearray) -> bytes:
    """Where a packet wants to go; empty for what is no IP packet."""
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        return bytes(packet[16:20])
    return bytes(packet[24:40]) if version == 6 else b""
