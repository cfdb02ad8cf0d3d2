"""Which events somebody wants to see."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from scenarios.trace.event import Event

_END = re.compile(
    r"(?:\[(?P<v6>[0-9a-fA-F:.]+)\]|(?P<v4>[0-9.]+)|(?P<bare>[0-9a-fA-F:]+))(?::(?P<port>\d{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class FlowEnds:
    """Two ends, `port` None for any; a flow matches in both directions."""

    one: tuple[str, int | None]
    other: tuple[str, int | None]

    @classmethod
    def parse(cls, text: str) -> FlowEnds:
        """From ``10.0.50.60:5060>100.96.0.12``; ValueError says what is wrong."""
        parts = text.split(">")
        if len(parts) != 2:
            raise ValueError("a flow is written ADDRESS[:PORT]>ADDRESS[:PORT]")
        return cls(_end(parts[0].strip()), _end(parts[1].strip()))

    def matches(self, event: Event) -> bool:
        here, there = (event.source, event.sport), (event.destination, event.dport)
        return (_is(self.one, here) and _is(self.other, there)) or (
            _is(self.one, there) and _is(self.other, here)
        )


def _end(text: str) -> tuple[str, int | None]:
    match = _END.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no address; IPv6 with a port is written [fd00::1]:5060")
    port = None if match["port"] is None else int(match["port"])
    if port is not None and port > 0xFFFF:
        raise ValueError(f"{port} is no port")
    return str(ip_address(match["v6"] or match["v4"] or match["bare"])), port


def _is(wanted: tuple[str, int | None], end: tuple[str, int]) -> bool:
    return wanted[0] == end[0] and wanted[1] in (None, end[1])


@dataclass(frozen=True, slots=True)
class Selection:
    """What is not given matches everything; what is given must all match."""

    tunnel: str | None = None
    vnet: str | None = None
    flow: FlowEnds | None = None
    reason: str | None = None
    kinds: tuple[str, ...] = ()
    begin: float | None = None
    end: float | None = None

    def matches(self, event: Event) -> bool:
        return (
            (self.kinds == () or event.kind in self.kinds)
            and (self.tunnel is None or self.tunnel in (event.tunnel, event.place))
            and (self.vnet is None or event.vnet == self.vnet)
            and (self.reason is None or event.reason == self.reason)
            and (self.begin is None or event.at >= self.begin)
            and (self.end is None or event.at <= self.end)
            and (self.flow is None or self.flow.matches(event))
        )
