"""The last invariant: when everybody has hung up and gone, and long after, nothing may be left."""

from __future__ import annotations

from collections.abc import Iterator

from scenarios.casting import Member
from scenarios.proto.call import Call
from scenarios.report import InvariantRecord
from scenarios.runner.stage import Stage

NO_LEAKS = "no-leaks"
SHOWN = 20


async def no_leaks(stage: Stage, *, virtual: bool) -> InvariantRecord:
    """Judge it; only where time is virtual have the hosts' own timeouts passed too.

    The world is used up by that: nothing can be asked of it any more.
    """
    members = stage.world.members.values()
    for member in members:
        _hang_up(member, stage.now())
        stage.wake(member)
    await stage.network.drain()
    left = await stage.network.leftovers()
    if virtual:
        left += [line for member in members for line in _open(member)]
    text = f"{len(left)} things are left after everybody has gone and every timeout has passed"
    return InvariantRecord(id=NO_LEAKS, holds=not left, text=text, details=left[:SHOWN])


def _calls(member: Member) -> list[Call]:
    phones = [part for part in (member.phone, member.pbx) if part is not None]
    return [call for phone in phones for call in phone.calls if not call.state.over]


def _hang_up(member: Member, now: float) -> None:
    """As a person who closes every window."""
    for call in _calls(member):
        call.hangup(now)
    if member.flow is not None:
        for stream in list(member.flow.source.streams):
            member.flow.source.stop(stream, now)
    if member.host.tcp is not None:
        for connection in member.host.tcp.connections:
            connection.close()


def _open(member: Member) -> Iterator[str]:
    if calls := _calls(member):
        yield f"{member.actor.name}: {len(calls)} calls"
    if member.host.tcp is not None and (connections := member.host.tcp.connections):
        yield f"{member.actor.name}: {len(connections)} TCP connections"
