"""One body for both stores: what a PoP may rely on after a restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edge.errors import Refused
from edge.state import NO_CLOCK, Cells, MemoryStore, PeerState, SqliteStore, StateStore

ALICE, BOB = bytes([1] * 32), bytes([2] * 32)
T1, T2, T3 = (bytes(11) + bytes([n]) for n in (1, 2, 3))

Opener = Callable[[], StateStore]


@pytest.fixture(params=["memory", "sqlite"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Each call opens the same state again, as a restarted PoP does."""
    if request.param == "memory":
        cells = Cells()
        return lambda: MemoryStore(cells)
    return lambda: SqliteStore(tmp_path / "state.db")


def test_a_new_state_is_empty(open_store: Opener) -> None:
    store = open_store()
    assert store.load() == {}
    assert store.clock == NO_CLOCK


def test_what_was_saved_is_there_after_a_restart(open_store: Opener) -> None:
    peers = [PeerState(ALICE, ("192.0.2.1", 51820), T2), PeerState(BOB, ("2001:db8::1", 1), None)]
    store = open_store()
    store.save(peers, T3)
    store.close()
    again = open_store()
    assert again.load() == {ALICE: peers[0], BOB: peers[1]}
    assert again.clock == T3


def test_a_timestamp_never_goes_back(open_store: Opener) -> None:
    store = open_store()
    store.save([PeerState(ALICE, ("192.0.2.1", 1), T2)], T2)
    store.save([PeerState(ALICE, ("192.0.2.2", 2), T1)], T1)
    store.save([PeerState(ALICE)])
    store.close()
    again = open_store()
    assert again.load()[ALICE] == PeerState(ALICE, ("192.0.2.2", 2), T2)
    assert again.clock == T2


def test_the_same_peer_twice_in_one_save(open_store: Opener) -> None:
    store = open_store()
    store.save([PeerState(ALICE, None, T3), PeerState(ALICE, ("192.0.2.1", 1), T1)])
    store.close()
    assert open_store().load() == {ALICE: PeerState(ALICE, ("192.0.2.1", 1), T3)}


def test_a_bad_peer_spoils_nothing(open_store: Opener) -> None:
    store = open_store()
    with pytest.raises(ValueError):
        store.save([PeerState(ALICE, None, T1), PeerState(BOB, None, b"short")], T3)
    with pytest.raises(ValueError):
        store.save([PeerState(b"short")])
    with pytest.raises(ValueError):
        store.save([PeerState(ALICE, None, T1)], b"short")
    assert store.load() == {}
    store.close()
    again = open_store()
    assert again.load() == {}
    assert again.clock == NO_CLOCK


def test_forgotten_peers_are_gone(open_store: Opener) -> None:
    store = open_store()
    store.save([PeerState(ALICE, None, T1), PeerState(BOB, None, T2)], T3)
    store.forget([ALICE, bytes(32)])
    assert list(store.load()) == [BOB]
    store.close()
    again = open_store()
    assert list(again.load()) == [BOB]
    assert again.clock == T3


def test_what_was_loaded_is_a_copy(open_store: Opener) -> None:
    store = open_store()
    store.load()[ALICE] = PeerState(ALICE)
    assert store.load() == {}


def test_a_second_pop_is_refused_until_the_first_closes(open_store: Opener) -> None:
    first = open_store()
    with pytest.raises(Refused, match="another PoP"):
        open_store()
    first.save([PeerState(ALICE, None, T1)])
    first.close()
    assert ALICE in open_store().load()
