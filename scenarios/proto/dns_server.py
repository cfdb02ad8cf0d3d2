"""An authoritative DNS server on a simulated host: zones, CNAME chains, truncation, and a log of who asked."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from ipaddress import ip_address
from typing import NamedTuple

from edge.proto.types import NEVER, BadPacket
from scenarios.proto.app import Endpoint
from scenarios.proto.dns_message import (
    Code,
    Question,
    Record,
    Type,
    answer,
    normal,
    normal_name,
    query_untrusted,
    refusal,
)

DNS_PORT = 53
MAX_CHAIN = 8
"""CNAMEs that are followed for one question."""

LOGGED = 1000


class Zone:
    """Names below `origin` (all names by default) and their records. No wildcards, no delegations."""

    def __init__(self, origin: str = ".", *, negative_ttl: int = 60) -> None:
        self.origin = normal_name(origin)
        self._records: dict[str, dict[str, list[Record]]] = {}
        self._parents: set[str] = set()
        ttl = negative_ttl
        top = "" if self.origin == "." else f".{self.origin}"
        self.soa = Record(
            self.origin.removesuffix("."),
            "SOA",
            ttl,
            f"ns{top}. hostmaster{top}. 1 3600 600 86400 {ttl}",
        )

    def add(self, name: str, type: str, data: str, ttl: int = 300) -> None:  # noqa: A002 - the word of RFC 1035
        """Add a record; raises ValueError if there can be no such one here."""
        if type not in Type.__members__ or not 0 <= ttl < 2**31:
            raise ValueError(f"cannot serve {type} of {name!r} for {ttl} s: A, AAAA, CNAME, PTR or SRV")
        record = normal(Record(name, type, ttl, data))
        if not self.holds(record.name):
            raise ValueError(f"{name!r} is not below {self.origin!r}")
        there = self._records.setdefault(record.name, {})
        if (Type.CNAME in there or (there and type == Type.CNAME)) and record not in there.get(type, []):
            raise ValueError(f"{name!r} has a CNAME beside other records (RFC 1034 3.6.2)")
        same = there.setdefault(type, [])
        if record not in same:
            same.append(record)
        parent = record.name
        while "." in parent:
            parent = parent.partition(".")[2]
            self._parents.add(parent)

    def add_host(self, name: str, address: str, ttl: int = 300) -> None:
        """An address and, if the reverse name belongs here, the PTR back to it."""
        ip = ip_address(address)
        self.add(name, Type.A if ip.version == 4 else Type.AAAA, str(ip), ttl)
        if self.holds(ip.reverse_pointer):
            self.add(ip.reverse_pointer, Type.PTR, name, ttl)

    def holds(self, name: str) -> bool:
        """Whether a normal name is in this zone."""
        return self.origin == "." or name == self.origin or name.endswith(f".{self.origin}")

    @property
    def depth(self) -> int:
        """How many labels the origin has: of two zones that hold a name, the deeper one answers."""
        return 0 if self.origin == "." else self.origin.count(".") + 1

    def look_up(self, question: Question) -> tuple[Code, list[Record]]:
        """The code and all records, along CNAMEs inside the zone."""
        found: list[Record] = []
        name = question.name
        for _ in range(MAX_CHAIN + 1):
            there = self._records.get(name)
            if there is None:
                # What has names below it exists (RFC 8020); what another zone holds is not ours to deny.
                exists = name == self.origin or name in self._parents or not self.holds(name)
                return (Code.NOERROR if exists else Code.NXDOMAIN), found
            if question.type in there or Type.CNAME not in there:
                return Code.NOERROR, found + there.get(question.type, [])
            found += there[Type.CNAME]
            name = there[Type.CNAME][0].data
        return Code.SERVFAIL, []


class Answered(NamedTuple):
    """One line of the log."""

    at: float
    source: Endpoint
    name: str
    type: str
    code: Code
    truncated: bool


class DnsServer:
    """An application (`host.App`) on UDP port 53. What is outside its zones is refused."""

    def __init__(self, zones: Iterable[Zone], *, port: int = DNS_PORT) -> None:
        self.port = port
        self.zones = sorted(zones, key=lambda zone: zone.depth, reverse=True)
        self.log: deque[Answered] = deque(maxlen=LOGGED)
        """The last queries, whose source is the one that the packet had on arrival."""
        self.answered: Counter[Code] = Counter()
        self.dropped: Counter[str] = Counter()
        """Datagrams that are no queries, by reason; the answer, if any, says just that."""
        self._out: list[tuple[int, Endpoint, bytes]] = []
        self._events: deque[Answered] = deque(maxlen=LOGGED)

    def wants(self, port: int) -> bool:
        return port == self.port

    def handle_datagram(self, local_port: int, source: Endpoint, data: bytes, now: float) -> None:
        try:
            asked = query_untrusted(data)
        except BadPacket as bad:
            self.dropped[bad.reason] += 1
            reply = refusal(data)
            if reply:
                self._out.append((local_port, source, reply))
            return
        code, records, soa = (
            self._look_up(asked.question) if asked.problem is None else (asked.problem, [], None)
        )
        reply = answer(asked, code, records, soa)
        line = Answered(now, source, *asked.question, code, bool(reply[2] & 0x02))
        self.answered[code] += 1
        self.log.append(line)
        self._events.append(line)
        self._out.append((local_port, source, reply))

    def _look_up(self, question: Question) -> tuple[Code, list[Record], Record | None]:
        for zone in self.zones:
            if zone.holds(question.name):
                code, records = zone.look_up(question)
                return code, records, None if records else zone.soa
        return Code.REFUSED, [], None

    def poll_transmit(self) -> list[tuple[int, Endpoint, bytes]]:
        out, self._out = self._out, []
        return out

    def handle_timeout(self, now: float) -> None:
        """Nothing here waits."""

    def poll_timeout(self) -> float:
        return NEVER

    def poll_event(self) -> Answered | None:
        return self._events.popleft() if self._events else None
