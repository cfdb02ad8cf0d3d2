"""A network in virtual time for applications on hosts: fixed delay, seeded loss, and a record of every datagram."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from itertools import count

from scenarios.proto.call import media_free
from scenarios.proto.pbx import Pbx
from scenarios.proto.sip import Request, Response, message_untrusted
from scenarios.proto.softphone import Softphone

PBX = "10.0.50.60"
ALICE = "100.96.0.12"
BOB = "100.96.0.13"


@dataclass
class Sent:
    at: float
    source: tuple[str, int]
    destination: tuple[str, int]
    data: bytes
    lost: bool

    @property
    def message(self) -> Request | Response:
        return message_untrusted(self.data)

    def __str__(self) -> str:
        return f"{self.at:.3f} {self.source[0]} > {self.destination[0]}{' LOST' if self.lost else ''}: {self.message}"


@dataclass
class World:
    loss: float = 0.0
    seed: int = 1
    delay: float = 0.01
    now: float = 0.0
    apps: dict = field(default_factory=dict)
    sent: list = field(default_factory=list)
    events: dict = field(default_factory=dict)
    down: set = field(default_factory=set)

    def __post_init__(self):
        self.rng = random.Random(self.seed)
        self._heap = []
        self._order = count()

    def add(self, address, app):
        self.apps[address] = app
        self.events[address] = []
        return app

    def phone(self, name, address, **options):
        options.setdefault("media_factory", media_free)
        options.setdefault("password", f"secret-{name}")
        phone = Softphone(
            name,
            address,
            registrar=(PBX, 5060),
            username=options.pop("username", name),
            rng=random.Random(f"{self.seed}/{name}"),
            **options,
        )
        return self.add(address, phone)

    def pbx(self, users=("alice", "bob"), **options):
        options.setdefault("media_factory", media_free)
        pbx = Pbx(
            "pbx",
            PBX,
            realm="hq.example",
            users={user: f"secret-{user}" for user in users},
            rng=random.Random(f"{self.seed}/pbx"),
            **options,
        )
        return self.add(PBX, pbx)

    def send(self, source, destination, data):
        """Put a datagram of our own on the wire."""
        lost = self.rng.random() < self.loss or source[0] in self.down or destination[0] in self.down
        self.sent.append(Sent(self.now, source, destination, data, lost))
        if not lost:
            heapq.heappush(self._heap, (self.now + self.delay, next(self._order), source, destination, data))

    def _flush(self):
        for address, app in self.apps.items():
            for port, destination, data in app.poll_transmit():
                self.send((address, port), destination, data)
            while (event := app.poll_event()) is not None:
                self.events[address].append(event)

    def run(self, seconds):
        end = self.now + seconds
        for _ in range(2_000_000):
            self._flush()
            wake, address = min((app.poll_timeout(), address) for address, app in self.apps.items())
            arrival = self._heap[0][0] if self._heap else float("inf")
            if min(wake, arrival) > end:
                self.now = end
                return
            if arrival <= wake:
                self.now = max(self.now, arrival)
                _, _, source, destination, data = heapq.heappop(self._heap)
                app = self.apps.get(destination[0])
                if app is not None and app.wants(destination[1]):
                    app.handle_datagram(destination[1], source, data, self.now)
            else:
                self.now = max(self.now, wake)
                self.apps[address].handle_timeout(self.now)
        raise AssertionError("the world does not come to rest")

    def sip(self, *, method=None, source=None, destination=None, status=None, lost=False):
        """SIP messages seen so far; lost ones only if asked for."""
        found = []
        for sent in self.sent:
            if sent.destination[1] != 5060 or (sent.lost and not lost):
                continue
            message = sent.message
            if method and message.method != method:
                continue
            if (source and sent.source[0] != source) or (destination and sent.destination[0] != destination):
                continue
            if (status is None and isinstance(message, Response)) or (
                status is not None and isinstance(message, Request)
            ):
                continue
            if status is not None and message.status != status:
                continue
            found.append(message)
        return found

    def said(self, address, kind):
        return [event for event in self.events[address] if isinstance(event, kind)]


def office(*, loss=0.0, seed=1, **options):
    """A PBX and two registered phones."""
    world = World(loss=loss, seed=seed)
    pbx, alice, bob = world.pbx(**options), world.phone("alice", ALICE), world.phone("bob", BOB)
    alice.register(0.0)
    bob.register(0.0)
    world.run(1.0)
    return world, pbx, alice, bob
