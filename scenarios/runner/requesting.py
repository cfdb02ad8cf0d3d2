"""``http.request``: one request over TCP, and what came of each part of it."""

from __future__ import annotations

from typing import ClassVar

from scenarios.checks import Metrics, Plain, Seconds
from scenarios.proto.http_client import HttpExchange, Phase
from scenarios.runner.stage import Quiet, Stage
from scenarios.runner.witness import Witness, address_of, who_has
from scenarios.schema.verbs import HttpRequest


class Requesting(Quiet):
    FIELDS: ClassVar[tuple[str, ...]] = (
        "outcome",
        "status",
        "body",
        "size",
        "connect_time",
        "first_byte",
        "duration",
        "seen_source",
        *Witness.FIELDS,
    )
    DEFAULT: ClassVar[tuple[str, ...]] = ('outcome == "answered" and status < 400',)

    def __init__(self, stage: Stage, verb: HttpRequest) -> None:
        self._stage = stage
        self._verb = verb
        self._member = stage.member(verb.sender)
        self._address = address_of(stage, verb.to)
        self._target = who_has(stage, self._member, self._address)
        self._witness = Witness(stage, self._member, self._target)
        self._exchange: HttpExchange | None = None

    async def run(self) -> None:
        verb = self._verb
        exchange = self._exchange = self._member.http.request(
            verb.method,
            self._address,
            verb.port,
            verb.path,
            body=verb.body.encode(),
            now=self._stage.now(),
            timeout=verb.give_up,
        )
        self._stage.wake(self._member)
        await self._stage.until(lambda: exchange.ended, self._member)

    def results(self) -> dict[str, Plain]:
        """`outcome`: answered, or why not; `seen_source`: the address that the server saw."""
        exchange = self._exchange
        return {
            "outcome": self._outcome(),
            "status": None if exchange is None else exchange.status,
            "body": "" if exchange is None else exchange.body.decode("utf-8", "replace"),
            "size": 0 if exchange is None else len(exchange.body),
            "connect_time": _seconds(None if exchange is None else exchange.connect_seconds),
            "first_byte": _seconds(None if exchange is None else exchange.first_byte_seconds),
            "duration": _seconds(None if exchange is None else exchange.total_seconds),
            "seen_source": self._seen_source(),
            **self._witness.results(),
        }

    def summary(self) -> str:
        exchange = self._exchange
        if exchange is not None and exchange.state is Phase.DONE:
            return f"{exchange.status} after {Seconds(exchange.total_seconds or 0)}"
        why = self._witness.summary()
        return f"{self._outcome()}: {why}" if why else self._outcome()

    def waiting(self) -> str:
        state = "about to ask" if self._exchange is None else self._exchange.state
        return f"{self._verb.sender} asks {self._verb.to} for {self._verb.path} ({state})"

    def measure(self, metrics: Metrics, **tags: str) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        answered = exchange.state is Phase.DONE
        metrics.add("http.failed", not answered or (exchange.status or 0) >= 400, **tags)
        if answered and exchange.total_seconds is not None:
            metrics.add("http.duration", exchange.total_seconds, **tags)

    def _outcome(self) -> str:
        exchange = self._exchange
        if exchange is None or not exchange.ended:
            return "trying"
        return "answered" if exchange.state is Phase.DONE else str(exchange.reason)

    def _seen_source(self) -> str | None:
        if self._exchange is None or self._target is None:
            return None
        port, since = self._exchange.local_port, self._exchange.started_at
        for server in self._target.web_servers:
            if server.port == self._verb.port:
                for entry in reversed(server.log):
                    if entry.source[1] == port and entry.at >= since:
                        return entry.source[0]
        return None


def _seconds(value: float | None) -> Seconds | None:
    return None if value is None else Seconds(value)
