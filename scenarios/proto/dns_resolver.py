"""A stub resolver on a simulated host: asks its servers in turn, with patience, and believes only true answers.

Each attempt has a new identifier and source port (RFC 5452). An answer counts if it comes from the server asked, to
the port that asked, with that identifier and question; anything else is counted, and the wait goes on. No cache: a
scenario sees every query. No TCP: a truncated answer is an outcome.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from edge.proto.types import BadPacket
from scenarios.proto.app import Endpoint
from scenarios.proto.dns_message import (
    EDNS_SIZE,
    Code,
    Question,
    Record,
    Reply,
    Type,
    normal_name,
    query,
    reply_untrusted,
)
from scenarios.proto.dns_server import MAX_CHAIN
from scenarios.proto.timer_queue import TimerQueue

FIRST_PORT, LAST_PORT = 32768, 39999
"""Of source ports; above RTP's and below those of traffic and probes on the same host."""

MAX_LOOKUPS = 4096


class Rng(Protocol):
    """What is needed of a random.Random."""

    def getrandbits(self, k: int, /) -> int: ...

    def randint(self, a: int, b: int, /) -> int: ...


class Status(StrEnum):
    WAITING = "waiting"
    ANSWERED = "answered"
    NO_DATA = "no_data"  # the name exists, not with that type
    NO_NAME = "no_name"
    TRUNCATED = "truncated"  # there is more than fits into a datagram
    FAILED = "failed"  # the server said so: `code`
    TIMEOUT = "timeout"


class LookupEnded(NamedTuple):
    """A look-up has an outcome."""

    lookup: Lookup


@dataclass(slots=True, eq=False)
class Lookup:
    """One question and what came of it."""

    question: Question
    started_at: float
    status: Status = Status.WAITING
    code: Code | None = None
    records: tuple[Record, ...] = ()
    """All of the answer section, CNAMEs first."""
    data: tuple[str, ...] = ()
    """Of the records with the type asked for, at the end of the CNAMEs: addresses, or ``10 5 5060 pbx.hq.test``."""
    server: Endpoint | None = None
    """Who answered, or was asked last."""
    attempts: int = 0
    took: float | None = None
    """Seconds from the start to the outcome."""
    port: int = field(default=0, repr=False)
    ident: int = field(default=0, repr=False)


class DnsResolver:
    """An application (`host.App`)."""

    def __init__(
        self,
        servers: Sequence[Endpoint],
        rng: Rng,
        *,
        timeout: float = 2.0,
        attempts: int = 3,
        edns_size: int | None = EDNS_SIZE,
    ) -> None:
        """`timeout`: of the first attempt, in seconds; each further one waits twice as long."""
        if not servers or attempts < 1 or not timeout > 0:
            raise ValueError("a resolver has a server, an attempt and some patience")
        self.dropped: Counter[str] = Counter()
        """Datagrams that answered nothing: malformed, or wrong_source, wrong_id, wrong_question."""
        self._servers = tuple(servers)
        self._rng = rng
        self._timeout = timeout
        self._attempts = attempts
        self._edns_size = edns_size
        self._waiting: dict[int, Lookup] = {}
        self._timers: TimerQueue[int] = TimerQueue()
        self._out: list[tuple[int, Endpoint, bytes]] = []
        self._events: deque[LookupEnded] = deque()

    def look_up(self, name: str, now: float, type: str = Type.A) -> Lookup:  # noqa: A002 - the word of RFC 1035
        """Ask; the outcome is a `LookupEnded` event. Raises ValueError if it cannot be asked."""
        lookup = Lookup(Question(normal_name(name), type), now)
        query(0, lookup.question)  # is it one?
        if len(self._waiting) >= MAX_LOOKUPS:
            raise ValueError(f"{MAX_LOOKUPS} look-ups wait already")
        self._ask(lookup, now)
        return lookup

    def wants(self, port: int) -> bool:
        return port in self._waiting

    def handle_datagram(self, local_port: int, source: Endpoint, data: bytes, now: float) -> None:
        lookup = self._waiting[local_port]
        if source != lookup.server:
            self.dropped["wrong_source"] += 1
        elif int.from_bytes(data[:2]) != lookup.ident:
            self.dropped["wrong_id"] += 1  # before the parser: who cannot guess cannot make us work
        else:
            self._read(lookup, data, now)

    def handle_timeout(self, now: float) -> None:
        while (port := self._timers.pop_due(now)) is not None:
            lookup = self._waiting.pop(port)
            if lookup.attempts < self._attempts:
                self._ask(lookup, now)
            else:
                self._end(lookup, Status.TIMEOUT, now)

    def poll_transmit(self) -> list[tuple[int, Endpoint, bytes]]:
        out, self._out = self._out, []
        return out

    def poll_timeout(self) -> float:
        return self._timers.next()

    def poll_event(self) -> LookupEnded | None:
        return self._events.popleft() if self._events else None

    def _ask(self, lookup: Lookup, now: float) -> None:
        lookup.server = self._servers[lookup.attempts % len(self._servers)]
        lookup.ident = self._rng.getrandbits(16)
        lookup.port = self._rng.randint(FIRST_PORT, LAST_PORT)
        while lookup.port in self._waiting:
            lookup.port = self._rng.randint(FIRST_PORT, LAST_PORT)
        wait = self._timeout * 2**lookup.attempts
        lookup.attempts += 1
        self._waiting[lookup.port] = lookup
        self._timers.set(lookup.port, now + wait)
        data = query(lookup.ident, lookup.question, edns_size=self._edns_size)
        self._out.append((lookup.port, lookup.server, data))

    def _read(self, lookup: Lookup, data: bytes, now: float) -> None:
        try:
            reply = reply_untrusted(data)
        except BadPacket as bad:
            self.dropped[bad.reason] += 1
            return
        if reply.question != lookup.question:
            self.dropped["wrong_question"] += 1
        else:
            self._answered(lookup, reply, now)

    def _answered(self, lookup: Lookup, reply: Reply, now: float) -> None:
        del self._waiting[lookup.port]
        self._timers.cancel(lookup.port)
        lookup.code, lookup.records = reply.code, reply.records
        lookup.data = _followed(lookup.question, reply.records)
        if reply.truncated:
            status = Status.TRUNCATED
        elif reply.code is Code.NXDOMAIN:
            status = Status.NO_NAME
        elif reply.code is not Code.NOERROR:
            status = Status.FAILED
        else:
            status = Status.ANSWERED if lookup.data else Status.NO_DATA
        self._end(lookup, status, now)

    def _end(self, lookup: Lookup, status: Status, now: float) -> None:
        lookup.status, lookup.took = status, now - lookup.started_at
        self._events.append(LookupEnded(lookup))


def _followed(question: Question, records: tuple[Record, ...]) -> tuple[str, ...]:
    """What the answer says of the name asked for, along its CNAMEs; other names' records are nobody's answer."""
    name = question.name
    for _ in range(MAX_CHAIN + 1):
        data = tuple(r.data for r in records if r.name == name and r.type == question.type)
        alias = [r.data for r in records if r.name == name and r.type == Type.CNAME]
        if data or not alias:
            return data
        name = alias[0]
    return ()
