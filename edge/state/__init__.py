"""State that outlives the process: peers' endpoints and timestamps, and the PoP's own clock."""

from edge.state.memory import Cells, MemoryStore
from edge.state.sqlite import SqliteStore, holder
from edge.state.store import NO_CLOCK, PeerState, StateStore

__all__ = ["NO_CLOCK", "Cells", "MemoryStore", "PeerState", "SqliteStore", "StateStore", "holder"]
