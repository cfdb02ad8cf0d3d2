"""What a run says about the network, as facts with names: what two fabrics must agree in.

Not among them: moments (what lies between them is), samples, and what a machine is fast or slow at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from edge.proto.types import DropReason
from scenarios.comparison.quantity import Quantity, of
from scenarios.report import AccountRecord, CallRecord, HostRecord, LoadRecord, RunRecord, State, StepRecord

MOST_FACTS = 20_000
"""Of one run; a world of thousands has more hosts than a person compares."""

MOMENTS = frozenset({"started", "ended", "confirmed", "at"})
"""Results that are times since the run began: each is late by the sum of what came before."""

BY_CHANCE = frozenset(
    {
        DropReason.TUNNEL_DOWN, DropReason.QUEUE_FULL, DropReason.FRAGMENT_ORPHAN, DropReason.FRAGMENT_LIMIT,
        DropReason.HOOK_OVERRUN, DropReason.FLOW_LIMIT, DropReason.ICMP_UNSOLICITED, DropReason.OTHER,
    }
)  # fmt: skip
"""Reasons that depend on what came first or was lost; all others say what a packet is, or who may send it."""


class Fact(NamedTuple):
    """One thing that was so; `about` and `place` say more of what is called by a number."""

    value: Any
    quantity: Quantity = Quantity.EXACT
    about: str = ""
    place: str = ""
    parts: int = 1
    """Of a time: how many others it is the sum of."""


Named = Iterator[tuple[str, Fact]]


def facts(run: RunRecord) -> dict[str, Fact]:
    """By name, at most `MOST_FACTS`; the first word of a name is one of ``schema.tolerance.GROUPS``."""
    found: dict[str, Fact] = {}
    for name, fact in _facts(run):
        if len(found) == MOST_FACTS:
            break
        number, free = 1, name
        while free in found:  # two of one name: two calls of one step, two limits of one metric
            number += 1
            free = f"{name} ({number})"
        found[free] = fact
    return found


def _facts(run: RunRecord) -> Named:
    yield "run.state", Fact(run.state.value)
    yield "run.stopped_by", Fact(run.stopped_by)
    ended = [step.ended for step in run.steps if step.ended is not None]
    if ended:  # how long the world takes to fall silent afterwards is the fabric's own affair
        yield "run.took", Fact(max(ended), Quantity.TIME, parts=len(ended))
    for number, step in enumerate(run.steps, 1):
        yield from _step(step, f"steps.{step.id or number}")
    for number, check in enumerate(run.checks, 1):
        yield f"expect.{number}", Fact(check.holds, about=check.text)
    for call in run.calls:
        yield from _call(call)
    for seen in run.sightings:
        yield f"sightings.{seen.pbx}.{seen.user}.seen", Fact(seen.seen)
        yield f"sightings.{seen.pbx}.{seen.user}.true", Fact(seen.true)
    for law in run.invariants:
        yield f"invariants.{law.id}", Fact(law.holds, about=law.text)
    for limit in run.thresholds:
        yield f"thresholds.{limit.key}", Fact(limit.holds, about=limit.text)
    for load in run.loads:
        yield from _load(load)
    for number, fault in enumerate(run.faults, 1):
        yield f"faults.{number}", Fact(f"{fault.kind} {fault.target}")
    yield from _ways(run)
    if run.masque is not None:
        yield "masque.fallbacks", Fact(run.masque.fallbacks)
        yield "masque.returns", Fact(run.masque.returns)
        yield "masque.refused", Fact(run.masque.refused, Quantity.COUNT)
        for http, count in run.masque.sessions.items():
            yield f"masque.sessions.{http}", Fact(count, Quantity.COUNT)
    for account in run.accounts:
        yield from _account(account)
    for vnet in run.vnets:
        for member in vnet.members:
            yield f"tunnels.{member.name}.way", Fact(member.way)
            yield f"tunnels.{member.name}.address", Fact(member.address)
    for host in run.hosts:
        yield from _host(host)


def _step(step: StepRecord, name: str) -> Named:
    def fact(value: Any, quantity: Quantity = Quantity.EXACT, about: str = step.name) -> Fact:
        return Fact(value, quantity, about, step.place)

    yield f"{name}.state", fact(step.state.value)
    if step.started is not None and step.ended is not None:
        took = fact(step.ended - step.started, Quantity.TIME)
        yield f"{name}.took", took._replace(parts=_packets(step))
    for number, check in enumerate(step.checks, 1):
        yield f"{name}.expect.{number}", fact(check.holds, about=check.text)
    for path, key, value in _plain(step.results):
        if key not in MOMENTS:
            quantity = of(key, value)
            if step.verb == "traffic.run" and key == "sent":
                quantity = Quantity.COUNT  # so many a second, as long as it lasts
            yield f"{name}.{path}", fact(value, quantity)


def _packets(step: StepRecord) -> int:
    """How many packets a step sent, each after the fate of the one before was known."""
    if step.verb != "probe.mtu":
        return 1
    fates = (fate for key in ("df", "free") for fate in _plain(step.results.get(key, {})))
    return max(1, sum(1 for _ in fates))


def _plain(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str, Any]]:
    """(path, last word of it, value) of everything in `values` that is no mapping."""
    for key, value in values.items():
        path = f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _plain(value, f"{path}.")
        elif key != "lost" or "loss" not in values:  # the share says more
            yield path, key, value


def _call(call: CallRecord) -> Named:
    name = f"calls.{call.step or f'{call.caller} to {call.callee}'}"
    yield f"{name}.outcome", Fact(call.outcome)
    yield f"{name}.ends", Fact(f"{call.caller} to {call.callee}")
    yield f"{name}.server_initiated", Fact(call.server_initiated)
    yield f"{name}.path", Fact(call.path)
    yield f"{name}.setup_time", Fact(call.setup_time, Quantity.TIME)
    for heard in call.directions:
        yield f"{name}.{heard.listener}.packets", Fact(heard.packets, Quantity.COUNT)
        yield f"{name}.{heard.listener}.mos", Fact(heard.mos, Quantity.MOS)
        yield f"{name}.{heard.listener}.r", Fact(heard.r, Quantity.R)
        yield f"{name}.{heard.listener}.loss", Fact(heard.loss, Quantity.LOSS)
        yield f"{name}.{heard.listener}.jitter", Fact(heard.jitter, Quantity.TIME)
        yield f"{name}.{heard.listener}.gap_max", Fact(heard.gap_max, Quantity.PEAK)
        yield f"{name}.{heard.listener}.profile", Fact(heard.profile)


def _load(load: LoadRecord) -> Named:
    for key in ("started", "passed"):
        yield f"loads.{load.name}.{key}", Fact(getattr(load, key), Quantity.COUNT)
    for key in ("failed", "skipped"):
        yield f"loads.{load.name}.{key}", Fact(getattr(load, key), Quantity.CHANCE)


def _ways(run: RunRecord) -> Named:
    """Which ways tunnels took, one after the other; pauses between two are no way."""
    taken: dict[str, list[str]] = {}
    for change in run.ways:
        ways = taken.setdefault(change.tunnel, [])
        if change.way and ways[-1:] != [change.way]:
            ways.append(change.way)
    for tunnel, ways in taken.items():
        yield f"ways.{tunnel}", Fact(", then ".join(ways))


def _account(account: AccountRecord) -> Named:
    name = f"vnets.{account.vnet}"
    for key in ("packets_in", "packets_out"):
        yield f"{name}.{key}", Fact(getattr(account, key), Quantity.COUNT)
    yield f"{name}.generated", Fact(account.generated, Quantity.COUNT)
    for reason in DropReason:
        quantity = Quantity.CHANCE if reason in BY_CHANCE else Quantity.COUNT
        yield f"{name}.drops.{reason}", Fact(account.dropped.get(reason, 0), quantity)
    for rule, count in account.rules.items():
        yield f"{name}.rules.{rule}", Fact(count, Quantity.PRESENCE)


def _host(host: HostRecord) -> Named:
    name = f"hosts.{host.name}"
    yield f"{name}.address", Fact(host.address)
    yield f"{name}.sources", Fact(host.sources, Quantity.SET)
    yield f"{name}.told", Fact(host.told, Quantity.SET)
    for key, words in host.apps.items():
        yield f"{name}.{key}", Fact(words, Quantity.SET)
    if host.more:
        yield f"{name}.more", Fact(host.more, Quantity.COUNT)


def is_whole(run: RunRecord) -> bool:
    """Whether it says something about the network."""
    return run.state in (State.PASSED, State.FAILED)
