"""What is to be noticed in a world that is kept up: who came, who was heard where, who called whom, what died."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from edge.metrics import Snapshot
from edge.proto.types import BadPacket, DropReason
from scenarios.casting import Member
from scenarios.checks import Seconds, printable
from scenarios.proto.call import Call, CallConfirmed, CallOver, CallRefused, Role
from scenarios.proto.host import HostEvent
from scenarios.proto.http_server import Served
from scenarios.proto.proxy import CallAnswered, CallEnded, CallStarted
from scenarios.proto.registrar import Registered, Unregistered
from scenarios.proto.sip_uri import uri_untrusted
from scenarios.report import DROPPED, CallRecord, DropRecord, HappeningRecord, RunRecord
from scenarios.runner.calling import direction
from scenarios.runner.stage import Stage

KEPT = 100
"""Happenings that are remembered; strangers choose how many there are."""

KEPT_CALLS = 20
LONGEST = 300
"""Characters of one."""

A_LOOK = 10
"""Happenings that one look brings at most; more are counted."""

MOST_HEARD = 256
"""Sources of a host that are told."""


class Onlooker:
    """Of one stage. `look` keeps the record up to date."""

    def __init__(self, stage: Stage, record: RunRecord) -> None:
        self._stage = stage
        self._record = record
        self._new: list[HappeningRecord] = []
        self._unsaid = 0
        self._up: dict[str, bool] = {}
        self._troubled: dict[str, None] = {}
        self._heard: dict[str, set[str]] = {}
        self._calls: deque[tuple[Member, Call]] = deque(maxlen=KEPT_CALLS)
        self._names = {
            (member.actor.vnet, member.host.address): member.actor.name
            for member in stage.world.members.values()
        }
        self._dropped: set[tuple[str, str, str, DropReason, str]] = set()
        self._also = stage.on_event
        stage.on_event = self._said

    def note(self, who: str, text: str, *, bad: bool = False) -> None:
        if len(self._new) >= A_LOOK:
            self._unsaid += 1
            return
        text = printable(text[:LONGEST])
        self._new.append(HappeningRecord(at=self._stage.elapsed(), who=who, text=text, bad=bad))

    def look(self, snapshot: Snapshot) -> None:
        """Bring the record up to date: tunnels, programs, sources, calls, drops."""
        self._tunnels(snapshot)
        self._troubles()
        self._sources()
        self._record.calls = list(self._call_records())
        self._record.drops = list(self._drops())
        if self._unsaid:
            at = self._stage.elapsed()
            self._new.append(HappeningRecord(at=at, who="", text=f"and {self._unsaid:,} more"))
        self._record.happenings = [*self._record.happenings, *self._new][-KEPT:]
        self._new, self._unsaid = [], 0

    # -- tunnels

    def _tunnels(self, snapshot: Snapshot) -> None:
        by_name = {tunnel.name: tunnel for tunnel in snapshot.tunnels}
        for vnet in self._record.vnets:
            for member in vnet.members:
                tunnel = by_name.get(member.name)
                if tunnel is None:
                    continue
                member.packets_in, member.packets_out = tunnel.packets_rx, tunnel.packets_tx
                if not member.outside:
                    continue
                was, endpoint = member.endpoint, str(tunnel.endpoint or "")
                member.endpoint = endpoint if member.up else ""
                before = self._up.get(member.name, False)
                self._up[member.name] = member.up
                if member.up and not before:
                    self.note(member.name, f"is here, from {endpoint}")
                elif before and not member.up:
                    self.note(member.name, "is gone: nothing came for three minutes", bad=True)
                elif member.up and was and endpoint != was:
                    self.note(member.name, f"comes from {endpoint} now")

    # -- programs

    def _troubles(self) -> None:
        """A world goes on without a program, and whoever tries its server wants to know."""
        texts = [each.trouble for each in self._record.programs if each.trouble]
        for text in (*texts, *self._stage.network.damage):
            if text not in self._troubled:
                self._troubled[text] = None
                self.note("", text, bad=True)

    # -- what hosts heard

    def _sources(self) -> None:
        for member in self._stage.world.members.values():
            if member.actor.name in self._stage.world.script.cast.outside:
                continue
            seen = member.host.seen
            heard = self._heard.setdefault(member.actor.name, set())
            if len(seen) == len(heard) or len(heard) >= MOST_HEARD:
                continue
            for source in [each for each in seen if each not in heard][: MOST_HEARD - len(heard)]:
                heard.add(source)
                if self._is_guest(member, source):
                    self.note(member.actor.name, f"hears from {self._who(member, source)}")

    def _is_guest(self, member: Member, source: str) -> bool:
        return self._names.get((member.actor.vnet, source)) in self._stage.world.script.cast.outside

    def _who(self, member: Member, source: str) -> str:
        """An address as its host saw it, and whose it is."""
        name = self._names.get((member.actor.vnet, source))
        return source if name is None else f"{source}, the true source of {name}"

    def _said(self, said: HostEvent) -> None:
        if self._also is not None:
            self._also(said)
        member = self._stage.world.members[said.host.name]
        name, event = member.actor.name, said.event
        match event:
            case Registered(refresh=False):
                self.note(name, f"{event.user} registered from {self._who(member, event.source[0])}")
            case Unregistered():
                self.note(name, f"{event.user} {'did not register again' if event.expired else 'has left'}")
            case Served():
                source = self._names.get((member.actor.vnet, event.source[0]), "")
                whose = f" ({source})" if source else ""
                text = f"{event.method} {event.target[:60]} from {event.source[0]}{whose}: {event.status}"
                self.note(name, text, bad=event.status >= 400)
            case CallStarted():
                self.note(name, f"{event.caller} calls {event.callee}")
            case CallAnswered():
                self.note(name, f"{event.callee} answers {event.caller}")
            case CallEnded():
                status = "" if event.status is None else f" with {event.status}"
                text = f"the call of {event.caller} to {event.callee} ended{status}"
                self.note(name, text, bad=event.status is not None)
            case CallConfirmed() if event.call.role is Role.CALLEE:
                self._calls.append((member, event.call))
                if member.pbx is not None:
                    self.note(name, f"{_user(event.call.remote)} talks with {_user(event.call.local)}")
            case CallOver() if event.call.role is Role.CALLEE and member.pbx is not None:
                lasted = "" if event.call.duration is None else f" after {Seconds(event.call.duration)}"
                self.note(name, f"{_user(event.call.remote)} and {_user(event.call.local)} are done{lasted}")
            case CallRefused():
                self.note(name, f"refuses {event.caller}: {event.status}", bad=True)

    # -- calls, drops

    def _call_records(self) -> Iterator[CallRecord]:
        now = self._stage.now()
        for member, call in self._calls:
            quality = call.quality(now)
            since = (call.confirmed_at or now) - self._stage.started
            name = member.actor.name
            yield CallRecord(
                caller=_user(call.remote),
                callee=_user(call.local),
                outcome="answered",
                started=since,
                ended=None if call.ended_at is None else call.ended_at - self._stage.started,
                setup_time=call.setup_time,
                directions=[] if quality is None else [direction(name, quality, since)],
            )

    def _drops(self) -> Iterator[DropRecord]:
        lookout = self._stage.world.lookout
        kinds = (
            {(e.vnet, e.tunnel, e.flow, e.reason, e.rule) for e in lookout.drops}
            if lookout is not None
            else set()
        )
        for _, tunnel, flow, reason, rule in kinds - self._dropped:
            by = f", rule {rule}" if rule else ""
            self.note(DROPPED, f"{flow}{f' from {tunnel}' if tunnel else ''}: {reason.value}{by}", bad=True)
        self._dropped = kinds
        for each in lookout.drops if lookout is not None else ():
            yield DropRecord(
                at=max(0.0, each.at - self._stage.started),
                vnet=each.vnet,
                tunnel=each.tunnel,
                flow=each.flow,
                reason=each.reason.value,
                rule=each.rule,
                count=each.count,
            )


def _user(uri: str) -> str:
    try:
        return uri_untrusted(uri).username or uri
    except BadPacket:
        return uri
