"""A host whose system is not ours: a kernel with real programs. What passes its network card is all that is known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from operator import itemgetter

from edge.proto.ip import TCP, UDP, Header, is_error, parse_untrusted, quoted_untrusted
from edge.proto.types import BadPacket
from scenarios.proto.host import MAX_REMEMBERED, Host, checksum_right


class RealHost(Host):
    """It keeps the same books as a host of ours: who sent how much, what was refused, what was never sent like this."""

    has_besides: Callable[[bytes], bool] | None = None
    """Whether its kernel has another address now, which a program has given it; None: it never has."""

    def saw_sent(self, packets: list[bytes], now: float) -> None:
        """Copies of what its kernel has sent: in the books before anybody gets it."""
        for packet in packets:
            self.counters["sent"] += 1
            self._ledger.sent(self.vnet, self.name, packet, now)

    def saw(self, passed: list[tuple[bool, bytes]], now: float) -> None:
        """All that has passed its card, in order; whether out of it. What came is judged now."""
        if self.tap is not None:
            for out, group in groupby(passed, key=itemgetter(0)):
                (self.tap.sent if out else self.tap.received)(self, [packet for _, packet in group], now)
        for out, packet in passed:
            if out:
                continue
            self.counters["received"] += 1
            try:
                header = parse_untrusted(packet)
                self._book(packet[: header.total_length], header, now)
            except BadPacket as bad:
                self.counters[bad.reason] += 1

    def _book(self, packet: bytes, header: Header, now: float) -> None:
        if header.destination != self.packed and not (
            self.has_besides is not None and self.has_besides(header.destination)
        ):
            self.counters["misdelivered"] += 1
            self._ledger.misdelivered(self.vnet, self.name, header, now)
            return
        for watcher in self.watchers:
            watcher(header, header.total_length)
        if header.is_fragment:
            self.counters["fragments"] += 1
            return
        if not checksum_right(packet, header):
            self.counters["bad_checksum"] += 1
            return
        if is_error(header):
            self._book_error(packet, header, now)
            return
        if self._ledger.received(self.vnet, self.name, packet, now) is not None:
            self.counters["not_as_sent"] += 1
        source = self._count_source(header)
        if header.protocol in (UDP, TCP):
            key = (source, header.destination_port)
            if key in self.port_bytes or len(self.port_bytes) < MAX_REMEMBERED:
                headers = header.header_length + (8 if header.protocol == UDP else 20)
                self.port_bytes[key] += header.total_length - headers

    def _book_error(self, packet: bytes, header: Header, now: float) -> None:
        inner = quoted_untrusted(packet, header)
        if inner is None or inner.source != self.packed:
            self.counters["other_icmp"] += 1
            return
        self._note_error(packet, header, inner, now)
