"""What must survive a restart of the PoP, and the port behind which it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from edge.proto.types import Address

NO_CLOCK = bytes(12)
"""The TAI64N before every other: nothing was sent or received yet."""


@dataclass(frozen=True, slots=True)
class PeerState:
    """One peer as last seen.

    `endpoint` lets a restarted PoP greet its peers first; `timestamp`, the greatest TAI64N received, keeps an
    old handshake initiation a replay after the restart too.
    """

    public_key: bytes
    endpoint: Address | None = None
    timestamp: bytes | None = None


class StateStore(Protocol):
    """A store belongs to one PoP at a time; opening it twice is Refused."""

    def load(self) -> dict[bytes, PeerState]:
        """Every peer known, by public key."""
        ...

    def save(self, peers: Iterable[PeerState], clock: bytes | None = None) -> None:
        """Keep all of `peers` and `clock`, or nothing of them.

        A timestamp never goes back; an absent endpoint or timestamp leaves what is kept.
        """
        ...

    def forget(self, public_keys: Iterable[bytes]) -> None:
        """Drop peers that are configured no more."""
        ...

    @property
    def clock(self) -> bytes:
        """The greatest TAI64N that this PoP has sent; what it sends next must be greater."""
        ...

    def close(self) -> None:
        """Let the next PoP have it."""
        ...


def merged(kept: Mapping[bytes, PeerState], new: Iterable[PeerState]) -> dict[bytes, PeerState]:
    """What `kept` becomes for the peers in `new`; timestamps only grow."""
    changed: dict[bytes, PeerState] = {}
    for peer in new:
        key, timestamp = peer.public_key, peer.timestamp
        if len(key) != 32 or (timestamp is not None and len(timestamp) != 12):
            raise ValueError("a public key has 32 bytes and a TAI64N timestamp has 12")
        if (old := changed.get(key) or kept.get(key)) is not None:
            if timestamp is None or (old.timestamp is not None and old.timestamp > timestamp):
                timestamp = old.timestamp
            peer = PeerState(key, old.endpoint if peer.endpoint is None else peer.endpoint, timestamp)
        changed[key] = peer
    return changed


def later_clock(kept: bytes, new: bytes | None) -> bytes:
    """The greater of both clocks; `new` may be absent."""
    if new is None:
        return kept
    if len(new) != 12:
        raise ValueError("a TAI64N timestamp has 12 bytes")
    return max(kept, new)
