"""State that outlives the process: peers' endpoints and timestamps, and the PoP's own clock."""

from edge.state.lock import Word, holder, told
from edge.state.memory import Cells, MemoryStore
from edge.state.sqlite import SqliteStore
from edge.state.store import NO_CLOCK, PeerState, StateStore

__all__ = [
    "NO_CLOCK",
    "Cells",
    "MemoryStore",
    "PeerState",
    "SqliteStore",
    "StateStore",
    "Word",
    "holder",
    "told",
]
