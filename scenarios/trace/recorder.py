"""Collects what is seen at hosts, connectors, at the PoP, on the paths and by the runner into one stream of events."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge.proto.forwarding import Fate, Passage
from edge.proto.ip import Header, parse_untrusted
from edge.proto.types import BadPacket, DropReason
from scenarios.proto.host import Host
from scenarios.proto.link import Link
from scenarios.proto.link_pair import Direction, LinkPair
from scenarios.trace.event import EDGE, Event, Kind, packet_event
from scenarios.trace.pcapng import Capture

Sink = Callable[[Event], None]

_FATES = {
    Fate.FORWARDED: Kind.FORWARDED,
    Fate.DROPPED: Kind.DROPPED,
    Fate.PERISHED: Kind.DROPPED,
    Fate.HELD: Kind.HELD,
    Fate.DIVIDED: Kind.DIVIDED,
    Fate.GENERATED: Kind.GENERATED,
}
STEPS_SHOWN = 3  # in the comment of a captured packet


class Recorder:
    """The tap of every host, the observer of the PoP, and a listener of paths and runner, in one.

    It holds nothing itself: events go to `sinks`, packets to `capture`. Times are seconds since ``begin``.
    """

    def __init__(self, sinks: Sequence[Sink] = (), capture: Capture | None = None) -> None:
        self._sinks = tuple(sinks)
        self._capture = capture
        self._now: Callable[[], float] = _not_begun
        self._zero = 0.0
        self._steps: dict[str, int] = {}

    def begin(self, now: Callable[[], float], *, unix: float) -> None:
        """The world is about to come up; `unix` is the time of day at this moment."""
        self._now = now
        self._zero = now()
        if self._capture is not None:
            self._capture.epoch = unix

    def end(self) -> None:
        """What happens from now on is no part of the run."""
        self._sinks = ()
        self._capture = None

    def note(self, kind: Kind, place: str, detail: str, *, tunnel: str = "", vnet: str = "") -> None:
        """Something happened now that is no packet."""
        self._tell(Event(self._now() - self._zero, kind.value, place, tunnel, vnet, detail=detail))

    # -- hosts

    def sent(self, host: Host, packets: Sequence[bytes], now: float) -> None:
        self._at_host(Kind.SENT, host, packets, now)

    def received(self, host: Host, packets: Sequence[bytes], now: float) -> None:
        self._at_host(Kind.RECEIVED, host, packets, now)

    def _at_host(self, kind: Kind, host: Host, packets: Sequence[bytes], now: float) -> None:
        at = now - self._zero
        capture = self._capture
        for packet in packets:
            if self._sinks:
                self._tell(packet_event(at, kind, host.name, host.vnet, packet, _header(packet)))
            if capture is not None and (interface := capture.host(host.name)) is not None:
                comment = self._comment(f"{kind.value} by {host.name}")
                capture.packet(interface, at, packet, comment, inbound=kind is Kind.RECEIVED)

    # -- connectors

    def at_connector(self, name: str) -> TunnelWatch | None:
        """Who is to be told what passes the tunnel of a connector; None if nobody wants to know."""
        interface = None if self._capture is None else self._capture.connector(name)
        return None if interface is None else TunnelWatch(self, interface)

    def at_tunnel(self, interface: int, packet: bytes, reason: str, now: float, *, inbound: bool) -> None:
        """A packet came out of the tunnel of a connector, or went in; or died there, for `reason`."""
        if self._capture is None:
            return
        if inbound:
            parts = ["from the tunnel"]
        else:
            parts = ["for the tunnel" if reason else "into the tunnel"]
        if reason:
            parts.append(f"dropped: {reason}")
        self._capture.packet(interface, now - self._zero, packet, self._comment(*parts), inbound=inbound)

    def missed(self, packets: int) -> None:
        """So many that should be in the capture were seen by nobody."""
        if self._capture is not None:
            self._capture.unseen += packets

    # -- the PoP

    def passed(self, passage: Passage) -> None:
        at = passage.at - self._zero
        fate = passage.fate
        if self._sinks:
            self._tell_passage(at, passage)
        capture = self._capture
        if capture is None or fate is Fate.PERISHED:  # it has been seen, and cannot be commented any more
            return
        interface = capture.edge(passage.vnet)
        if interface is None:
            return
        if passage.ingress:
            parts = [f"from {passage.ingress}", fate.value]
            if passage.egress:
                parts[-1] += f" to {passage.egress}"
            if passage.reason is not None:
                parts[-1] += f": {passage.reason.value}"
            if passage.rule:
                parts.append(f"rule {passage.rule}")
            capture.packet(interface, at, passage.arrived, self._comment(*parts), inbound=True)
        if passage.left:
            parts = [f"to {passage.egress}", f"from {passage.ingress}" if passage.ingress else fate.value]
            if passage.rule:
                parts.append(f"rule {passage.rule}")
            capture.packet(interface, at, passage.left, self._comment(*parts), inbound=False)

    def _tell_passage(self, at: float, passage: Passage) -> None:
        data = passage.arrived or passage.left
        event = packet_event(at, Kind.OPENED, EDGE, passage.vnet, data, passage.header)
        if passage.ingress and passage.fate is not Fate.PERISHED:
            self._tell(event._replace(tunnel=passage.ingress))
        self._tell(
            event._replace(
                kind=_FATES[passage.fate].value,
                tunnel=passage.egress or passage.ingress,
                reason="" if passage.reason is None else passage.reason.value,
                rule=passage.rule,
            )
        )

    def tunnel_changed(self, at: float, vnet: str, tunnel: str, what: str, detail: str) -> None:
        text = f"{what}: {detail}"
        self._tell(Event(at - self._zero, Kind.TUNNEL.value, EDGE, tunnel, vnet, detail=text))

    def refused(self, at: float, reason: DropReason, count: int) -> None:
        self._tell(
            Event(at - self._zero, Kind.REFUSED.value, EDGE, reason=reason.value, detail=f"{count} datagrams")
        )

    def way_changed(self, tunnel: str, vnet: str, way: str) -> None:
        """Packets of `tunnel` take another way to the PoP, as its far end decided."""
        self.note(Kind.TUNNEL, tunnel, f"way: {way or 'none'}", tunnel=tunnel, vnet=vnet)

    # -- paths

    def follow(self, path: LinkPair, tunnel: str, vnet: str) -> LinkPair:
        """Hear what is lost on the path of `tunnel`."""

        def listen(link: Link, way: Direction) -> None:
            link.on_lost = lambda reason, size: self.lost(tunnel, vnet, f"{reason}", way.value, size)

        listen(path.up, Direction.UP)
        listen(path.down, Direction.DOWN)
        path.on_swallowed = lambda size: self.lost(tunnel, vnet, "black_hole", "", size)
        path.on_filtered = lambda size: self.lost(tunnel, vnet, "firewall", "", size)
        return path

    def lost(self, tunnel: str, vnet: str, reason: str, way: str, size: int) -> None:
        """A datagram of `size` bytes is gone; no more is known about it."""
        self._tell(
            Event(
                self._now() - self._zero,
                Kind.LOST.value,
                tunnel,
                tunnel,
                vnet,
                length=size,
                reason=reason,
                detail=way,
            )
        )

    def lost_inside(self, site: str, vnet: str, reason: str, packets: Sequence[bytes]) -> None:
        """Packets that died between a host and its tunnel."""
        at = self._now() - self._zero
        for packet in packets:
            event = packet_event(at, Kind.DROPPED, site, vnet, packet, _header(packet))
            self._tell(event._replace(reason=reason))

    # -- the runner

    def step_begins(self, name: str) -> None:
        self._steps[name] = self._steps.get(name, 0) + 1
        self.note(Kind.STEP, "", f"begins: {name}")

    def step_ends(self, name: str, state: str) -> None:
        left = self._steps.pop(name, 1) - 1
        if left:
            self._steps[name] = left
        self.note(Kind.STEP, "", f"{state}: {name}")

    def _comment(self, *parts: str) -> str:
        steps = list(self._steps)
        if steps:
            more = f" and {len(steps) - STEPS_SHOWN} more" if len(steps) > STEPS_SHOWN else ""
            return "; ".join((*parts, f"step {', '.join(steps[:STEPS_SHOWN])}{more}"))
        return "; ".join(parts)

    def _tell(self, event: Event) -> None:
        for sink in self._sinks:
            sink(event)


class TunnelWatch:
    """Of one connector: it has `interface` in the capture of `recorder`."""

    def __init__(self, recorder: Recorder, interface: int) -> None:
        self._recorder = recorder
        self._interface = interface

    def came(self, packet: bytes, reason: str, now: float) -> None:
        self._recorder.at_tunnel(self._interface, packet, reason, now, inbound=True)

    def went(self, packet: bytes, reason: str, now: float) -> None:
        self._recorder.at_tunnel(self._interface, packet, reason, now, inbound=False)

    def missed(self, packets: int) -> None:
        self._recorder.missed(packets)


def _header(packet: bytes) -> Header | None:
    try:
        return parse_untrusted(packet)
    except BadPacket:
        return None


def _not_begun() -> float:
    return 0.0
