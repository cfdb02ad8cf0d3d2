"""The last words of closed connections, said again to a peer that has not heard them (RFC 9000 section 10.2.1)."""

from __future__ import annotations

from collections.abc import Iterable

from edge.proto.types import Address

LINGER = 3.0  # seconds, and
LIMIT = 4096  # connection ids: what is kept of a closed connection


class _Farewell:
    __slots__ = ("datagram", "heard", "peer", "until")

    def __init__(self, datagram: bytes, peer: Address, until: float) -> None:
        self.datagram, self.peer, self.until = datagram, peer, until
        self.heard = 0


class Farewells:
    """By connection id. Every power of two of datagrams gets an answer, so that nobody is flooded."""

    __slots__ = ("_by_cid",)

    def __init__(self) -> None:
        self._by_cid: dict[bytes, _Farewell] = {}

    def __len__(self) -> int:
        return len(self._by_cid)

    def add(self, cids: Iterable[bytes], datagram: bytes, peer: Address, now: float) -> None:
        farewell = _Farewell(datagram, peer, now + LINGER)
        for cid in cids:
            self._by_cid.pop(cid, None)
            self._by_cid[cid] = farewell
        while self._by_cid:
            oldest = next(iter(self._by_cid))
            if len(self._by_cid) <= LIMIT and self._by_cid[oldest].until > now:
                break
            del self._by_cid[oldest]

    def answer(self, cid: bytes, source: Address, now: float) -> bytes | None:
        """What to send to `source`, if this is a connection that was closed, and it is time to say so again."""
        farewell = self._by_cid.get(cid)
        if farewell is None or farewell.until <= now or farewell.peer != source:
            return None
        farewell.heard += 1
        return farewell.datagram if not farewell.heard & farewell.heard - 1 else None
