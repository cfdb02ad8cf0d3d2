"""A PoP that answers over HTTP/3 and HTTP/2 as a test says, and a far end with ways to it, in virtual time.

Carriers are in memory (``tests.edge.proto.masque.wire``); what goes over the network are mere signs that one end has
something for the other.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

from connectors.proto.choosing_end import ChoosingEnd
from connectors.proto.masque_way import Http2Way, QuicWay
from edge.proto.masque.carrier import (
    CarrierReady,
    DatagramsReceived,
    DataReceived,
    HttpVersion,
    RequestReceived,
)
from edge.proto.masque.client import ClientSession
from edge.proto.masque.credential import Credential
from edge.proto.masque.refusal import refuse
from edge.proto.masque.request import accept_headers
from edge.proto.masque.template import DEFAULT_TEMPLATE, Template
from edge.proto.types import NEVER, Deadline, Eof, Octets, Opened
from tests.edge.proto.masque.wire import POP, connection

H3, H2 = HttpVersion.H3, HttpVersion.H2
DELAY = 0.02  # one way
HANDSHAKE, IDLE = 10.0, 30.0  # timeouts of carriers
SIGN = b"."

GOOD = "good"
DOWN = "down"  # nothing comes back
REFUSED = "refused"  # nobody listens, as the system says
FORBIDS = "forbids"  # 403
UNKNOWN = "unknown"  # 401
TALKS = "talks"  # it closes, and has much to say about it
HANGS_UP = "hangs up"  # 200, and the end of the connection
MODES = (GOOD, DOWN, REFUSED, FORBIDS, UNKNOWN, TALKS, HANGS_UP)


WORDS = "bye\nevent=tunnel-up \x1b[31m" + "x" * 900

OTHER = ("192.0.2.99", 4433)  # another PoP that would do as well


class MemoryClient:
    """``QuicLike`` without QUIC, and what both share."""

    def __init__(self, version, now):
        self.carrier, self.far = connection(version)
        self.carrier.events.clear()  # its handshake is still to come
        self.far.events.clear()
        self.shaken = False
        self.deadline = now + HANDSHAKE
        self.spoke = True  # the first flight

    def poll_events(self):
        return self.carrier.poll_events()

    def receive(self, reads, now):
        self.deadline = now + IDLE

    def rebind(self, now):
        self.spoke = True

    def handle_timeout(self, now):
        if now >= self.deadline and self.carrier.alive:
            self.deadline = NEVER
            self.carrier.die(reason="idle" if self.shaken else "handshake timeout")

    def next_timeout(self):
        return self.deadline if self.carrier.alive else NEVER

    def speaks(self):
        """Whether it has something for the PoP."""
        spoke, self.spoke = self.spoke, False
        pinged, self.carrier.pings = self.carrier.pings, 0
        return bool(self.carrier.flush()) or spoke or bool(pinged) or bool(self.far.events)

    def poll_transmit(self, now=None):
        return [(POP, [SIGN])] if self.speaks() else []


class MemoryHttp2(MemoryClient):
    """``Http2Like``."""

    def receive(self, data, now):
        if data:
            super().receive(data, now)
        elif self.carrier.alive:
            self.carrier.die(reason="the connection ended", by_peer=True)

    def written(self, octets):
        pass

    def next_timeout(self):
        return Deadline(super().next_timeout(), "idle")

    def poll_transmit(self):
        return SIGN if self.speaks() else b""


class Side:
    """Sends what it is told to, and remembers what comes."""

    def __init__(self):
        self.arrived = []
        self.outbox = []
        self.every = NEVER  # seconds between packets of its own
        self.due = NEVER

    def handle_packets(self, packets, now):
        self.arrived += map(bytes, packets)

    def poll_packets(self):
        out, self.outbox = self.outbox, []
        return out

    def handle_timeout(self, now):
        if now >= self.due:
            self.due = now + self.every
            self.outbox.append(bytearray(b"\x45 tick"))

    def poll_timeout(self):
        return self.due

    def talk(self, now, every=0.02):
        self.every, self.due = every, now


class World:
    """`modes` of the PoP per HTTP version; `dials` is when each was tried, `got` what packets came over which."""

    def __init__(self, h3=GOOD, h2=GOOD, *, more=(), jitter=0.5):
        self.now = 1000.0
        self.modes = {H3: h3, H2: h2}
        self.dials = {H3: [], H2: []}
        self.homes = []  # which PoP was dialled over HTTP/3
        self.got = []
        self.side = Side()
        self.clients = {}  # the latest of each version
        self.open = set()  # TCP connections, by number
        self._wire = []
        self._sequence = count()
        self._reads = []
        self._streams = []
        pops = (POP, OTHER)
        ways = [QuicWay(pops, self._dial, _session), Http2Way(pops, self._open, _session), *more]
        self.end = ChoosingEnd(ways, self.side, now=self.now, jitter=lambda: jitter)
        self._pump()

    @property
    def way(self):
        return self.end.way

    def run(self, seconds):
        """Time passes. AssertionError if the end wants to be called again and again at one moment."""
        until, spins = self.now + seconds, 0
        while True:
            at = min(self.end.poll_timeout(), self._wire[0][0] if self._wire else NEVER)
            if at > until:
                break
            spins = 0 if at > self.now else spins + 1
            assert spins < 20, "it turns on the spot"
            self.now = max(self.now, at)
            while self._wire and self._wire[0][0] <= self.now:
                _, _, act, arguments = heappop(self._wire)
                act(*arguments)
            self.turn()
        self.now = until

    def turn(self):
        reads, self._reads = self._reads, []
        streams, self._streams = self._streams, []
        self.end.turn(reads, self.now, streams)
        self._pump()

    def stop(self):
        self.end.stop(self.now)
        self._pump()

    # -- the network --

    def _later(self, act, *arguments):
        heappush(self._wire, (self.now + DELAY, next(self._sequence), act, arguments))

    def _pump(self):
        for _ in self.end.poll_transmit():
            self._later(self._reach, self.clients[H3], None)
        for number, _ in self.end.poll_dials():
            self.dials[H2].append(self.now)
            self._later(self._knock, number)
        for number, data, close in self.end.poll_streams():
            if data:
                self._later(self._reach, self.clients[H2], number)
            if close and number in self.open:  # while it is dialled, nobody listens to that
                self.open.discard(number)
                self._later(self._stream, Eof(number))

    def _dial(self, pop, now):
        self.dials[H3].append(now)
        self.homes.append(pop)
        client = self.clients[H3] = MemoryClient(H3, now)
        return client

    def _open(self, pop, now):
        client = self.clients[H2] = MemoryHttp2(H2, now)
        return client

    def _knock(self, number):
        mode = self.modes[H2]
        if mode == REFUSED:
            self._later(self._stream, Eof(number, "refused"))
        elif mode != DOWN:
            self.open.add(number)
            self._later(self._stream, Opened(number, POP))

    def _stream(self, event):
        self._streams.append(event)

    def _answer(self, client, events, number):
        client.carrier.events += events
        if number is None:
            self._reads.append((memoryview(SIGN), 1, self.homes[-1]))
        else:
            self._streams.append(Octets(number, SIGN))

    def _reach(self, client, number):
        """A sign of a client has come to the PoP."""
        mode = self.modes[client.carrier.version]
        if mode in (DOWN, REFUSED):
            client.far.poll_events()  # lost
            return
        if not client.shaken:
            client.shaken = True
            client.carrier.events.append(CarrierReady(client.carrier))
        for event in client.far.poll_events():
            if isinstance(event, RequestReceived):
                if mode in (FORBIDS, UNKNOWN):
                    status = 403 if mode == FORBIDS else 401
                    client.far.respond(event.stream, refuse(status, "no").headers, end=True)
                    continue
                if mode == TALKS:
                    client.far.close(0x100, WORDS)
                    continue
                client.far.respond(event.stream, accept_headers())
                if mode == HANGS_UP:
                    client.far.close(0x100)
            elif isinstance(event, DatagramsReceived) or (isinstance(event, DataReceived) and event.data):
                self.got.append((self.now, client.carrier.version))
                client.far.send_datagrams(event.stream, [b"\0\x45 tock"])
        client.far.flush()
        self._later(self._answer, client, client.poll_events(), number)


def _session():
    return ClientSession(
        authority="pop.example",
        template=Template.parse(DEFAULT_TEMPLATE),
        credential=Credential("", b"secret"),
    )
