"""``load``: many actors do one thing again and again, at a rate that follows stages (an open model, as k6 calls it).

Arrivals come when the stages say so, not when an earlier one has ended; who is late shows as more that run at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from math import sqrt

import trio
from msgspec.structs import replace

from scenarios.checks import Metrics, Plain, Seconds
from scenarios.report import LoadRecord
from scenarios.runner.actions import action
from scenarios.runner.names import names
from scenarios.runner.registering import Registering
from scenarios.runner.stage import Action, Stage
from scenarios.runner.verdict import judged
from scenarios.schema.language import Load, LoadStage
from scenarios.schema.semantics import performed_by
from scenarios.schema.verbs import HttpRequest, Ping, SipCall, SipRegister, UdpSend, Verb

PATIENCE = 30.0
"""Seconds for all of its phones to register."""

REGISTERING_AT_ONCE = 50
"""Phones; a PBX that restarts sees more, but that is not what a load of calls is about."""

FIELDS = ("started", "running", "passed", "failed", "skipped")


class Loading:
    """One load at work."""

    FIELDS = FIELDS

    def __init__(self, name: str, load: Load, stage: Stage, metrics: Metrics) -> None:
        self.load = load
        self._stage = stage
        self._metrics = metrics
        self._name = name
        self._actors = deque(stage.world.script.cast.names(load.actors))
        self._number = {name: number for number, name in enumerate(self._actors)}
        self._busy: set[str] = set()
        word, self._verb = next(iter(load.do.verbs.items()))
        self._partners = stage.world.script.cast.groups.get(getattr(self._verb, "to", ""), ())
        self.record = LoadRecord(name=name, verb=word)
        self._begun: float | None = None
        self.over = False
        """Whether the last of it has ended."""

    def results(self) -> dict[str, Plain]:
        return {field: getattr(self.record, field) for field in FIELDS}

    async def run(self) -> None:
        """Until the last stage is over and everything that was started has ended."""
        await self._stage.network.wait_up()
        await self._register()
        await trio.sleep(max(0.0, self.load.at - self._stage.elapsed()))
        begun = self._begun = self._stage.now()
        async with trio.open_nursery() as nursery:
            for due in arrivals(self.load.start, self.load.stages):
                await trio.sleep(max(0.0, begun + due - self._stage.now()))
                actor = self._next()
                if actor is None:
                    self.record.skipped += 1
                    self._metrics.add("load.skipped", 1, load=self._name)
                else:
                    nursery.start_soon(self._once, actor)
            await trio.sleep(
                max(0.0, begun + sum(stage.over for stage in self.load.stages) - self._stage.now())
            )
            self.record.target = 0.0
        self.over = True

    def _next(self) -> str | None:
        """Whose turn it is: whoever has waited longest and is free."""
        if self.record.running >= self.load.max_running:
            return None
        for _ in range(len(self._actors)):
            self._actors.rotate(-1)
            if self._actors[-1] not in self._busy:
                return self._actors[-1]
        return None

    async def _once(self, actor: str) -> None:
        record = self.record
        record.started += 1
        record.running += 1
        self._busy.add(actor)
        self._metrics.add("load.started", 1, load=self._name)
        self._metrics.add("load.running", record.running, load=self._name)
        acting = action(self._stage, self._turn_of(actor), lambda _: False)
        try:
            await acting.run()
            good = self._judge(acting)
        finally:
            record.running -= 1
            self._busy.discard(actor)
            self._metrics.add("load.running", record.running, load=self._name)
        record.passed += good
        record.failed += not good
        acting.measure(self._metrics, load=self._name)

    def _turn_of(self, actor: str) -> Verb:
        """The verb for `actor`; where `to` is a group, the n-th does it to the n-th."""
        verb = performed_by(self._verb, actor)
        partners = self._partners
        if not partners or not isinstance(verb, SipCall | UdpSend | Ping | HttpRequest):
            return verb
        return replace(verb, to=partners[self._number[actor] % len(partners)])

    def _judge(self, acting: Action) -> bool:
        given = {**names(self._stage), **acting.results()}
        return all(judged(text, given).holds for text in acting.DEFAULT)

    async def _register(self) -> None:
        """Phones cannot call before they have registered."""
        if not isinstance(self._verb, SipCall):
            return
        cast = self._stage.world.script.cast
        wanted = dict.fromkeys([*self._actors, *cast.names(self._verb.to)])
        phones = [
            name
            for name in wanted
            if name in self._stage.world.members
            and (phone := self._stage.member(name).phone)
            and not phone.registered
        ]
        with trio.move_on_after(PATIENCE):
            for start in range(0, len(phones), REGISTERING_AT_ONCE):
                some = tuple(phones[start : start + REGISTERING_AT_ONCE])
                await Registering(self._stage, SipRegister(phones=some)).run()

    def refresh(self) -> None:
        """Bring the record up to date: rates, and the figures of the verb."""
        if self._begun is None:
            return
        elapsed = self._stage.now() - self._begun
        self.record.target = rate_at(self.load.start, self.load.stages, elapsed)
        self.record.rate = self.record.started / elapsed if elapsed > 0 else 0.0
        figures = []
        for metric, label, show in _FIGURES.get(self.record.verb, ()):
            for series in self._metrics.select(metric, {"load": self._name}):
                for percent in (50, 95, 99):
                    value = series.trend.percentile(percent)
                    if value is not None:
                        figures.append((f"{label} p{percent}", show(value)))
        self.record.figures = figures


_FIGURES: dict[str, tuple[tuple[str, str, Callable[[float], str]], ...]] = {
    "sip.call": (
        ("sip.setup_time", "setup", lambda value: str(Seconds(value))),
        ("rtp.mos", "MOS", lambda value: f"{value:.2f}"),
    ),
    "udp.send": (("udp.rtt", "round trip", lambda value: str(Seconds(value))),),
    "ping": (("ping.rtt", "round trip", lambda value: str(Seconds(value))),),
    "http.request": (("http.duration", "duration", lambda value: str(Seconds(value))),),
    "dns.query": (("dns.duration", "duration", lambda value: str(Seconds(value))),),
}


def arrivals(start: float, stages: tuple[LoadStage, ...]) -> Iterator[float]:
    """When each arrival is due, in seconds from the start: whenever the integral of the rate reaches a whole number."""
    begin, rate, done = 0.0, float(start), 0.0
    wanted = 1.0
    for stage in stages:
        slope = (stage.to - rate) / stage.over if stage.over else 0.0
        total = (rate + stage.to) / 2 * stage.over
        while done + total >= wanted - 1e-9:
            area = wanted - done
            if abs(slope) < 1e-12:
                after = area / rate
            else:
                after = (sqrt(max(0.0, rate * rate + 2 * slope * area)) - rate) / slope
            yield begin + min(after, stage.over)
            wanted += 1
        done += total
        begin += stage.over
        rate = float(stage.to)


def rate_at(start: float, stages: tuple[LoadStage, ...], elapsed: float) -> float:
    """What the stages ask for at that moment, per second."""
    rate = float(start)
    for stage in stages:
        if elapsed < stage.over:
            return rate + (stage.to - rate) * elapsed / stage.over
        elapsed -= stage.over
        rate = float(stage.to)
    return 0.0
