"""Does a packet of this size fit on the way, and who says so if not: path MTU by trying (RFC 1191, RFC 4821)."""

from __future__ import annotations

from enum import StrEnum

from edge.proto.ip import ICMP, ICMPV6, TCP, UDP, Header, build_icmp_echo, build_packet, build_tcp, build_udp
from edge.proto.ip.tcp import ACK
from scenarios.proto.host import Host

HEADERS = {"udp": 8, "icmp": 8, "tcp": 20}
TCP_HEADERS = {4: 40, 6: 60}
SOURCE_PORT = 40001
LAST_IDENT = 0xFFFF


class Fate(StrEnum):
    """What became of a packet."""

    WHOLE = "whole"  # arrived as it was sent
    PIECES = "pieces"  # arrived, cut on the way
    TOLD = "told"  # did not fit, and somebody said so and named an MTU
    REFUSED = "refused"  # did not fit into the sender's own interface
    LOST = "lost"  # nobody said anything


class MtuProbe:
    """One packet of `size` bytes, IP header included, from `sender` to `target`, which are hosts of one network.

    `protocol` is udp, icmp or tcp; of TCP it is a segment that belongs to no connection. ``send`` it, wait until
    ``look`` is true or patience ends, then ``close``.
    """

    def __init__(
        self,
        sender: Host,
        target: Host,
        protocol: str,
        size: int,
        *,
        dont_fragment: bool,
        port: int,
        number: int,
    ) -> None:
        self.protocol = protocol
        self.size = size
        self.dont_fragment = dont_fragment
        self.fate = Fate.LOST
        self.mtu: int | None = None
        """The one that was named."""
        self.told_by = ""
        self._sender = sender
        self._target = target
        self._port = port
        self._ident = LAST_IDENT - number & 0xFFFF
        self._missing = size
        self._after = 0.0

    @property
    def vnet(self) -> str:
        return self._sender.vnet

    @property
    def version(self) -> int:
        return 4 if len(self._sender.packed) == 4 else 6

    def send(self, now: float) -> None:
        self._after = now
        self._missing = self.size - (20 if self.version == 4 else 40)
        self._target.watchers.append(self._saw)
        refused_over = self._sender.output(self._packet(), now)
        if refused_over is not None:
            self.fate, self.mtu, self.told_by = Fate.REFUSED, refused_over, self._sender.address

    def look(self) -> bool:
        """Whether it is known what became of it."""
        if self.fate is Fate.LOST:
            for error in self._sender.icmp_errors:
                if error.at >= self._after and error.mtu is not None and error.size == self.size:
                    self.fate, self.mtu, self.told_by = Fate.TOLD, error.mtu, error.source
        return self.fate is not Fate.LOST

    def close(self) -> None:
        self._target.watchers.remove(self._saw)

    def _saw(self, header: Header, size: int) -> None:
        """The target got a packet."""
        numbers = {"udp": (UDP,), "icmp": (ICMP, ICMPV6), "tcp": (TCP,)}[self.protocol]
        if header.source != self._sender.packed or header.protocol not in numbers:
            return
        if self.version == 4 and header.fragment_id != self._ident:
            return
        if not header.is_fragment:
            if size == self.size:
                self.fate = Fate.WHOLE
            return
        self._missing -= size - header.fragment_start
        if self._missing <= 0:
            self.fate = Fate.PIECES

    def _packet(self) -> bytearray:
        source, target = self._sender.packed, self._target.packed
        room = self.size - (20 if self.version == 4 else 40) - HEADERS[self.protocol]
        text = f"{self._sender.vnet} {self._sender.name} {self._ident} ".encode()
        payload = (text * (room // len(text) + 1))[:room]
        if self.protocol == "udp":
            return build_udp(
                source,
                target,
                SOURCE_PORT,
                self._port,
                payload,
                ident=self._ident,
                dont_fragment=self.dont_fragment,
            )
        if self.protocol == "tcp":
            return build_tcp(
                source, target, SOURCE_PORT, self._port, sequence=1, flags=ACK, payload=payload,
                ident=self._ident, dont_fragment=self.dont_fragment,
            )  # fmt: skip
        echo = build_icmp_echo(source, target, ident=LAST_IDENT, sequence=self._ident, payload=payload)
        if self.version == 6:
            return echo
        return build_packet(
            source, target, ICMP, echo[20:], ident=self._ident, dont_fragment=self.dont_fragment
        )
