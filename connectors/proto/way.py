"""One way to the PoP, among several: a tunnel protocol on a transport, with a session that comes and goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from connectors.proto.choice import Health
from edge.proto.masque.route import AddressRange
from edge.proto.types import Address, StreamEvent, StreamOutput

Reads = Sequence[tuple[memoryview, int, Address]]


class Way(Protocol):
    """Sans-IO; ``begin`` and ``end`` may follow each other any number of times."""

    @property
    def word(self) -> str:
        """wireguard, h3 or h2."""

    @property
    def handshakes(self) -> int:
        """Sessions that came up, ever."""

    @property
    def last_handshake_seconds(self) -> float | None:
        """How long the latest took."""

    @property
    def datagrams_dropped(self) -> int: ...

    @property
    def advertised(self) -> Sequence[AddressRange]:
        """What the PoP has said that it forwards to: the same object until it says something else."""

    def begin(self, now: float) -> None:
        """Try to come up."""

    def end(self, now: float) -> None:
        """Say goodbye; what is left to send is still given."""

    def health(self, now: float) -> Health:
        """How it goes."""

    def failure(self, now: float) -> str:
        """Why it does not carry though it was tried: a few words, fit for a line of a log; empty if there is no why."""

    def moved(self, now: float) -> None:
        """Our own address has changed."""

    def turn(self, reads: Reads, streams: Sequence[StreamEvent], now: float) -> list[bytearray]:
        """Take what came, do what is due; returns inner packets, in order. What is not for this way it leaves alone."""

    def seal(self, packets: list[bytearray], now: float) -> None:
        """Send inner packets."""

    def poll_transmit(self) -> list[tuple[Address, list[bytes]]]: ...

    def poll_dials(self) -> list[tuple[int, Address]]:
        """TCP connections that shall be opened: number and address."""

    def poll_streams(self) -> list[StreamOutput]: ...

    def poll_timeout(self) -> float:
        """When ``turn`` is wanted next though nothing came."""
