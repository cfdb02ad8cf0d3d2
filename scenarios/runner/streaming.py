"""``traffic.run``, and sources that send from the start: how much was sent, and what of it arrived."""

from __future__ import annotations

from typing import ClassVar

import trio

from scenarios.casting import Member
from scenarios.checks import Metrics, Plain, Ratio, Seconds
from scenarios.proto.histogram import Histogram
from scenarios.proto.traffic import Stream
from scenarios.proto.traffic_sink import StreamArrivals
from scenarios.runner.stage import Quiet, Stage
from scenarios.runner.witness import Witness, who_has
from scenarios.schema.verbs import TrafficRun


class Streaming(Quiet):
    FIELDS: ClassVar[tuple[str, ...]] = (
        "sources",
        "sent",
        "received",
        "lost",
        "loss",
        "duplicates",
        "reordered",
        "overrun",
        "delay_avg",
        "delay_p95",
        "delay_max",
        "jitter",
        *Witness.FIELDS,
    )
    DEFAULT: ClassVar[tuple[str, ...]] = ("received == sent and sent > 0",)

    def __init__(self, stage: Stage, verb: TrafficRun) -> None:
        self._stage = stage
        self._verb = verb
        self._members = stage.members(verb.sources)
        self._targets = [self._target(member) for member in self._members]
        self._witness = Witness.of(stage, zip(self._members, self._targets, strict=True))
        self._streams: list[Stream] = []

    async def run(self) -> None:
        verb, stage = self._verb, self._stage
        self._streams = [begin(stage, member, verb.duration) for member in self._members]
        await trio.sleep(verb.duration + verb.settle)

    def results(self) -> dict[str, Plain]:
        """`overrun`: datagrams that a late machine did not send; the rest is about those that were sent."""
        arrived = [arrivals for arrivals in self._arrived() if arrivals is not None]
        sent = sum(stream.sent for stream in self._streams)
        received = sum(arrivals.received for arrivals in arrived)
        delay = _together(arrived)
        p95 = delay.percentile(95)
        return {
            "sources": len(self._members),
            "sent": sent,
            "received": received,
            "lost": max(0, sent - received),
            "loss": Ratio(max(0, sent - received) / sent) if sent else Ratio(0),
            "duplicates": sum(arrivals.duplicates for arrivals in arrived),
            "reordered": sum(arrivals.reordered for arrivals in arrived),
            "overrun": sum(stream.overrun for stream in self._streams),
            "delay_avg": _seconds(delay.average),
            "delay_p95": _seconds(p95),
            "delay_max": _seconds(delay.maximum),
            "jitter": _seconds(max((arrivals.jitter for arrivals in arrived), default=None)),
            **self._witness.results(),
        }

    def summary(self) -> str:
        values = self.results()
        text = f"{values['received']} of {values['sent']} datagrams arrived"
        if values["delay_avg"] is not None:
            text += f", one way {values['delay_avg']}"
        why = self._witness.summary() if not values["received"] else ""
        return f"{text}: {why}" if why else text

    def waiting(self) -> str:
        sent = sum(stream.sent for stream in self._streams)
        if self._streams and all(stream.ended for stream in self._streams):
            return f"{sent} datagrams sent, the last ones are on their way"
        return (
            f"{len(self._members)} sources send for {Seconds(self._verb.duration)}, {sent} datagrams so far"
        )

    def measure(self, metrics: Metrics, **tags: str) -> None:
        for stream, arrivals in zip(self._streams, self._arrived(), strict=False):
            received = 0 if arrivals is None else arrivals.received
            if stream.sent:
                metrics.add("traffic.lost", max(0, stream.sent - received) / stream.sent, **tags)
            if arrivals is not None:
                metrics.add_histogram("traffic.delay", arrivals.delay, **tags)

    def _target(self, member: Member) -> Member | None:
        assert member.flow is not None, "the scenario was checked"
        return who_has(self._stage, member, member.flow.destination[0])

    def _arrived(self) -> list[StreamArrivals | None]:
        """What came of each stream; None if nothing did."""
        return [
            None
            if target is None or target.sink is None or target.sink.port != stream.destination[1]
            else target.sink.arrivals.get((member.host.address, stream.local_port, stream.ident))
            for member, target, stream in zip(self._members, self._targets, self._streams, strict=False)
        ]


def begin(stage: Stage, member: Member, duration: float | None = None) -> Stream:
    """Let the source of `member` send, for `duration` seconds or until it is stopped."""
    flow = member.flow
    assert flow is not None
    span = float("inf") if duration is None else duration
    stream = flow.source.start(flow.destination, flow.profile, stage.now(), duration=span)
    stage.wake(member)
    return stream


def begin_at_once(stage: Stage) -> None:
    """Let those send that do so from the start."""
    for member in stage.world.members.values():
        if member.flow is not None and member.flow.at_once:
            begin(stage, member)


def end_all(stage: Stage) -> None:
    """No source sends any more."""
    for member in stage.world.members.values():
        if member.flow is not None:
            for stream in member.flow.source.streams:
                member.flow.source.stop(stream, stage.now())


def _together(arrived: list[StreamArrivals]) -> Histogram:
    delay = Histogram()
    for arrivals in arrived:
        delay.merge(arrivals.delay)
    return delay


def _seconds(value: float | None) -> Seconds | None:
    return None if value is None else Seconds(value)
