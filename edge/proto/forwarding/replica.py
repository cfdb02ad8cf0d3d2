"""One replica of a site: whether its connector is alive.

It is asked every interval by an ICMP echo request from the network's gateway to the connector's own address, which any
WireGuard agent answers. Whatever comes out of the tunnel is a sign of life, but only answers prove that the way to the
connector works as well: a replica that talks and never answers is lost too, later. Back from a loss counts only what
was answered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from edge.proto.ip import Header, build_icmp_echo, echo
from edge.proto.types import NEVER

if TYPE_CHECKING:
    from edge.proto.forwarding.attachment import Attachment
    from edge.proto.forwarding.site import Site

ONE_WAY = 8  # times the misses after which a replica that talks but does not answer is lost
OUTSTANDING = 32  # probes that may still be answered
TOKEN_SIZE = 16


class ReplicaState(StrEnum):
    """Closed set: the value is the metric label and the word of scenarios."""

    ACTIVE = "active"  # has the site's traffic
    STANDBY = "standby"  # alive, and next
    DOWN = "down"  # does not answer, or not for long enough


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """How the replicas of a site are watched; times in seconds."""

    interval: float = 0.25
    misses: int = 4  # intervals in a row without a sign of life
    hold: float = 3.0  # a replica that was lost must answer for so long before it counts as alive
    preempt: bool = False  # the most preferred replica takes the traffic back once it is alive

    @property
    def patience(self) -> float:
        return self.interval * self.misses


class Replica:
    """See the module. `address` is the connector's own; the smallest `preference` comes first."""

    __slots__ = (
        "_answered",
        "_answering_since",
        "_ident",
        "_missed",
        "_outstanding",
        "_packets_seen",
        "_sequence",
        "_unanswered",
        "address",
        "alive",
        "attachment",
        "failed",
        "preference",
        "rtt",
        "site",
        "told",
    )

    def __init__(self, site: Site, attachment: Attachment, address: bytes | None, preference: int) -> None:
        self.site = site
        self.attachment = attachment
        self.address = address
        self.preference = preference
        self.told = ReplicaState.DOWN  # the state that was last reported
        self._ident = 0
        self.forget()

    def __repr__(self) -> str:
        return f"<Replica {self.attachment.name} of {self.site.name} {self.state}>"

    @property
    def state(self) -> ReplicaState:
        if self.site.active is self:
            return ReplicaState.ACTIVE
        return ReplicaState.STANDBY if self.alive else ReplicaState.DOWN

    @property
    def untried(self) -> bool:
        """Nobody knows yet: it may have the traffic before it was heard of, for as long as any may be silent."""
        return not self.failed and self._missed < self.site.settings.misses

    def forget(self) -> None:
        """Know nothing of it, as at the start."""
        self.alive = False
        self.failed = False  # was alive before it went down: it has to prove itself
        self.rtt: float | None = None  # of the latest answered probe, seconds
        self._sequence = 0  # of the latest probe, 0: there was none
        self._missed = 0  # intervals in a row without a sign of life
        self._unanswered = 0  # intervals in a row without an answer
        self._answered = False  # in the present interval
        self._answering_since = NEVER
        self._packets_seen = self.attachment.packets_in
        self._outstanding: dict[int, tuple[bytes, float]] = {}  # sequence -> (token, sent at)

    def probe(self, gateway: bytes, now: float, rng: Callable[[int], bytes]) -> bytearray:
        """The next echo request. Nobody can answer it who has not seen it."""
        assert self.address is not None
        if not self._sequence:
            self._ident = int.from_bytes(rng(2), "big")
        self._sequence = self._sequence % 0xFFFF + 1
        token = rng(TOKEN_SIZE)
        if len(self._outstanding) >= OUTSTANDING:
            del self._outstanding[next(iter(self._outstanding))]
        self._outstanding[self._sequence] = token, now
        return build_icmp_echo(
            gateway, self.address, ident=self._ident, sequence=self._sequence, payload=token
        )

    def handle_echo(self, packet: bytearray, header: Header, now: float) -> None:
        """A packet for the gateway that came out of this tunnel; only the answer to a probe, once, means anything."""
        answer = echo(packet, header)
        if answer is None or answer.is_request or header.source != self.address:
            return
        token, sent_at = self._outstanding.get(answer.sequence, (b"", 0.0))
        if not token or answer.ident != self._ident or answer.payload != token:
            return
        del self._outstanding[answer.sequence]
        self.rtt = now - sent_at
        self._answered = True
        self._missed = self._unanswered = 0
        self._answering_since = min(self._answering_since, now)
        if not self.alive and (
            not self.failed
            or self.site.is_urgent(now)
            or now >= self._answering_since + self.site.settings.hold
        ):
            self.alive = True
            self.failed = False
            self.site.elect(now)

    def end_interval(self, now: float) -> None:
        """An interval after the latest probe: was there a sign of life?"""
        if not self._sequence:
            return
        packets = self.attachment.packets_in
        heard, self._packets_seen = packets != self._packets_seen, packets
        answered, self._answered = self._answered, False
        active = self.site.active is self
        sign = heard if self.alive or active else answered
        self._missed = 0 if sign else self._missed + 1
        self._unanswered = 0 if answered else self._unanswered + 1
        misses = self.site.settings.misses
        if self._missed < misses and self._unanswered < misses * ONE_WAY:
            return
        self._answering_since = NEVER
        if self.alive or active:
            self.failed = self.alive
            self.alive = False
            self.site.lose(self, now)
