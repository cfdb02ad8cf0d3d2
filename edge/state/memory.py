"""State in memory: for simulated worlds, which restart a PoP by giving the next one the same `Cells`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from edge.errors import Refused
from edge.state.store import NO_CLOCK, PeerState, later_clock, merged


@dataclass(slots=True)
class Cells:
    """The "disk" of memory stores: outlives each of them."""

    peers: dict[bytes, PeerState] = field(default_factory=dict)
    clock: bytes = NO_CLOCK
    open: bool = False


class MemoryStore:
    """The twin of SqliteStore."""

    def __init__(self, cells: Cells | None = None) -> None:
        self._cells = Cells() if cells is None else cells
        if self._cells.open:
            raise Refused("the state is in use by another PoP: stop that one first")
        self._cells.open = True

    def load(self) -> dict[bytes, PeerState]:
        return dict(self._cells.peers)

    def save(self, peers: Iterable[PeerState], clock: bytes | None = None) -> None:
        changed = merged(self._cells.peers, peers)
        later = later_clock(self._cells.clock, clock)
        self._cells.peers.update(changed)
        self._cells.clock = later

    def forget(self, public_keys: Iterable[bytes]) -> None:
        for public_key in public_keys:
            self._cells.peers.pop(public_key, None)

    @property
    def clock(self) -> bytes:
        return self._cells.clock

    def close(self) -> None:
        self._cells.open = False
