"""The network behind a connector: hosts that reach each other directly and everybody else through it."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address

from edge.proto.types import NEVER
from scenarios.proto.host import Host

MAX_ROUNDS = 64
"""Deliveries inside the LAN in one turn; two hosts that answer each other for ever go on in the next turn."""


class Lan:
    """The packet side of a connector's tunnel."""

    def __init__(self, name: str, hosts: list[Host]) -> None:
        self.name = name
        self.hosts = hosts
        self.counters: Counter[str] = Counter()
        self._by_address = {host.packed: host for host in hosts}
        self._out: list[bytearray] = []
        self._now = 0.0

    def handle_packets(self, packets: list[bytearray], now: float) -> None:
        self._now = now
        self._deliver(packets, now)

    def poll_packets(self) -> list[bytearray]:
        """What leaves the LAN; what stays in it is delivered on the way."""
        for _ in range(MAX_ROUNDS):
            staying: list[bytearray] = []
            for host in self.hosts:
                for packet in host.poll_packets():
                    (staying if _destination(packet) in self._by_address else self._out).append(packet)
            if not staying:
                break
            self.counters["local"] += len(staying)
            self._deliver(staying, self._now)
        out, self._out = self._out, []
        return out

    def handle_timeout(self, now: float) -> None:
        self._now = now
        for host in self.hosts:
            host.handle_timeout(now)  # also those with nothing due: they must know the time of what they send

    def poll_timeout(self) -> float:
        return min((host.poll_timeout() for host in self.hosts), default=NEVER)

    def _deliver(self, packets: list[bytearray], now: float) -> None:
        batches: dict[Host, list[bytearray]] = {}
        for packet in packets:
            host = self._by_address.get(_destination(packet))
            if host is None:
                self.counters["no_host"] += 1
            else:
                batches.setdefault(host, []).append(packet)
        for host, batch in batches.items():
            host.handle_packets(batch, now)

    def __repr__(self) -> str:
        members = ", ".join(f"{host.name} {ip_address(host.packed)}" for host in self.hosts)
        return f"Lan({self.name!r}: {members})"


def _destination(packet: bytearray) -> bytes:
    """Where a packet wants to go; empty for what is no IP packet."""
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        return bytes(packet[16:20])
    return bytes(packet[24:40]) if version == 6 else b""
