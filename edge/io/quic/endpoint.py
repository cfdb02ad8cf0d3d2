"""What a server and a client share: connections with deadlines, events of theirs, and one flush of each per turn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from typing import TypeVar

from edge.io.quic.agenda import Agenda
from edge.io.quic.connection import Connection
from edge.proto.masque.carrier import CarrierEvent
from edge.proto.types import NEVER, Address, DropReason

T = TypeVar("T")
Read = tuple[memoryview, int, Address]
"""As from ``edge.io.udp``: bytes, segment size (the last datagram may be shorter), source."""


class Ending(StrEnum):
    """How connections end: a closed set, for counters."""

    PEER = "peer"  # the other side closed it
    LOCAL = "local"  # we closed it, or it broke a rule
    LOST = "lost"  # idle for too long, or no path is left
    HANDSHAKE = "handshake"  # before it was established
    FAILED = "failed"  # the library raised


@dataclass(slots=True)
class QuicCounters:
    """Plain numbers that only grow, to be read at any time."""

    datagrams_in: int = 0
    datagrams_out: int = 0
    handshakes_done: int = 0
    handshakes_failed: int = 0
    retries_sent: int = 0
    versions_negotiated: int = 0
    refusals_sent: int = 0
    moves: int = 0  # of peers to another address
    failures: int = 0  # connections on which the library raised
    closed: Counter[Ending] = field(default_factory=Counter)


class Endpoint(ABC):
    """Call ``receive`` and ``handle_timeout``, then ``poll_events``, act on them, then ``poll_transmit``."""

    def __init__(self, now: float) -> None:
        self.drops: Counter[DropReason] = Counter()
        """Datagrams from outside, by reason."""
        self.counters = QuicCounters()
        self._events: list[CarrierEvent] = []
        self._agenda: Agenda[Connection] = Agenda()
        self._touched: dict[Connection, None] = {}  # something may be to be sent
        self._outbox: list[tuple[Address, list[bytes]]] = []  # answers that belong to no connection
        self._now = now

    def poll_events(self) -> list[CarrierEvent]:
        events = self._events[:]
        self._events.clear()
        return events

    def next_timeout(self) -> float:
        """When ``handle_timeout`` is due; NEVER if nothing waits."""
        return self._agenda.next()

    def handle_timeout(self, now: float) -> None:
        self._now = now
        while (connection := self._agenda.due(now)) is not None:
            if connection.failed:
                continue  # it is about to be forgotten
            at = self._guarded(connection, connection.deadline, -NEVER)
            if at is not None and at > now:  # traffic has moved it
                self._agenda.arm(connection, at)
                continue
            self._guarded(connection, connection.handle_timer, now)
            self._guarded(connection, connection.process, now)
            self._touched[connection] = None

    def poll_transmit(self, now: float | None = None) -> list[tuple[Address, list[bytes]]]:
        """Everything that is to be sent, each connection's in one piece and in the order of their first need.

        Give `now` if time has passed since ``receive`` or ``handle_timeout``.
        """
        now = self._now if now is None else now
        batches, self._outbox = self._outbox, []
        while self._touched:
            touched, self._touched = self._touched, {}
            for connection in touched:
                sent = self._guarded(connection, connection.transmit, now) or []
                for address, run in groupby(sent, key=_address):
                    batches.append((address, [datagram for datagram, _ in run]))
                self._settle(connection, sent, now)
        self.counters.datagrams_out += sum(len(datagrams) for _, datagrams in batches)
        return batches

    def _settle(self, connection: Connection, sent: list[tuple[bytes, Address]], now: float) -> None:
        """After a flush: the next deadline, new connection ids, or the end."""
        self._guarded(connection, connection.flushed)
        if connection.ending is None:
            self._index(connection)
            at = self._guarded(connection, connection.deadline, now)
            if at is not None:
                self._agenda.arm(connection, at)
        else:
            self._forget(connection, sent[-1] if sent else None, now)

    def _count_end(self, connection: Connection) -> None:
        ending = connection.ending
        assert ending is not None
        if connection.failed:
            how = Ending.FAILED
        elif not connection.established:
            how = Ending.HANDSHAKE
        elif ending.by_peer:
            how = Ending.PEER
        else:
            how = Ending.LOST if ending.code is None else Ending.LOCAL
        self.counters.closed[how] += 1
        if not connection.established:
            self.counters.handshakes_failed += 1

    def _guarded(self, connection: Connection, act: Callable[..., T], *arguments: float) -> T | None:
        """What a peer sent may break the library, but only for its own connection."""
        try:
            return act(*arguments)
        except Exception as error:
            self._failed(connection, error)
            return None

    def _failed(self, connection: Connection, error: Exception) -> None:
        self.counters.failures += 1
        connection.fail(type(error).__name__)
        self._touch(connection)

    def _touch(self, connection: Connection) -> None:
        self._touched[connection] = None

    def _index(self, connection: Connection) -> None:  # noqa: B027 - a client has nothing to tell apart
        """Its connection ids may have changed."""

    @abstractmethod
    def _forget(self, connection: Connection, last: tuple[bytes, Address] | None, now: float) -> None:
        """It is over; `last` is what it sent last."""


def segments(data: memoryview, segment: int) -> Iterator[bytes]:
    """The datagrams of a read that the kernel may have merged."""
    if not 0 < segment < len(data):
        yield bytes(data)
        return
    for start in range(0, len(data), segment):
        yield bytes(data[start : start + segment])


_address = itemgetter(1)
