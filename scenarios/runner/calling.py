"""``sip.call`` and ``pbx.dial``: a call from its INVITE to its end, and how it sounded on both sides."""

from __future__ import annotations

from typing import ClassVar

from scenarios.casting import Member
from scenarios.checks import Metrics, Plain, Ratio, Seconds
from scenarios.proto.call import Call, CallState
from scenarios.proto.judgement import DirectionQuality
from scenarios.report import CallRecord, DirectionRecord, SightingRecord, WindowRecord
from scenarios.runner.stage import Stage
from scenarios.runner.witness import Witness
from scenarios.schema.verbs import PbxDial, SipCall

GOODBYE = 0.5
"""Seconds that a call which was given up gets for its CANCEL, and one that ended for its BYE on the other side."""


OPERATOR = "operator"
"""Who a PBX without an echo extension says it is when it calls."""


class Calling:
    FIELDS: ClassVar[tuple[str, ...]] = (
        "outcome",
        "state",
        "status",
        "setup_time",
        "confirmed",
        "duration",
        "ended_by",
        "reinvites",
        "media",
        "heard",
        "mos",
        "loss",
        "jitter",
        "gap_max",
        *Witness.FIELDS,
    )
    TAG: ClassVar[str] = "call"
    DEFAULT: ClassVar[tuple[str, ...]] = ('outcome == "answered"',)

    def __init__(self, stage: Stage, verb: SipCall | PbxDial) -> None:
        self._stage = stage
        self._verb = verb
        self._caller = stage.member(verb.caller if isinstance(verb, SipCall) else verb.pbx)
        self._callee = stage.world.members.get(verb.to)
        self._witness = Witness(stage, self._caller, self._server())
        self._call: Call | None = None
        self._found: tuple[Member, Call] | None = None
        self._given_up = False

    async def run(self) -> None:
        call = self._call = self._dial()
        self._stage.wake(self._caller)
        answered = await self._stage.until(
            lambda: call.state is CallState.CONFIRMED or call.state.over,
            self._caller,
            at_most=self._verb.give_up,
        )
        if not answered:
            self._given_up = True
            call.hangup(self._stage.now())
            self._stage.wake(self._caller)
            await self._stage.until(lambda: call.state.over, self._caller, at_most=GOODBYE)
            return
        await self._stage.until(lambda: call.state.over, self._caller)
        if (other := self._other()) is not None:
            callee, heard = other
            await self._stage.until(lambda: heard.state.over, callee, at_most=GOODBYE)

    def results(self) -> dict[str, Plain]:
        call = self._call
        heard = self._heard()
        known = [quality for quality in heard.values() if quality is not None]
        scores = [quality.mos for quality in known if quality.mos is not None]
        return {
            "outcome": self._outcome(),
            "state": None if call is None else call.state.value,
            "status": None if call is None else call.status,
            "setup_time": _seconds(None if call is None else call.setup_time),
            "confirmed": None
            if call is None or call.confirmed_at is None
            else Seconds(call.confirmed_at - self._stage.started),
            "duration": _seconds(None if call is None else call.duration),
            "ended_by": None if call is None else call.ended_by,
            "reinvites": 0 if call is None else call.reinvites,
            "media": self._media(),
            "heard": {name: _plain(quality) for name, quality in heard.items()},
            "mos": min(scores) if scores else None,
            "loss": Ratio(max(quality.loss_ratio for quality in known)) if known else None,
            "jitter": Seconds(max(quality.jitter_s for quality in known)) if known else None,
            "gap_max": Seconds(max(quality.gap_max_s for quality in known)) if known else None,
            **self._witness.results(),
        }

    def summary(self) -> str:
        call = self._call
        if call is None or call.confirmed_at is None:
            status = f" with {call.status} {call.reason}" if call is not None and call.status else ""
            text = f"no answer in {Seconds(self._verb.give_up)}" if self._given_up else f"refused{status}"
            why = self._witness.summary()
            return f"{text}: {why}" if why else text
        text = f"answered after {Seconds(call.setup_time or 0)}"
        return text + (f", {self._path()}" if self._path() else "")

    def waiting(self) -> str:
        call, to = self._call, self._verb.to
        if call is None:
            return f"about to call {to}"
        if call.confirmed_at is None:
            return f"waiting for {to} to answer ({call.state.value})"
        who = self._caller.actor.name
        return f"{who} and {to} talk, for {Seconds(self._stage.now() - call.confirmed_at)}"

    def calls(self) -> list[CallRecord]:
        if self._call is None:
            return []
        return [
            CallRecord(
                caller=self._caller.actor.name,
                callee=self._verb.to,
                outcome=self._outcome(),
                server_initiated=isinstance(self._verb, PbxDial),
                setup_time=self._call.setup_time,
                directions=[
                    direction(name, quality, self._talking())
                    for name, quality in self._heard().items()
                    if quality is not None
                ],
                path=self._path(),
            )
        ]

    def sightings(self) -> list[SightingRecord]:
        return []

    def written(self) -> list[str]:
        return []

    def table(self) -> list[list[str]]:
        return []

    def measure(self, metrics: Metrics, **tags: str) -> None:
        call = self._call
        answered = self._outcome() == "answered"
        metrics.add("sip.calls", 1, **tags)
        metrics.add("sip.failed", not answered, **tags)
        if call is not None and call.setup_time is not None:
            metrics.add("sip.setup_time", call.setup_time, **tags)
        for listener, quality in self._heard().items():
            if quality is None or quality.mos is None:
                continue
            heard = {**tags, "listener": listener} if "call" in tags else tags
            metrics.add("rtp.mos", quality.mos, **heard)
            metrics.add("rtp.r", quality.r_factor or 0.0, **heard)
            metrics.add("rtp.loss", quality.loss_ratio, **heard)
            metrics.add("rtp.jitter", quality.jitter_s, **heard)
            metrics.add("rtp.gap_max", quality.gap_max_s, **heard)
            for window in quality.windows:
                if window.mos is not None:
                    metrics.add("rtp.mos", window.mos, window="10s", **heard)

    def _dial(self) -> Call:
        verb, now, caller = self._verb, self._stage.now(), self._caller
        if isinstance(verb, PbxDial):
            assert caller.pbx is not None
            extension = caller.actor.pbx.echo_extension if caller.actor.pbx is not None else None
            user = verb.to if self._callee is None else self._callee.actor.user
            return caller.pbx.dial(extension or OPERATOR, user, now, hold=verb.hold)
        assert caller.phone is not None
        uri = self._stage.world.script.cast.sip_uri(caller.actor, verb.to)
        assert uri is not None, "the scenario was checked"
        return caller.phone.call(uri, now, hold=verb.hold)

    def _server(self) -> Member | None:
        """Who gets the INVITE first."""
        if isinstance(self._verb, PbxDial):
            return self._callee
        registrar = self._stage.world.script.cast.registrar(self._caller.actor)
        return None if registrar is None else self._stage.member(registrar.name)

    def _other(self) -> tuple[Member, Call] | None:
        """Who answered, and the same call as they see it: the callee, or the PBX if it answers an extension itself."""
        if self._found is None and self._call is not None:
            callee = self._callee or (self._server() if isinstance(self._verb, SipCall) else None)
            agent = None if callee is None else callee.phone if callee is self._callee else callee.pbx
            calls = () if agent is None else agent.calls
            found = next((call for call in calls if call.id == self._call.id), None)
            if callee is not None and found is not None:
                self._found = callee, found
        return self._found

    def _heard(self) -> dict[str, DirectionQuality | None]:
        """By who listens: an actor of this world."""
        if self._call is None:
            return {}
        now = self._stage.now()
        heard = {self._caller.actor.name: self._call.quality(now)}
        if (other := self._other()) is not None:
            callee, call = other
            heard[callee.actor.name] = call.quality(now)
        return heard

    def _talking(self) -> float:
        """Since when, in seconds since the run began."""
        confirmed = self._call.confirmed_at if self._call is not None else None
        return 0.0 if confirmed is None else confirmed - self._stage.started

    def _outcome(self) -> str:
        call = self._call
        if call is None or (not call.state.over and call.confirmed_at is None and not self._given_up):
            return "trying"
        if call.confirmed_at is not None:
            return "answered"
        return "timeout" if self._given_up else "refused"

    def _media(self) -> Plain:
        """Where each side was told to send its media, and whether that is the other side itself."""
        call, other = self._call, self._other()
        to_callee = call.remote_media[0] if call is not None and call.remote_media else None
        to_caller = other[1].remote_media[0] if other is not None and other[1].remote_media else None
        direct = (
            other is not None
            and to_callee == other[0].host.address
            and to_caller == self._caller.host.address
        )
        return {"to_callee": to_callee, "to_caller": to_caller, "direct": direct}

    def _path(self) -> str:
        media = self._media()
        assert isinstance(media, dict)
        callee = self._found[0] if self._found is not None else self._callee
        if callee is None or media["to_callee"] is None:
            return ""
        if not media["direct"]:
            return f"media by way of {media['to_callee']}"
        sites = [member.actor.site for member in (self._caller, callee) if member.actor.site is not None]
        return "media direct, " + (
            f"through the connector of {sites[0]}" if sites else "between the two tunnels"
        )


def _seconds(value: float | None) -> Seconds | None:
    return None if value is None else Seconds(value)


def _plain(quality: DirectionQuality | None) -> Plain:
    if quality is None:
        return None
    return {
        "packets": quality.received,
        "lost": quality.lost,
        "loss": Ratio(quality.loss_ratio),
        "jitter": Seconds(quality.jitter_s),
        "gap_max": Seconds(quality.gap_max_s),
        "one_way": quality.one_way,
        "mos": quality.mos,
        "mos_min": quality.mos_min,
        "r": quality.r_factor,
        "codec": quality.codec_profile,
    }


def direction(name: str, quality: DirectionQuality, since: float) -> DirectionRecord:
    return DirectionRecord(
        listener=name,
        packets=quality.received,
        windows=[
            WindowRecord(
                start=since + window.start,
                mos=window.mos,
                loss=window.lost / window.expected if window.expected else None,
            )
            for window in quality.windows
        ],
        loss=quality.loss_ratio,
        jitter=quality.jitter_s,
        gap_max=quality.gap_max_s,
        mos=quality.mos,
        r=quality.r_factor,
        profile=f"{quality.model}, {quality.codec_profile}",
    )
