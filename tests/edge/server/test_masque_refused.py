"""Requests for a MASQUE session that were refused are told as numbers: how many, and what they were answered."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

import structlog

from connectors.proto import ChoosingEnd
from connectors.proto.masque_way import QuicWay
from connectors.ways import MasqueTarget, make_end
from edge.config import MasqueConfig
from edge.proto.masque.client import SessionState
from edge.server.engine import HOUSEKEEPING, STRANGERS_PACE, Engine
from edge.state import MemoryStore
from tests.edge.io.http2.identities import SERVER_NAME, authority, server
from tests.edge.server.lab import Host, pop

POP, CLIENT = ("192.0.2.1", 4433), ("192.0.2.2", 1000)


class World:
    """An engine, and clients with tokens that it does not know."""

    def __init__(self) -> None:
        self.now = 1.0
        capture = structlog.testing.LogCapture()
        self._lines = capture.entries
        log = structlog.wrap_logger(
            None, processors=[capture], wrapper_class=structlog.make_filtering_bound_logger("info")
        )
        identity = server()
        masque = MasqueConfig(POP, identity.certificate, identity.private_key)
        self.engine = Engine(
            replace(pop(), masque=masque),
            MemoryStore(),
            now=self.now,
            epoch=1e9,
            rng=os.urandom,
            timer=lambda: 0.0,
            log=log,
        )

    @property
    def lines(self) -> list[MutableMapping[str, Any]]:
        return [line for line in self._lines if line["event"] == "masque-refused"]

    def ask_in_vain(self) -> None:
        """One client, until it has its answer."""
        target = MasqueTarget(POP, SERVER_NAME, ca=authority()[1], token=b"unknown", http2=False)
        end = make_end(
            "masque",
            Host("100.96.0.2"),
            wireguard=None,
            masque=target,
            now=self.now,
            epoch=1e9,
            rng=os.urandom,
        )
        refused = self.refused
        for _ in range(20):
            self.engine.turn([], self.now, [*_reads(end.poll_transmit(), CLIENT)])
            end.turn([*_reads(self.engine.poll_quic(), POP)], self.now)
        assert self.refused == refused + 1
        assert isinstance(end, ChoosingEnd)
        (way,) = end.ways
        assert isinstance(way, QuicWay) and way.previous is not None
        assert (way.previous.state, way.previous.status) == (SessionState.REFUSED, 401)

    @property
    def refused(self) -> int:
        masque = self.engine.snapshot(self.now).masque
        assert masque is not None
        return masque.refused.get(401, 0)

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.engine.turn([], self.now)


def _reads(batches, source):
    return [(memoryview(d), len(d), source) for _, datagrams in batches for d in datagrams]


def test_they_are_told_with_status_and_http_version_and_at_most_once_a_minute() -> None:
    world = World()
    world.ask_in_vain()
    world.ask_in_vain()
    assert world.lines == []
    world.later(HOUSEKEEPING)
    assert [(line["requests"], line["answers"]) for line in world.lines] == [(2, "401 over h3")]
    world.ask_in_vain()
    world.later(HOUSEKEEPING)
    assert len(world.lines) == 1
    world.later(STRANGERS_PACE)
    assert [line["requests"] for line in world.lines] == [2, 1]
