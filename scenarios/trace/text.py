"""An event as people read it. Names in a trace may come from strangers: nothing of it moves a cursor."""

from __future__ import annotations

from scenarios.trace.event import PROTOCOLS, Event


def printable(text: str) -> str:
    """`text` without control characters."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def columns(event: Event) -> tuple[str, str, str, str, str]:
    """Time, kind, where, what, and why."""
    where = event.place if event.tunnel in ("", event.place) else f"{event.place} {event.tunnel}".strip()
    what = [flow(event)] if event.source else []
    if event.detail:
        what.append(event.detail)
    if event.length:
        what.append(f"{event.length} bytes")
    why = " ".join(part for part in (event.reason, f"rule {event.rule}" if event.rule else "") if part)
    cells = (f"{event.at:.6f}", event.kind, _in(where, event.vnet), ", ".join(what), why)
    return tuple(map(printable, cells))  # type: ignore[return-value]


def line(event: Event) -> str:
    at, kind, where, what, why = columns(event)
    return f"{at:>12}  {kind:<9}  {where:<24}  {what}{f'  [{why}]' if why else ''}"


def flow(event: Event) -> str:
    """Such as: UDP 10.0.50.60:5060 > 100.96.0.12:5060."""
    name = PROTOCOLS.get(event.protocol, f"protocol {event.protocol}")
    return f"{name} {_end(event.source, event.sport)} > {_end(event.destination, event.dport)}"


def _end(address: str, port: int) -> str:
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _in(where: str, vnet: str) -> str:
    return f"{where} in {vnet}" if where and vnet else where or vnet
