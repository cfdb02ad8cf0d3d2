"""A flow as a Mermaid sequence: host, tunnel, PoP, tunnel, host; what dies is a note."""

from __future__ import annotations

from collections.abc import Iterable

from scenarios.trace.event import EDGE, Event, Kind
from scenarios.trace.text import flow, printable

MOST = 200
"""Arrows; a sequence beyond that cannot be read."""

_DEAD = {Kind.DROPPED, Kind.LOST, Kind.REFUSED}
_ENTITIES = {ord("#"): "#35;", ord(";"): "#59;"}
_WATCHED = {Kind.FAULT, Kind.TUNNEL}


def sequence(events: Iterable[Event], *, most: int = MOST) -> str:
    """The diagram of `events`, packets of one or several flows, in order."""
    chosen = list(events)
    entered = {event.check: event.tunnel for event in chosen if event.kind == Kind.OPENED}
    left: dict[int, str] = {}
    people: dict[str, str] = {}
    arrows: list[str] = []

    def who(kind: str, name: str) -> str:
        return people.setdefault(f"{kind} {name}".strip(), f"p{len(people)}")

    for event in chosen:
        label = _label(event)
        pop = "PoP"
        match event.kind:
            case Kind.SENT:
                host = who("", event.place)
                tunnel = entered.get(event.check)
                if tunnel is None:
                    arrows.append(f"note over {host}: {label} is sent")
                else:
                    arrows.append(f"{host}->>{who('tunnel', tunnel)}: {label}")
            case Kind.OPENED:
                arrows.append(f"{who('tunnel', event.tunnel)}->>{who('', pop)}: {label}")
            case Kind.FORWARDED | Kind.GENERATED:
                left[event.check] = event.tunnel
                by = f" [{_clean(event.rule)}]" if event.rule else ""
                arrows.append(f"{who('', pop)}->>{who('tunnel', event.tunnel)}: {label}{by}")
            case Kind.RECEIVED:
                tunnel = left.get(event.check)
                host = who("", event.place)
                if tunnel is None:
                    arrows.append(f"note over {host}: {label} is received")
                else:
                    arrows.append(f"{who('tunnel', tunnel)}->>{host}: {label}")
            case kind if kind in _DEAD:
                place = who("", pop) if event.place == EDGE else who("tunnel", event.tunnel or event.place)
                why = event.reason + (f", rule {event.rule}" if event.rule else "")
                arrows.append(f"note over {place}: {event.kind}: {_clean(why)}")
            case kind if kind in _WATCHED and event.tunnel:
                arrows.append(f"note over {who('tunnel', event.tunnel)}: {_clean(event.detail)}")
            case _:
                pass
    said = ["sequenceDiagram"]
    said += [f"    participant {short} as {_clean(name)}" for name, short in people.items()]
    said += [f"    {arrow}" for arrow in arrows[:most]]
    if len(arrows) > most:
        said.append(f"    %% {len(arrows) - most:,} more are left out")
    return "\n".join(said)


def _label(event: Event) -> str:
    return _clean(f"{event.at:.3f} s {event.detail or flow(event)}")


def _clean(text: str) -> str:
    """Mermaid ends a message at ; and reads # as the begin of an entity."""
    return printable(text).translate(_ENTITIES)
